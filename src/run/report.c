/* The report: sections in the order a reader asks. Everything comes from the run's files, so that
 * it can be written again at any time and on any machine. */
#include "run/report.h"

#include <limits.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "base/mem.h"
#include "model/config.h"
#include "run/checkpoint.h"
#include "run/curves.h"
#include "run/run_data.h"
#include "run/stats.h"
#include "run/train_folder.h"

enum { LAST = 10, SHOWN_EVALS = 12, SHOWN_STARTS = 20, VALUE = CFG_PATH };

typedef struct Report {
    char folder[PATH_MAX], checkpoints[PATH_MAX];
    Config cfg;
    RunData data;
    Curves curves;
    const json_t *start, *end; /* the last ones; NULL */
    bool has_model, has_holdout_picture;
    FILE *f;
} Report;

static const char *text_of(const json_t *object, const char *key)
{
    const char *text = json_string_value(json_object_get(object, key));
    return text ? text : "unknown";
}

/* --- gathering --------------------------------------------------------------------------------*/

static void history_look(Report *r)
{
    for (size_t i = 0; i < json_array_size(r->data.history); i++) {
        const json_t *line = json_array_get(r->data.history, i);
        if (strcmp(text_of(line, "kind"), "eval") == 0) continue;
        if (strcmp(text_of(line, "event"), "start") == 0) {
            r->start = line;
            r->end = NULL;
        } else {
            r->end = line;
        }
    }
}

static int report_open(Report *r, const char *run, Err *err)
{
    char path[PATH_MAX];
    TRY(path_join(r->folder, sizeof r->folder, "", run, err));
    for (size_t n = strlen(r->folder); n > 1 && r->folder[n - 1] == '/'; n--)
        r->folder[n - 1] = '\0';
    TRY(path_join(path, sizeof path, r->folder, "config.yaml", err));
    if (!file_exists(path))
        return err_set(err, "%s is not the folder of a run: it has no config.yaml; name one",
                       r->folder);
    TRY(config_read(&r->cfg, path, err));
    TRY(train_folder_checkpoints(r->checkpoints, &r->cfg.training, r->cfg.training.exp_name, err));
    TRY(path_join(path, sizeof path, r->folder, "checkpoints", err));
    if (dir_exists(path)) snprintf(r->checkpoints, sizeof r->checkpoints, "%s", path);
    TRY(path_join(path, sizeof path, r->folder, "model", err));
    r->has_model = dir_exists(path);
    TRY(path_join(path, sizeof path, r->folder, "curves/train_holdout.png", err));
    r->has_holdout_picture = file_exists(path);
    TRY(run_data_read(&r->data, r->folder, err));
    history_look(r);
    return curves_draw(&r->curves, r->folder, &r->data, err);
}

static int64_t last_step(const Report *r)
{
    int64_t n = r->data.n_steps;
    return n > 0 ? (int64_t)r->data.field[RUN_STEP][n - 1] : 0;
}

/* --- sections ---------------------------------------------------------------------------------*/

static void put_outcome(const Report *r)
{
    const char *outcome = r->end ? text_of(r->end, "outcome") : "";
    if (!r->end)
        fputs("It has not ended by itself: it is still running, or was killed.\n", r->f);
    else if (strcmp(outcome, "finished") == 0)
        fprintf(r->f, "It finished on %s.\n", text_of(r->end, "time"));
    else if (strcmp(outcome, "interrupted") == 0)
        fprintf(r->f, "It was interrupted on %s and saved; the command below goes on.\n",
                text_of(r->end, "time"));
    else
        fprintf(r->f, "It failed on %s: %s.\n", text_of(r->end, "time"),
                text_of(r->end, "message"));
}

/* What of another run it began with. */
static void put_origin(const Report *r)
{
    for (size_t i = 0; i < json_array_size(r->data.history); i++) {
        const json_t *line = json_array_get(r->data.history, i);
        const char *loaded = json_string_value(json_object_get(line, "loaded"));
        if (!loaded) continue;
        fprintf(r->f, "It started from %s.\n", loaded);
        return;
    }
}

