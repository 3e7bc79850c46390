/* From logs to tables that gnuplot draws. A long run is thinned: each point stands for a stretch of
 * steps, with the smallest and largest value of the stretch as a band. */
#include "run/curves.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/file.h"
#include "run/plot.h"

enum { POINTS = 500, SERIES = 6, LABEL = 64, PAIR = 2 };

/* A picture of columns of the log over steps. */
typedef struct Picture {
    const char *name, *title, *y_label;
    RunField field[PAIR];
    const char *label[PAIR]; /* NULL: one column */
    bool evals;              /* with the held-out loss as dots */
    bool from_zero;          /* the axis of y */
    bool inner;              /* only where something is learned inside */
} Picture;

static const Picture pictures[] = {
    {"loss", "Loss", "nats per token", {RUN_LOSS}, {"training"}, .evals = true},
    {"gradient_norm",
     "Gradient norms, before clipping",
     "norm",
     {RUN_GRAD_NORM, RUN_INNER_GRAD_NORM},
     {"outer", "inner (mean over chunks)"},
     .from_zero = true},
    {"speed", "Speed", "tokens per second", {RUN_SPEED}, {"training"}, .from_zero = true},
    {"learning_rate", "Learning rate", "per step", {RUN_LR}, {"outer"}, .from_zero = true},
    {"inner_learning_rate",
     "Inner learning rate",
     "per chunk",
     {RUN_INNER_LR},
     {"inner"},
     .from_zero = true,
     .inner = true},
    {"memory", "Memory, most so far", "MB", {RUN_MEMORY}, {"peak"}, .from_zero = false},
};
static const char positions_name[] = "loss_by_position";
static const char positions_title[] = "Held-out loss by position";

/* A table being written, and the series of its rows. */
typedef struct Table {
    char folder[PATH_MAX];
    FILE *f;
    char *text;
    size_t size;
    PlotSeries series[SERIES];
    char label[SERIES][LABEL];
    int n_series;
    int64_t rows;
} Table;

enum { TSV_X = 2, TSV_MEAN = 3, TSV_LO = 4, TSV_HI = 5 };

static int table_open(Table *t, const char *run, Err *err)
{
    *t = (Table){0};
    TRY(path_join(t->folder, sizeof t->folder, run, "curves", err));
    TRY(dir_make(t->folder, err));
    t->f = open_memstream(&t->text, &t->size);
    if (!t->f) return err_errno(err, "no memory for the curves of %s", run);
    fputs("series\tx\tmean\tlo\thi\n", t->f);
    return 0;
}

static void series_begin(Table *t, const char *label)
{
    snprintf(t->label[t->n_series], LABEL, "%s", label);
    t->series[t->n_series] =
        (PlotSeries){.label = t->label[t->n_series], .x = TSV_X, .y = TSV_MEAN, .first = t->rows};
    t->n_series++;
}

static void put_point(Table *t, double x, double mean, double lo, double hi)
{
    PlotSeries *s = &t->series[t->n_series - 1];
    fprintf(t->f, "%s\t%.9g\t%.9g\t%.9g\t%.9g\n", s->label, x, mean, lo, hi);
    if (lo < hi) {
        s->lo = TSV_LO;
        s->hi = TSV_HI;
    }
    s->count++;
    t->rows++;
}

/* A series without points is taken back. */
static void series_end(Table *t)
{
    if (t->series[t->n_series - 1].count == 0) t->n_series--;
}

static void put_steps(Table *t, const RunData *d, RunField field, const char *label)
{
    int64_t stretch = (d->n_steps + POINTS - 1) / POINTS;
    const double *y = d->field[field], *x = d->field[RUN_STEP];
    series_begin(t, label);
    for (int64_t from = 0; from < d->n_steps; from += stretch) {
        double sum = 0, lo = INFINITY, hi = -INFINITY;
        int64_t n = 0, last = from;
        for (int64_t i = from; i < from + stretch && i < d->n_steps; i++) {
            last = i;
            if (!isfinite(y[i])) continue;
            sum += y[i];
            lo = fmin(lo, y[i]);
            hi = fmax(hi, y[i]);
            n++;
        }
        if (n > 0) put_point(t, (x[from] + x[last]) / 2, sum / (double)n, lo, hi);
    }
    series_end(t);
}

static void put_evals(Table *t, const RunData *d)
{
    series_begin(t, "held out");
    t->series[t->n_series - 1].dots = true;
    for (size_t i = 0; i < json_array_size(d->evals); i++) {
        const json_t *eval = json_array_get(d->evals, i);
        double loss = run_number(eval, "loss"), step = run_number(eval, "step");
        if (isfinite(loss) && isfinite(step)) put_point(t, step, loss, loss, loss);
    }
    series_end(t);
}

