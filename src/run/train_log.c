/* The log of a run: written line by line, cut back on resume, read for the summary. */
#include "run/train_log.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/file.h"
#include "base/mem.h"
#include "run/stats.h"

enum { LOG_MAX = 1 << 30, LAST = 10 };

/* The next line as JSON and *at moved past it; NULL for a line that is not JSON, such as one that a
 * kill cut short. */
static json_t *next_line(const char **at, const char *end)
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
    TRY(file_read(path, &text, &size, LOG_MAX, err));
    const char *at = text, *end = text + size, *keep = text;
    for (bool before = true; at < end && before;) {
        json_t *object = next_line(&at, end);
        before = object ? line_step(object) <= step : at < end;
        if (before) keep = at;
        json_decref(object);
    }
    int failed = truncate(path, keep - text);
    free(text);
    return failed ? file_error(err, "shorten", path) : 0;
}

int train_log_open(JsonLog **out, const char *path, int64_t step, Err *err)
{
    *out = NULL;
    if (file_exists(path)) TRY(log_cut(path, step, err));
    return jsonl_open(out, path, err);
}

int train_log_write(JsonLog *log, const StepRecord *r, Err *err)
{
    /* The published logs show the norm with 1e-5 under the root; both are kept. */
    double logged = sqrt(r->grad_norm * r->grad_norm + 1e-5);
    json_t *line = json_pack(
        "{s:I, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o}", "step", (json_int_t)r->step, "loss",
        json_number(r->loss), "outer_grad_norm", json_number(r->grad_norm), "grad_norm_logged",
        json_number(logged), "lr", json_number(r->lr), "inner_lr", json_number(r->inner_lr),
        "tokens_per_second", json_number(r->tokens_per_second), "seconds", json_number(r->seconds),
        "peak_rss_mb", json_number((double)mem_peak_rss() / 1e6));
    CHECK(line, "cannot make a log line");
    int status = jsonl_write(log, line, err);
    json_decref(line);
    return status;
}

static double line_number(const json_t *object, const char *key)
{
    const json_t *value = json_object_get(object, key);
    return json_is_number(value) ? json_number_value(value) : NAN;
}

static int64_t count_lines(const char *text, size_t size)
{
    int64_t n = 1;
    for (size_t i = 0; i < size; i++) n += text[i] == '\n';
    return n;
}

int train_log_summary(RunSummary *out, const char *path, Err *err)
{
    char *text;
    size_t size;
    *out = (RunSummary){.first_loss = NAN, .last_loss = NAN};
    TRY(file_read(path, &text, &size, LOG_MAX, err));
    double *speeds = malloc((size_t)count_lines(text, size) * sizeof *speeds), last[LAST];
    CHECK(speeds, "out of memory for the summary of %s", path);
    for (const char *at = text, *end = text + size; at < end;) {
        json_t *object = next_line(&at, end);
        if (line_step(object) > 0) {
            out->last_loss = line_number(object, "loss");
            if (out->steps == 0) out->first_loss = out->last_loss;
            last[out->steps % LAST] = out->last_loss;
            speeds[out->steps++] = line_number(object, "tokens_per_second");
            out->seconds += line_number(object, "seconds");
        }
        json_decref(object);
    }
    out->last10_loss = stat_of(last, out->steps < LAST ? out->steps : LAST, 1).mean;
    out->tokens_per_second = median(speeds, out->steps);
    free(speeds);
    free(text);
    return 0;
}
