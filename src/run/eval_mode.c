/* Evaluation as published: one pass over a split, with the configuration that trains. */
#include "run/eval_mode.h"

#include <stdio.h>
#include <stdlib.h>

#include "base/file.h"
#include "base/jsonl.h"
#include "base/log.h"
#include "run/checkpoint.h"
#include "run/curves.h"
#include "run/history.h"
#include "run/holdout.h"
#include "run/machine_open.h"
#include "run/report.h"
#include "run/train_data.h"
#include "run/train_folder.h"
#include "run/train_log.h"

typedef struct EvalMode {
    Config cfg;
    TrainFolder folder;
    Backend *be;
    TokenSource *source;
    Model *model;
    int64_t step;           /* of the weights; 0: not trained */
    char weights[PATH_MAX]; /* where they are from; "": the initial ones */
    Holdout h;
} EvalMode;

static void report_skipped(void *context, const char *folder, const char *why)
{
    (void)context;
    log_info("ttt eval: passing over a checkpoint %s: %s", folder, why);
}

/* Takes the weights of a checkpoint under root, the newest or training.resume_step: 1, 0: none. */
static int weights_take(EvalMode *e, const char *root, Err *err)
{
    char path[PATH_MAX];
    int64_t wanted = e->cfg.training.resume_step;
    int found = checkpoint_find(&e->step, root, wanted, report_skipped, NULL, err);
    if (found < 0) return -1;
    if (!found && wanted >= 0)
        return err_set(err,
                       "%s has no complete checkpoint of step %lld; choose another "
                       "training.resume_step, or leave it out for the newest",
                       root, (long long)wanted);
    if (!found) return 0;
    TRY(checkpoint_path(e->weights, root, e->step, err));
    TRY(path_join(path, sizeof path, e->weights, "model.safetensors", err));
    TRY(model_load_params(e->model, path, "", err));
    return 1;
}

static bool has_checkpoints(const char *root)
{
    Err ignored;
    int64_t *steps, n = checkpoint_list(&steps, root, &ignored);
    if (n >= 0) free(steps);
    return n > 0;
}

/* As weights_take, where there are checkpoints at all: 1, or 0; that none is whole is a fault. */
static int weights_try(EvalMode *e, const char *root, Err *err)
{
    if (!has_checkpoints(root)) return 0;
    int found = weights_take(e, root, err);
    if (found != 0) return found;
    return err_set(err, "none of the checkpoints in %s is whole", root);
}

static int weights_of(EvalMode *e, const char *name, Err *err)
{
    char root[PATH_MAX];
    TRY(train_folder_checkpoints(root, &e->cfg.training, name, err));
    return weights_try(e, root, err);
}

static int weights_missing(const EvalMode *e, Err *err)
{
    char root[PATH_MAX];
    const TrainingConfig *t = &e->cfg.training;
    if (t->resume_exp_name[0]) {
        TRY(train_folder_checkpoints(root, t, t->resume_exp_name, err));
        return err_set(err, "%s has no complete checkpoint; check training.resume_exp_name (%s)",
                       root, t->resume_exp_name);
    }
    if (t->load_part != LOAD_NONE)
        return err_set(err, "training.load_part needs the run to load from; add "
                            "training.resume_exp_name=NAME");
    log_info("ttt eval: %s has no checkpoint and training.resume_exp_name names no run: the "
             "initial weights are scored",
             e->folder.checkpoints);
    return 0;
}

/* The folder's own checkpoint first, as when a run goes on; then that of the run of this name,
 * where hydra.run.dir has put the evaluation elsewhere; then the run that it starts from. */
static int weights_find(EvalMode *e, Err *err)
{
    const TrainingConfig *t = &e->cfg.training;
    TRY(model_create(&e->model, e->be, &e->cfg, err));
    int found = weights_try(e, e->folder.checkpoints, err);
    if (found == 0 && t->exp_name[0]) found = weights_of(e, t->exp_name, err);
    if (found == 0 && t->resume_exp_name[0]) found = weights_of(e, t->resume_exp_name, err);
    if (found != 0) return found < 0 ? -1 : 0;
    return weights_missing(e, err);
}

/* A training run's own files stay as they are: the evaluation's configuration has its own name. */
static int files_open(EvalMode *e, const TrainOptions *options, Err *err)
{
    char path[PATH_MAX];
    RunStart start = {.kind = "eval",
                      .command = options->again,
                      .step = e->step,
                      .parameters = (int64_t)e->model->table.size,
                      .inner_parameters = (int64_t)e->model->inner.size,
                      .be = e->be};
    TRY(path_join(path, sizeof path, e->folder.run, "eval_config.yaml", err));
    TRY(config_write(&e->cfg, path, err));
    TRY(path_join(path, sizeof path, e->folder.run, "config.yaml", err));
    if (!file_exists(path)) TRY(config_write(&e->cfg, path, err));
    TRY(train_folder_keep(&e->folder, options->files, options->n_files, false, err));
    return history_start(e->folder.run, &start, err);
}