static void put_heading(const Report *r)
{
    const TrainingConfig *t = &r->cfg.training;
    const ModelConfig *m = &r->cfg.model;
    bool meta = t->train_mode == TRAIN_META;
    const char *kind =
        meta ? "Training through the inner learning steps (meta)" : "Plain training (pretrain)";
    double parameters = run_number(r->start, "parameters");
    double inner = run_number(r->start, "inner_parameters");
    fprintf(r->f, "# %s\n\n", t->exp_name[0] ? t->exp_name : r->folder);
    fprintf(r->f, "%s of a model of %lld blocks, width %lld", r->start ? kind : "An evaluation",
            (long long)m->num_hidden_layers, (long long)m->hidden_size);
    if (isfinite(parameters)) fprintf(r->f, ", %.0f parameters", parameters);
    if (meta && isfinite(inner)) fprintf(r->f, " of which %.0f learn while reading", inner);
    fprintf(r->f, ", on sequences of %lld tokens of %s, %lld a step.\n", (long long)t->seq_length,
            t->dummy_dataset ? "random numbers" : t->dataset_path, (long long)t->global_batch_size);
    if (!r->start) return;
    put_origin(r);
    fprintf(r->f, "Step %lld of %lld. ", (long long)last_step(r), (long long)t->total_steps);
    put_outcome(r);
}

static void put_figure(FILE *f, const char *name, double value, const char *unit)
{
    if (isfinite(value)) fprintf(f, "| %s | %.6g %s |\n", name, value, unit);
}

static double sum_of(const double *x, int64_t n)
{
    double sum = 0;
    for (int64_t i = 0; i < n; i++) sum += isfinite(x[i]) ? x[i] : 0;
    return sum;
}

static double largest(const double *x, int64_t n)
{
    double most = NAN;
    for (int64_t i = 0; i < n; i++) most = fmax(most, x[i]);
    return most;
}

/* Sorts a copy. */
static double median_of(const double *x, int64_t n)
{
    double *copy = malloc((size_t)(n + 1) * sizeof *copy);
    mem_need(copy, "a report");
    memcpy(copy, x, (size_t)n * sizeof *copy);
    double middle = median(copy, n);
    free(copy);
    return middle;
}

static const json_t *best_eval(const Report *r)
{
    const json_t *best = NULL;
    for (size_t i = 0; i < json_array_size(r->data.evals); i++) {
        const json_t *eval = json_array_get(r->data.evals, i);
        double loss = run_number(eval, "loss");
        if (isfinite(loss) && (!best || loss < run_number(best, "loss"))) best = eval;
    }
    return best;
}

static void put_figures(const Report *r)
{
    const RunData *d = &r->data;
    int64_t n = d->n_steps, last = n < LAST ? n : LAST;
    const json_t *best = best_eval(r);
    double per_step = (double)(r->cfg.training.seq_length * r->cfg.training.global_batch_size);
    if (n == 0 && !best) return;
    fputs("\n## Figures\n\n| | |\n|---|---|\n", r->f);
    if (n > 0) {
        put_figure(r->f, "loss of the first step", d->field[RUN_LOSS][0], "nats per token");
        put_figure(r->f, "loss of the last step", d->field[RUN_LOSS][n - 1], "nats per token");
        put_figure(r->f, "mean loss of the last 10 steps",
                   stat_of(d->field[RUN_LOSS] + n - last, last, 1).mean, "nats per token");
        put_figure(r->f, "tokens trained on", (double)last_step(r) * per_step, "");
        put_figure(r->f, "speed, median of steps", median_of(d->field[RUN_SPEED], n), "tokens/s");
        put_figure(r->f, "time in steps", sum_of(d->field[RUN_SECONDS], n), "s");
        put_figure(r->f, "memory at most", largest(d->field[RUN_MEMORY], n), "MB");
    }
    if (best) {
        put_figure(r->f, "best held-out loss", run_number(best, "loss"), "nats per token");
        put_figure(r->f, "at step", run_number(best, "step"), "");
    }
}

