/* The logs of a run: written line by line, cut back on resume, read for the summary. */
#include "run/train_log.h"

#include <limits.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/file.h"
#include "base/log.h"
#include "base/mem.h"
#include "model/config_table.h"
#include "run/curves.h"
#include "run/stats.h"

enum { LAST = 10, WAITING_MAX = 1 << 16, PICTURE_MAX = 1 << 24, TAG = EVAL_BIN_NAME + 48 };

/* A log whose lines wait in memory while they cannot be written. */
typedef struct Lines {
    JsonLog *log;
    json_t *waiting; /* array */
    int64_t lost;    /* more than can wait */
    bool told;
} Lines;

struct TrainLog {
    char folder[PATH_MAX];
    Lines steps, evals;
    EventFile *events; /* NULL: could not be made */
    bool told;         /* of events that could not be written */
    json_t *eval_steps;
};

/* --- lines ------------------------------------------------------------------------------------*/

json_t *train_log_next(const char **at, const char *end)
{
    const char *stop = memchr(*at, '\n', (size_t)(end - *at));
    size_t size = (size_t)((stop ? stop : end) - *at);
    json_t *object = json_loadb(*at, size, 0, NULL);
    *at = stop ? stop + 1 : end;
    return object;
}

static int64_t line_step(const json_t *object)
{
    return json_integer_value(json_object_get(object, "step"));
}

static int log_cut(const char *path, int64_t step, Err *err)
{
    char *text;
    size_t size;
    TRY(file_read(path, &text, &size, TRAIN_LOG_MAX, err));
    const char *at = text, *end = text + size, *keep = text;
    for (bool before = true; at < end && before;) {
        json_t *object = train_log_next(&at, end);
        before = object ? line_step(object) <= step : at < end;
        if (before) keep = at;
        json_decref(object);
    }
    int failed = truncate(path, keep - text);
    free(text);
    return failed ? file_error(err, "shorten", path) : 0;
}

static int lines_open(Lines *l, const char *folder, const char *name, int64_t step, Err *err)
{
    char path[PATH_MAX];
    TRY(path_join(path, sizeof path, folder, name, err));
    if (file_exists(path)) TRY(log_cut(path, step, err));
    l->waiting = json_array();
    return jsonl_open(&l->log, path, err);
}

static void lines_tell(Lines *l, const char *why)
{
    if (!l->told)
        log_info("ttt train: %s; training goes on, and the lines are kept until they can be "
                 "written",
                 why);
    l->told = true;
}

static void lines_flush(Lines *l)
{
    Err err;
    size_t n = json_array_size(l->waiting);
    while (json_array_size(l->waiting) > 0) {
        if (jsonl_write(l->log, json_array_get(l->waiting, 0), &err) < 0) {
            lines_tell(l, err.text);
            return;
        }
        json_array_remove(l->waiting, 0);
    }
    if (l->told) log_info("ttt train: the log can be written again: %zu lines that waited", n);
    l->told = false;
}

/* Takes the reference. */
static void lines_add(Lines *l, json_t *line)
{
    CHECK(line, "cannot make a log line");
    if (json_array_size(l->waiting) == WAITING_MAX) {
        json_array_remove(l->waiting, 0);
        l->lost++;
    }
    json_array_append_new(l->waiting, line);
    lines_flush(l);
}

static void lines_close(Lines *l, const char *name)
{
    if (l->log) lines_flush(l);
    size_t missing = json_array_size(l->waiting) + (size_t)l->lost;
    if (l->log && missing > 0)
        log_info("ttt train: %s lacks %zu lines that could not be written", name, missing);
    jsonl_close(l->log);
    json_decref(l->waiting);
}

/* --- opening ----------------------------------------------------------------------------------*/

static void events_tell(TrainLog *log, const Err *err)
{
    if (!log->told) log_info("ttt train: %s; TensorBoard will lack some of this run", err->text);
    log->told = true;
}

/* Which steps eval.jsonl has. */
static int evals_note(TrainLog *log, Err *err)
{
    RunData d;
    TRY(run_data_read(&d, log->folder, err));
    for (size_t i = 0; i < json_array_size(d.evals); i++)
        json_array_append_new(log->eval_steps, json_integer(line_step(json_array_get(d.evals, i))));
    run_data_free(&d);
    return 0;
}