static int summary_write(const EvalMode *e, Err *err)
{
    char path[PATH_MAX];
    const Holdout *h = &e->h;
    json_t *chunks = json_array();
    for (int64_t c = 0; c < h->chunks; c++)
        json_array_append_new(chunks, json_number(h->chunk_loss[c]));
    TRY(path_join(path, sizeof path, e->folder.run, "eval_summary.json", err));
    json_t *object =
        json_pack("{s:o, s:I, s:s, s:s, s:s, s:s, s:I, s:I, s:o, s:o, s:o, s:o}",
                  "train_holdout/loss", json_number(h->loss), "step", (json_int_t)e->step,
                  "weights", e->weights, "dataset", e->source->name, "split",
                  e->cfg.training.eval_split, "data_digest", h->set.digest, "sequences",
                  (json_int_t)h->scored, "tokens", (json_int_t)(h->scored * h->set.options.length),
                  "loss_by_position", train_log_positions(h), "chunk_loss", chunks, "seconds",
                  json_number(h->seconds), "tokens_per_second", json_number(h->tokens_per_second));
    return json_write_atomic(path, object, JSON_INDENT(2) | JSON_REAL_PRECISION(15), err);
}

/* The picture of this evaluation and its events; what cannot be written is told. */
static void events_write(const EvalMode *e)
{
    Err err;
    char png[PATH_MAX];
    EventFile *events = NULL;
    json_t *evals = json_pack("[{s:I, s:o}]", "step", (json_int_t)e->step, "loss_by_position",
                              train_log_positions(&e->h));
    int drawn = curves_positions(png, e->folder.run, holdout_name, evals, &err);
    if (drawn < 0) log_info("ttt eval: %s", err.text);
    if (events_open(&events, e->folder.run, -1, &err) < 0 ||
        train_log_eval_events(events, e->step, holdout_name, &e->h, drawn == 1 ? png : NULL, &err) <
            0)
        log_info("ttt eval: %s", err.text);
    events_close(events);
    json_decref(evals);
}

static int score(EvalMode *e, const TrainOptions *options, Err *err)
{
    const TrainingConfig *t = &e->cfg.training;
    HoldoutOptions o = {.length = t->seq_length,
                        .max_sequences = options->max_sequences,
                        .batch = t->eval_batch_size,
                        .memory = backend_memory_left(e->be) / 2,
                        .out = e->folder.run,
                        .label = "eval"};
    TRY(holdout_score(&e->h, e->model, e->source, &o, err));
    TRY(summary_write(e, err));
    events_write(e);
    printf("Eval -- %s/loss: %.7g\n", holdout_name, e->h.loss);
    if (fflush(stdout) != 0) return err_errno(err, "cannot write to standard output");
    log_info(
        "ttt eval: %lld sequences of %lld tokens, %.0f tokens/s; wrote %s/%s_token_nll_loss.npy",
        (long long)e->h.scored, (long long)o.length, e->h.tokens_per_second, e->folder.run,
        holdout_name);
    return 0;
}

static int parts_open(EvalMode *e, const TrainOptions *options, Err *err)
{
    const BackendOptions wish = {.device = options->device, .threads = options->threads};
    TRY(machine_open(&e->be, &e->cfg, wish, err));
    TRY(train_data_open_eval(&e->source, &e->cfg, err));
    TRY(options->folder ? train_folder_open_at(&e->folder, options->folder, false, err)
                        : train_folder_open(&e->folder, &e->cfg.training, false, err));
    TRY(weights_find(e, err));
    return files_open(e, options, err);
}

static void parts_close(EvalMode *e)
{
    holdout_free(&e->h);
    model_free(e->model);
    train_folder_close(&e->folder);
    token_source_close(e->source);
    backend_close(e->be);
}

/* The record of how it ended, which cannot fail it. */
static void end_note(const EvalMode *e, const char *message)
{
    Err err;
    if (history_end(e->folder.run, "eval", message ? "failed" : "finished", e->step, message,
                    &err) < 0 ||
        report_write(e->folder.run, &err) < 0)
        log_info("ttt eval: no report: %s", err.text);
}

int eval_mode_run(const Config *cfg, const TrainOptions *options, Err *err)
{
    EvalMode e = {.cfg = *cfg, .folder.locks = {-1, -1}};
    int status = parts_open(&e, options, err);
    if (status == 0) {
        status = score(&e, options, err);
        end_note(&e, status < 0 ? err->text : NULL);
    }
    parts_close(&e);
    return status;
}