static void put_curves(const Report *r)
{
    if (r->curves.n == 0) return;
    fputs("\n## Curves\n\n", r->f);
    if (!r->curves.drawn)
        fputs("gnuplot is not installed here, so there are no pictures. With it, in `curves/`:\n\n",
              r->f);
    for (int i = 0; i < r->curves.n; i++) {
        const char *name = r->curves.name[i];
        if (r->curves.drawn)
            fprintf(r->f, "![%s](curves/%s.png)\n\n", r->curves.title[i], name);
        else
            fprintf(r->f, "    gnuplot %s.gp    # %s, from %s.tsv\n", name, r->curves.title[i],
                    name);
    }
}

static void put_positions(const Report *r, const json_t *bins)
{
    fputs("\n| positions | loss |\n|---|---|\n", r->f);
    for (size_t i = 0; i < json_array_size(bins); i++) {
        const json_t *bin = json_array_get(bins, i);
        fprintf(r->f, "| %.0f-%.0f | %.4f |\n", run_number(bin, "first"),
                run_number(bin, "end") - 1, run_number(bin, "loss"));
    }
}

/* What training.eval_mode left. */
static void put_holdout(const Report *r)
{
    const json_t *h = r->data.holdout;
    if (!h) return;
    fprintf(r->f,
            "\n## Evaluation (training.eval_mode)\n\ntrain_holdout/loss %.6f: %.0f sequences, %.0f "
            "tokens of the split `%s` of %s, with the weights of step %.0f. Token by token in "
            "`train_holdout_token_nll_loss.npy` (mean) and `train_holdout_token_nll.npy`.\n",
            run_number(h, "train_holdout/loss"), run_number(h, "sequences"),
            run_number(h, "tokens"), text_of(h, "split"), text_of(h, "dataset"),
            run_number(h, "step"));
    if (r->has_holdout_picture) fputs("\n![Evaluation](curves/train_holdout.png)\n", r->f);
    put_positions(r, json_object_get(h, "loss_by_position"));
}

static void put_evals(const Report *r)
{
    size_t n = json_array_size(r->data.evals);
    if (n == 0) return;
    fprintf(r->f,
            "\n## Held-out loss\n\nOf sequences of the split `%s`, each read from its beginning%s."
            "\n\n| step | loss | sequences | tokens/s |\n|---|---|---|---|\n",
            r->cfg.training.eval_split,
            r->cfg.training.train_mode == TRAIN_META ? ", learning on" : "");
    for (size_t i = n > SHOWN_EVALS ? n - SHOWN_EVALS : 0; i < n; i++) {
        const json_t *eval = json_array_get(r->data.evals, i);
        fprintf(r->f, "| %.0f | %.4f | %.0f | %.0f |\n", run_number(eval, "step"),
                run_number(eval, "loss"), run_number(eval, "sequences"),
                run_number(eval, "tokens_per_second"));
    }
    fputs("\nThe last one by position:\n", r->f);
    put_positions(r, json_object_get(json_array_get(r->data.evals, n - 1), "loss_by_position"));
}

static void put_start(const Report *r, const json_t *start)
{
    const json_t *machine = json_object_get(start, "machine"), *git = json_object_get(start, "git");
    const json_t *program = json_object_get(start, "program");
    fprintf(r->f, "- %s, %s from step %.0f, on %s (%s, %.0f threads, %s)\n", text_of(start, "time"),
            text_of(start, "kind"), run_number(start, "step"), text_of(machine, "host"),
            text_of(machine, "cpu"), run_number(machine, "threads"),
            text_of(machine, "instructions"));
    fprintf(r->f, "  - program %s (%s)", text_of(program, "revision"), text_of(program, "number"));
    if (json_is_object(git))
        fprintf(r->f, "; working directory %s%s", text_of(git, "revision"),
                json_is_true(json_object_get(git, "changed")) ? " with changes" : "");
    fprintf(r->f, "\n  - `%s`\n", text_of(start, "command"));
}