static int logs_open(TrainLog *log, int64_t step, Err *err)
{
    Err why;
    TRY(lines_open(&log->steps, log->folder, "log.jsonl", step, err));
    TRY(lines_open(&log->evals, log->folder, "eval.jsonl", step, err));
    TRY(evals_note(log, err));
    if (events_open(&log->events, log->folder, step + 1, &why) < 0) events_tell(log, &why);
    return 0;
}

int train_log_open(TrainLog **out, const char *folder, int64_t step, Err *err)
{
    TrainLog *log = mem_alloc(sizeof *log);
    *log = (TrainLog){.eval_steps = json_array()};
    *out = NULL;
    int status = path_join(log->folder, sizeof log->folder, "", folder, err);
    if (status == 0) status = logs_open(log, step, err);
    if (status < 0)
        train_log_close(log);
    else
        *out = log;
    return status;
}

void train_log_close(TrainLog *log)
{
    if (!log) return;
    lines_close(&log->steps, "log.jsonl");
    lines_close(&log->evals, "eval.jsonl");
    events_close(log->events);
    json_decref(log->eval_steps);
    mem_free(log);
}

/* --- what is logged ---------------------------------------------------------------------------*/

/* The keys that a comparison of runs looks at: all that are no text. */
static int params_take(const Config *cfg, EventParam *params, char (*value)[CFG_TEXT])
{
    int n, used = 0;
    const ConfigKey *keys = config_keys(&n);
    for (int i = 0; i < n; i++) {
        const ConfigKey *k = &keys[i];
        bool number = k->type == KEY_INT || k->type == KEY_FLOAT;
        if (k->offset < 0 || !(number || k->type == KEY_ENUM || k->type == KEY_BOOL)) continue;
        if (config_get(cfg, k->name, value[used], CFG_TEXT) < 0) continue;
        params[used] = (EventParam){.name = k->name, .text = number ? NULL : value[used]};
        if (number) params[used].number = strtod(value[used], NULL);
        used++;
    }
    return used;
}

/* Markdown that shows a text as it is. */
static int text_log(TrainLog *log, int64_t step, const char *tag, const char *text, Err *err)
{
    char *markdown;
    if (asprintf(&markdown, "```\n%s\n```\n", text) < 0) return err_set(err, "no memory");
    int status = events_text(log->events, step, tag, markdown, err);
    free(markdown);
    return status;
}

void train_log_start(TrainLog *log, int64_t step, const Config *cfg, const char *command)
{
    Err err;
    if (!log->events) return;
    char(*value)[CFG_TEXT] = mem_alloc((size_t)CONFIG_KEYS_MAX * sizeof *value);
    EventParam *params = mem_alloc((size_t)CONFIG_KEYS_MAX * sizeof *params);
    int n = params_take(cfg, params, value);
    char *text = config_text(cfg);
    if (text_log(log, step, "config", text, &err) < 0 ||
        text_log(log, step, "command", command, &err) < 0 ||
        events_params(log->events, params, n, &err) < 0)
        events_tell(log, &err);
    free(text);
    mem_free(params);
    mem_free(value);
}

static void step_events(TrainLog *log, const StepRecord *r, double memory_mb)
{
    Err err;
    const EventScalar scalars[] = {
        {"train/loss", r->loss},
        {"train/outer_grad_norm", r->grad_norm},
        {"train/inner_grad_norm", r->inner_grad_norm},
        {"train/lr", r->lr},
        {"train/inner_lr", r->inner_lr},
        {"speed/tokens_per_second", r->tokens_per_second},
        {"speed/step_seconds", r->seconds},
        {"memory/peak_rss_mb", memory_mb},
    };
    if (log->events && events_scalars(log->events, r->step, scalars, ARRAY_LEN(scalars), &err) < 0)
        events_tell(log, &err);
}

void train_log_step(TrainLog *log, const StepRecord *r)
{
    double memory_mb = (double)r->memory / 1e6;
    /* The published logs show the norm with 1e-5 under the root; both are kept. */
    double logged = sqrt(r->grad_norm * r->grad_norm + 1e-5);
    lines_add(&log->steps,
              json_pack("{s:I, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o}", "step",
                        (json_int_t)r->step, "loss", json_number(r->loss), "outer_grad_norm",
                        json_number(r->grad_norm), "grad_norm_logged", json_number(logged),
                        "inner_grad_norm", json_number(r->inner_grad_norm), "lr",
                        json_number(r->lr), "inner_lr", json_number(r->inner_lr),
                        "tokens_per_second", json_number(r->tokens_per_second), "seconds",
                        json_number(r->seconds), "peak_rss_mb", json_number(memory_mb)));
    step_events(log, r, memory_mb);
}

