/* Reads the logs of a run. */
#include "run/run_data.h"

#include <limits.h>
#include <math.h>
#include <stdlib.h>

#include "base/file.h"
#include "base/mem.h"
#include "run/train_log.h"

/* A larger number is no step, but damage. */
static const double STEP_MAX = 1e15;

static const char *const keys[RUN_FIELDS] = {
    [RUN_STEP] = "step",
    [RUN_LOSS] = "loss",
    [RUN_GRAD_NORM] = "outer_grad_norm",
    [RUN_INNER_GRAD_NORM] = "inner_grad_norm",
    [RUN_LR] = "lr",
    [RUN_INNER_LR] = "inner_lr",
    [RUN_SPEED] = "tokens_per_second",
    [RUN_SECONDS] = "seconds",
    [RUN_MEMORY] = "peak_rss_mb",
};

double run_number(const json_t *object, const char *key)
{
    const json_t *value = json_object_get(object, key);
    return json_is_number(value) ? json_number_value(value) : NAN;
}

/* A log as text; *size 0 and *text NULL when it is not there. */
static int log_text(char **text, size_t *size, const char *folder, const char *name, Err *err)
{
    char path[PATH_MAX];
    *text = NULL;
    *size = 0;
    TRY(path_join(path, sizeof path, folder, name, err));
    return file_exists(path) ? file_read(path, text, size, TRAIN_LOG_MAX, err) : 0;
}

static int64_t count_lines(const char *text, size_t size)
{
    int64_t n = 1;
    for (size_t i = 0; i < size; i++) n += text[i] == '\n';
    return n;
}

static int steps_read(RunData *d, const char *folder, Err *err)
{
    char *text;
    size_t size;
    TRY(log_text(&text, &size, folder, "log.jsonl", err));
    size_t lines = (size_t)count_lines(text, size);
    for (int f = 0; f < RUN_FIELDS; f++) d->field[f] = mem_alloc(lines * sizeof *d->field[f]);
    for (const char *at = text, *end = text + size; at < end;) {
        json_t *line = train_log_next(&at, end);
        double step = run_number(line, "step");
        if (step > 0 && step < STEP_MAX) {
            for (int f = 0; f < RUN_FIELDS; f++)
                d->field[f][d->n_steps] = run_number(line, keys[f]);
            d->n_steps++;
        }
        json_decref(line);
    }
    free(text);
    return 0;
}

static int objects_read(json_t **out, const char *folder, const char *name, Err *err)
{
    char *text;
    size_t size;
    *out = json_array();
    TRY(log_text(&text, &size, folder, name, err));
    for (const char *at = text, *end = text + size; at < end;) {
        json_t *line = train_log_next(&at, end);
        if (json_is_object(line)) json_array_append(*out, line);
        json_decref(line);
    }
    free(text);
    return 0;
}

static int holdout_read(json_t **out, const char *folder, Err *err)
{
    char *text;
    size_t size;
    *out = NULL;
    TRY(log_text(&text, &size, folder, "eval_summary.json", err));
    if (size > 0) *out = json_loadb(text, size, 0, NULL);
    free(text);
    return 0;
}

int run_data_read(RunData *d, const char *folder, Err *err)
{
    *d = (RunData){0};
    int status = steps_read(d, folder, err);
    if (status == 0) status = objects_read(&d->evals, folder, "eval.jsonl", err);
    if (status == 0) status = objects_read(&d->history, folder, "history.jsonl", err);
    if (status == 0) status = holdout_read(&d->holdout, folder, err);
    if (status < 0) run_data_free(d);
    return status;
}

void run_data_free(RunData *d)
{
    for (int f = 0; f < RUN_FIELDS; f++) mem_free(d->field[f]);
    json_decref(d->evals);
    json_decref(d->history);
    json_decref(d->holdout);
    *d = (RunData){0};
}