static void put_machine(const Report *r)
{
    const json_t *machine = json_object_get(r->start, "machine"), *library;
    size_t i;
    if (!machine) return;
    fprintf(r->f, "\n%s, %s; %s, %.0f cores; %.0f MB of memory", text_of(machine, "os"),
            text_of(machine, "kernel"), text_of(machine, "cpu"),
            run_number(machine, "physical_cores"), run_number(machine, "memory_mb"));
    json_array_foreach(json_object_get(machine, "libraries"), i, library)
        fprintf(r->f, "; %s", json_string_value(library));
    fputs(".\n", r->f);
}

static void put_history(const Report *r)
{
    size_t n = json_array_size(r->data.history);
    fputs("\n## How it was run\n\n", r->f);
    bool open = false; /* a start without an end so far */
    for (size_t i = n > 2 * SHOWN_STARTS ? n - 2 * SHOWN_STARTS : 0; i < n; i++) {
        const json_t *line = json_array_get(r->data.history, i);
        bool start = strcmp(text_of(line, "event"), "start") == 0;
        if (start && open) fputs("  - left no end: it was killed\n", r->f);
        open = start;
        if (start)
            put_start(r, line);
        else
            fprintf(r->f, "  - %s at step %.0f, %s\n", text_of(line, "outcome"),
                    run_number(line, "step"), text_of(line, "time"));
    }
    put_machine(r);
    fputs("\nThe configuration is in `config.yaml`, all of this in `history.jsonl`.\n", r->f);
}

static void put_next(const Report *r)
{
    const char *data = r->cfg.training.dataset_path, *command = text_of(r->start, "command");
    fputs("\n## Going on\n\n", r->f);
    if (r->start)
        fprintf(r->f, "Resume, or train on with a larger `training.total_steps`:\n\n    %s\n\n",
                command);
    fprintf(r->f, "Checkpoints: `%s`.\n", r->checkpoints);
    if (r->has_model) {
        fputs("Evaluate by position with learning on and off, read, generate:\n\n", r->f);
        fprintf(r->f, "    ttt eval %s/model --data %s --out eval\n", r->folder,
                data[0] ? data : "DATA");
        fprintf(r->f, "    ttt read %s/model FILE --memory FILE.memory\n", r->folder);
        fprintf(r->f, "    ttt generate %s/model --prompt \"...\"\n", r->folder);
    }
    fprintf(r->f, "\nLook at it with TensorBoard, send it to W&B, draw this page again:\n\n");
    fprintf(r->f, "    tensorboard --logdir %s\n    tools/wandb_sync %s\n    ttt report %s\n",
            r->folder, r->folder, r->folder);
}

static int page_write(Report *r, Err *err)
{
    char path[PATH_MAX], *text = NULL;
    size_t size = 0;
    TRY(path_join(path, sizeof path, r->folder, "report.md", err));
    r->f = open_memstream(&text, &size);
    if (!r->f) return err_errno(err, "no memory for %s", path);
    put_heading(r);
    put_figures(r);
    put_curves(r);
    put_evals(r);
    put_holdout(r);
    put_history(r);
    put_next(r);
    int status = fclose(r->f) == 0 ? file_write_atomic(path, text, size, err)
                                   : err_set(err, "no memory for %s", path);
    free(text);
    return status;
}

int report_write(const char *run, Err *err)
{
    Report *r = calloc(1, sizeof *r);
    mem_need(r, "a report");
    int status = report_open(r, run, err);
    if (status == 0) status = page_write(r, err);
    run_data_free(&r->data);
    free(r);
    return status;
}