json_t *train_log_positions(const Holdout *h)
{
    json_t *list = json_array();
    for (int b = 0; b < h->set.n_bins; b++)
        json_array_append_new(
            list, json_pack("{s:I, s:I, s:o}", "first", (json_int_t)h->set.bins[b].first, "end",
                            (json_int_t)h->set.bins[b].end, "loss", json_number(h->bin_loss[b])));
    return list;
}

static int picture_log(EventFile *events, int64_t step, const char *prefix, const char *path,
                       Err *err)
{
    char *png, tag[TAG];
    size_t size;
    TRY(file_read(path, &png, &size, PICTURE_MAX, err));
    snprintf(tag, sizeof tag, "%s/loss_by_position", prefix);
    int status = events_image(events, step, tag, png, size, err);
    free(png);
    return status;
}

int train_log_eval_events(EventFile *events, int64_t step, const char *prefix, const Holdout *h,
                          const char *png, Err *err)
{
    char loss[TAG], tag[EVAL_MAX_BINS][TAG];
    EventScalar scalars[EVAL_MAX_BINS + 2] = {
        {loss, h->loss}, {"speed/eval_tokens_per_second", h->tokens_per_second}};
    snprintf(loss, sizeof loss, "%s/loss", prefix);
    for (int b = 0; b < h->set.n_bins; b++) {
        snprintf(tag[b], TAG, "%s_by_position/%s", prefix, h->set.bins[b].name);
        scalars[b + 2] = (EventScalar){tag[b], h->bin_loss[b]};
    }
    TRY(events_scalars(events, step, scalars, h->set.n_bins + 2, err));
    return png ? picture_log(events, step, prefix, png, err) : 0;
}

/* 1 with the picture's path, 0 without gnuplot. */
static int picture_draw(const TrainLog *log, char png[PATH_MAX], Err *err)
{
    RunData d;
    TRY(run_data_read(&d, log->folder, err));
    int drawn = curves_positions(png, log->folder, "loss_by_position", d.evals, err);
    run_data_free(&d);
    return drawn;
}

void train_log_eval(TrainLog *log, int64_t step, const Holdout *h)
{
    Err err;
    char png[PATH_MAX];
    json_int_t tokens = (json_int_t)(h->scored * h->set.options.length);
    lines_add(&log->evals,
              json_pack("{s:I, s:o, s:I, s:I, s:s, s:o, s:o, s:o}", "step", (json_int_t)step,
                        "loss", json_number(h->loss), "sequences", (json_int_t)h->scored, "tokens",
                        tokens, "data_digest", h->set.digest, "seconds", json_number(h->seconds),
                        "tokens_per_second", json_number(h->tokens_per_second), "loss_by_position",
                        train_log_positions(h)));
    json_array_append_new(log->eval_steps, json_integer(step));
    int drawn = picture_draw(log, png, &err);
    if (drawn < 0) log_info("ttt train: %s", err.text);
    if (log->events &&
        train_log_eval_events(log->events, step, "eval", h, drawn == 1 ? png : NULL, &err) < 0)
        events_tell(log, &err);
}

bool train_log_has_eval(const TrainLog *log, int64_t step)
{
    for (size_t i = 0; i < json_array_size(log->eval_steps); i++)
        if (json_integer_value(json_array_get(log->eval_steps, i)) == step) return true;
    return false;
}

/* --- the summary ------------------------------------------------------------------------------*/

static double last_mean(const RunData *d)
{
    int64_t n = d->n_steps < LAST ? d->n_steps : LAST;
    return stat_of(d->field[RUN_LOSS] + d->n_steps - n, n, 1).mean;
}

int train_log_summary(RunSummary *out, const char *folder, Err *err)
{
    RunData d;
    TRY(run_data_read(&d, folder, err));
    *out = (RunSummary){.steps = d.n_steps, .first_loss = NAN, .last_loss = NAN};
    if (d.n_steps > 0) {
        out->first_loss = d.field[RUN_LOSS][0];
        out->last_loss = d.field[RUN_LOSS][d.n_steps - 1];
    }
    out->last10_loss = last_mean(&d);
    for (int64_t i = 0; i < d.n_steps; i++) out->seconds += d.field[RUN_SECONDS][i];
    out->tokens_per_second = median(d.field[RUN_SPEED], d.n_steps);
    run_data_free(&d);
    return 0;
}
