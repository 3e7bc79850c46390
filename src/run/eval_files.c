/* Writes what an evaluation found: the table as tab-separated text, every token's loss as NumPy
 * arrays, the summary, the picture. */
#include "run/eval_files.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/file.h"
#include "base/jsonl.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/npy.h"
#include "run/eval_report.h"
#include "run/plot.h"

/* Columns of the table, from 1. */
enum { TSV_MEAN = 3, TSV_LO = 4, TSV_HI = 5, TSV_MIDDLE = 7 };

/* Where a bin stands on a logarithmic axis; the first one at half its end. */
static double bin_middle(const EvalBin *bin)
{
    double first = (double)bin->first, end = (double)bin->end;
    return bin->first > 0 ? sqrt(first * end) : end / 2.0;
}

static void put_table(const Eval *e, FILE *f)
{
    fprintf(f, "bin\tcolumn\tmean\tlo\thi\tn\tmiddle%s\n", e->bytes ? "\tbits_per_byte" : "");
    for (int c = 0; c < e->n_columns; c++) {
        for (int b = 0; b < e->set.n_bins; b++) {
            Stat s = eval_stat(e, c, b);
            fprintf(f, "%s\t%s\t%.9g\t%.9g\t%.9g\t%lld\t%.6g", e->set.bins[b].name,
                    e->columns[c].label, s.mean, s.lo, s.hi, (long long)s.n,
                    bin_middle(&e->set.bins[b]));
            if (e->bytes) fprintf(f, "\t%.9g", eval_bits(s.mean));
            fputc('\n', f);
        }
    }
}

static int table_write(const Eval *e, Err *err)
{
    char path[PATH_MAX], *text = NULL;
    size_t size = 0;
    TRY(path_join(path, sizeof path, e->options.out, "loss_by_position.tsv", err));
    FILE *f = open_memstream(&text, &size);
    if (!f) return err_errno(err, "no memory for %s", path);
    put_table(e, f);
    int status = fclose(f) == 0 ? file_write_atomic(path, text, size, err)
                                : err_set(err, "no memory for %s", path);
    free(text);
    return status;
}

static int token_nll_write(const Eval *e, const EvalColumn *c, Err *err)
{
    char path[PATH_MAX], name[EVAL_LABEL + 32];
    int64_t shape[] = {e->set.n_items, e->set.options.length};
    snprintf(name, sizeof name, "token_nll_%s.npy", c->stem);
    TRY(path_join(path, sizeof path, e->options.out, name, err));
    return npy_write_f32(path, c->nll, shape, 2, err);
}

static int summary_write(const Eval *e, json_t *summary, Err *err)
{
    char path[PATH_MAX];
    TRY(path_join(path, sizeof path, e->options.out, "summary.json", err));
    return json_write_atomic(path, json_incref(summary), JSON_INDENT(2), err);
}

static void picture_draw(const Eval *e)
{
    Err err;
    char title[256];
    PlotSeries *series = mem_alloc((size_t)e->n_columns * sizeof *series);
    for (int c = 0; c < e->n_columns; c++)
        series[c] = (PlotSeries){.label = e->columns[c].label,
                                 .x = TSV_MIDDLE,
                                 .y = TSV_MEAN,
                                 .lo = TSV_LO,
                                 .hi = TSV_HI,
                                 .first = (int64_t)c * e->set.n_bins,
                                 .count = e->set.n_bins};
    snprintf(title, sizeof title, "Loss by position, mean of %lld %ss with 95 %% intervals",
             (long long)e->set.n_items, eval_set_unit(&e->set));
    Plot plot = {.folder = e->options.out,
                 .name = "loss_by_position",
                 .title = title,
                 .x_label = e->set.options.stream ? "position in the sequence (tokens)"
                                                  : "position in the document (tokens)",
                 .y_label = "loss (nats per token)",
                 .log_x = true,
                 .markers = true,
                 .x_min = bin_middle(&e->set.bins[0]),
                 .x_max = (double)e->set.options.length,
                 .series = series,
                 .n_series = e->n_columns};
    int drawn = plot_draw(&plot, &err);
    if (drawn < 0) log_info("eval: %s", err.text);
    if (drawn == 0)
        log_info(
            "eval: no picture: gnuplot is not installed; with it, `gnuplot loss_by_position.gp` "
            "in %s draws one",
            e->options.out);
    mem_free(series);
}

int eval_write(const Eval *e, json_t *summary, Err *err)
{
    TRY(table_write(e, err));
    for (int i = 0; i < e->n_columns; i++) TRY(token_nll_write(e, &e->columns[i], err));
    TRY(summary_write(e, summary, err));
    picture_draw(e);
    log_info("eval: wrote %s", e->options.out);
    return 0;
}