/* Writes the table and draws it: 1, 0 without gnuplot. */
static int table_draw(Table *t, Plot *plot, Err *err)
{
    char path[PATH_MAX], name[LABEL];
    plot->folder = t->folder;
    plot->series = t->series;
    plot->n_series = t->n_series;
    snprintf(name, sizeof name, "%s.tsv", plot->name);
    TRY(path_join(path, sizeof path, t->folder, name, err));
    if (fflush(t->f) != 0) return err_errno(err, "no memory for %s", path);
    TRY(file_write_atomic(path, t->text, t->size, err));
    return plot_draw(plot, err);
}

static void table_close(Table *t)
{
    if (t->f) fclose(t->f);
    free(t->text);
}

static bool learns_inside(const RunData *d)
{
    for (int64_t i = 0; i < d->n_steps; i++)
        if (isfinite(d->field[RUN_INNER_GRAD_NORM][i])) return true;
    return false;
}

/* 1 drawn, 0 no gnuplot, 2 no numbers. */
static int picture_draw(const Picture *p, const char *run, const RunData *d, Err *err)
{
    Table t;
    Plot plot = {.name = p->name,
                 .title = p->title,
                 .x_label = "step",
                 .y_label = p->y_label,
                 .from_zero = p->from_zero};
    if (p->inner && !learns_inside(d)) return 2;
    TRY(table_open(&t, run, err));
    for (int i = 0; i < PAIR && p->label[i]; i++) put_steps(&t, d, p->field[i], p->label[i]);
    if (p->evals) put_evals(&t, d);
    plot.markers = t.rows <= 2 * POINTS / 10;
    int status = t.n_series > 0 ? table_draw(&t, &plot, err) : 2;
    table_close(&t);
    return status;
}

/* One evaluation as a curve over the middles of its bins, a power of two apart. */
static void put_positions(Table *t, const json_t *eval)
{
    char label[LABEL];
    const json_t *bins = json_object_get(eval, "loss_by_position");
    snprintf(label, sizeof label, "step %.0f", run_number(eval, "step"));
    series_begin(t, label);
    for (size_t i = 0; i < json_array_size(bins); i++) {
        const json_t *bin = json_array_get(bins, i);
        double first = run_number(bin, "first"), end = run_number(bin, "end");
        double loss = run_number(bin, "loss");
        if (isfinite(loss)) put_point(t, first > 0 ? sqrt(first * end) : end / 2, loss, loss, loss);
    }
    series_end(t);
}

/* As picture_draw; of many evaluations SERIES, the first and the last among them. */
static int positions_draw(char png[PATH_MAX], const char *run, const char *name,
                          const json_t *evals, Err *err)
{
    Table t;
    char file[LABEL];
    size_t n = json_array_size(evals), shown = n < SERIES ? n : SERIES;
    Plot plot = {.name = name,
                 .title = positions_title,
                 .x_label = "position in the sequence (tokens)",
                 .y_label = "nats per token",
                 .log_x = true,
                 .markers = true};
    TRY(table_open(&t, run, err));
    for (size_t i = 0; i < shown; i++)
        put_positions(&t, json_array_get(evals, shown > 1 ? i * (n - 1) / (shown - 1) : 0));
    int status = t.n_series > 0 ? table_draw(&t, &plot, err) : 2;
    snprintf(file, sizeof file, "%s.png", name);
    if (status == 1 && path_join(png, PATH_MAX, t.folder, file, err) < 0) status = -1;
    table_close(&t);
    return status;
}

int curves_positions(char png[PATH_MAX], const char *run, const char *name, const json_t *evals,
                     Err *err)
{
    int status = positions_draw(png, run, name, evals, err);
    return status == 2 ? 0 : status;
}

static void curve_add(Curves *c, const char *name, const char *title, int status)
{
    if (status == 2) return;
    CHECK(c->n < CURVES_MAX, "more curves than CURVES_MAX");
    c->name[c->n] = name;
    c->title[c->n++] = title;
    c->drawn = status == 1;
}

int curves_draw(Curves *out, const char *run, const RunData *d, Err *err)
{
    char png[PATH_MAX];
    *out = (Curves){0};
    for (int i = 0; i < ARRAY_LEN(pictures); i++) {
        int status = picture_draw(&pictures[i], run, d, err);
        TRY(status);
        curve_add(out, pictures[i].name, pictures[i].title, status);
    }
    int status = positions_draw(png, run, positions_name, d->evals, err);
    TRY(status);
    curve_add(out, positions_name, positions_title, status);
    return 0;
}
