/* The summary of a run, from its log: it covers interrupted runs as a whole. */
#include "run/summary.h"

#include <jansson.h>
#include <string.h>

#include "base/file.h"
#include "base/jsonl.h"
#include "base/log.h"
#include "run/train_log.h"

enum { COMMAND_MAX = 2 * PATH_MAX };

typedef struct Summary {
    RunSummary log;
    int64_t tokens;      /* that the weights were trained on */
    double floor_gflops; /* of the unavoidable arithmetic, a second; 0: no step timed */
    double peak_rss_mb;
    char next[COMMAND_MAX];
} Summary;

static const char *const files[] = {"model",         "checkpoints",  "log.jsonl",   "eval.jsonl",
                                    "history.jsonl", "summary.json", "config.yaml", "report.md"};

static int summary_make(Summary *s, const Trainer *t, Err *err)
{
    TRY(train_log_summary(&s->log, t->folder.run, err));
    SweepOptions o = train_sweep_options(&t->cfg);
    double flops = sweep_floor_flops(t->model, o.length, true, o.learn);
    s->tokens = t->state.tokens;
    s->floor_gflops = s->log.steps > 0 ? flops * s->log.tokens_per_second / 1e9 : 0;
    s->peak_rss_mb = (double)backend_memory_peak(t->be) / 1e6;
    const char *data = t->cfg.training.dataset_path;
    if (t->cfg.training.dummy_dataset)
        snprintf(s->next, sizeof s->next, "ttt help data");
    else
        snprintf(s->next, sizeof s->next, "ttt eval %s/model --data %s", t->folder.run, data);
    return 0;
}

static void summary_print(const Summary *s, const Trainer *t)
{
    log_info("ttt train: %lld steps, %lld tokens; loss %.4f at first, %.4f at last, %.4f over the "
             "last 10 steps",
             (long long)t->state.step, (long long)s->tokens, s->log.first_loss, s->log.last_loss,
             s->log.last10_loss);
    log_info("ttt train: %.0f tokens/s (median of steps), %.1f GFLOP/s of the floor, %.0f MB at "
             "most",
             s->log.tokens_per_second, s->floor_gflops, s->peak_rss_mb);
    log_info("ttt train: wrote %s/: model/, report.md, curves/, log.jsonl, summary.json, "
             "config.yaml; checkpoints in %s",
             t->folder.run, t->folder.checkpoints);
    log_info("ttt train: next, try: %s", s->next);
}

static json_t *file_list(const Trainer *t)
{
    json_t *list = json_array();
    for (int i = 0; list && i < ARRAY_LEN(files); i++) {
        bool own = strcmp(files[i], "checkpoints") != 0;
        json_array_append_new(list, own ? json_sprintf("%s/%s", t->folder.run, files[i])
                                        : json_string(t->folder.checkpoints));
    }
    return list;
}

int summary_write(const Trainer *t, Err *err)
{
    Summary s;
    char path[PATH_MAX];
    TRY(summary_make(&s, t, err));
    TRY(path_join(path, sizeof path, t->folder.run, "summary.json", err));
    json_t *object =
        json_pack("{s:I, s:I, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:s}", "steps",
                  (json_int_t)t->state.step, "tokens", (json_int_t)s.tokens, "first_loss",
                  json_number(s.log.first_loss), "last_loss", json_number(s.log.last_loss),
                  "mean_loss_last_10", json_number(s.log.last10_loss), "tokens_per_second",
                  json_number(s.log.tokens_per_second), "floor_gflops", json_number(s.floor_gflops),
                  "step_seconds", json_number(s.log.seconds), "peak_rss_mb",
                  json_number(s.peak_rss_mb), "files", file_list(t), "next", s.next);
    TRY(json_write_atomic(path, object, JSON_INDENT(2) | JSON_REAL_PRECISION(15), err));
    summary_print(&s, t);
    return 0;
}
