/* Opens a run: data, memory plan, folder, model, and the checkpoint to go on from. */
#include "run/train_setup.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "base/log.h"
#include "base/mem.h"
#include "run/checkpoint.h"
#include "run/history.h"
#include "run/machine_open.h"
#include "run/train_data.h"

int64_t trainer_end(const Trainer *t)
{
    int64_t total = t->cfg.training.total_steps, stop = t->cfg.training.break_step;
    return stop >= 0 && stop < total ? stop : total;
}

static void report_skipped(void *context, const char *folder, const char *why)
{
    (void)folder;
    log_info("ttt train: passing over a checkpoint: %s%s", why, (const char *)context);
}

/* The state of a run that starts now. */
static int state_begin(Trainer *t, Err *err)
{
    const TrainingConfig *c = &t->cfg.training;
    t->state = (TrainState){.model_seed = c->model_seed,
                            .data_seed = c->data_seed,
                            .dataset_tokens = token_source_length(t->source),
                            .threads = t->be->threads};
    snprintf(t->state.number, sizeof t->state.number, "%s", REAL_NAME);
    snprintf(t->state.isa, sizeof t->state.isa, "%s", t->be->isa);
    return train_data_digest(t->source, t->state.dataset_digest, err);
}

/* Takes over from a saved state what is not this process's own. */
static void state_adopt(TrainState *now, const TrainState *saved)
{
    now->step = saved->step;
    now->updates = saved->updates;
    now->sequences = saved->sequences;
    now->tokens = saved->tokens;
}

static int state_check(const TrainState *saved, const TrainState *now, const char *folder, Err *err)
{
    if (strcmp(saved->number, now->number) != 0)
        return err_set(err, "%s was written by a %s build, this one is %s; use that one", folder,
                       saved->number, now->number);
    if (strcmp(saved->dataset_digest, now->dataset_digest) != 0)
        return err_set(err,
                       "the data set (%lld tokens) is not the one that %s was trained on (%lld "
                       "tokens); give that one, choose another training.exp_name, or start over "
                       "with --fresh",
                       (long long)now->dataset_tokens, folder, (long long)saved->dataset_tokens);
    if (saved->threads != now->threads || strcmp(saved->isa, now->isa) != 0)
        log_info("ttt train: %s was made with %d threads and %s, this is %d and %s: the results "
                 "will differ in the last bits",
                 folder, saved->threads, saved->isa, now->threads, now->isa);
    return 0;
}

/* Everything from one checkpoint; the configurations must agree. */
static int load_all(Trainer *t, const char *folder, bool same_run, Err *err)
{
    char path[PATH_MAX];
    TrainState saved;
    Config saved_cfg;
    TRY(train_state_read(&saved, folder, err));
    if (same_run) {
        TRY(path_join(path, sizeof path, folder, "config.yaml", err));
        TRY(config_read(&saved_cfg, path, err));
        TRY(train_config_same(&saved_cfg, &t->cfg, folder, err));
        TRY(state_check(&saved, &t->state, folder, err));
    }
    TRY(train_state_load(folder, t->model, t->optimizer, t->host, err));
    t->optimizer->count = saved.updates;
    state_adopt(&t->state, &saved);
    return 0;
}

/* Starts from another run's checkpoint. */
static int load_other(Trainer *t, Err *err)
{
    const TrainingConfig *c = &t->cfg.training;
    char root[PATH_MAX], folder[PATH_MAX];
    int64_t step;
    if (!c->resume_exp_name[0])
        return err_set(err, "training.load_part needs the run to load from; add "
                            "training.resume_exp_name=NAME");
    TRY(train_folder_checkpoints(root, c, c->resume_exp_name, err));
    int found = checkpoint_find(&step, root, c->resume_step, report_skipped, "", err);
    if (found < 0) return -1;
    if (!found && c->resume_step >= 0)
        return err_set(err,
                       "%s has no complete checkpoint of step %lld; choose another "
                       "training.resume_step, or leave it out for the newest",
                       root, (long long)c->resume_step);
    if (!found)
        return err_set(err, "%s has no complete checkpoint; check training.resume_exp_name (%s)",
                       root, c->resume_exp_name);
    TRY(checkpoint_path(folder, root, step, err));
    snprintf(t->loaded, sizeof t->loaded, "%s of %s",
             c->load_part == LOAD_ALL ? "weights, moments and step" : "the weights", folder);
    log_info("ttt train: starting from %s", t->loaded);
    if (c->load_part == LOAD_ALL) return load_all(t, folder, false, err);
    return train_state_load(folder, t->model, NULL, t->host, err);
}

/* Goes on from the newest checkpoint of this run, if it has one: 1, or 0 when it has none. */
static int load_own(Trainer *t, Err *err)
{
    char folder[PATH_MAX];
    int64_t *steps, step, n = checkpoint_list(&steps, t->folder.checkpoints, err);
    free(steps);
    if (n <= 0) return (int)n;
    int found = checkpoint_find(&step, t->folder.checkpoints, -1, report_skipped,
                                "; taking the one before", err);
    if (found < 0) return -1;
    if (!found)
        return err_set(err, "none of the checkpoints in %s is whole; start over with --fresh",
                       t->folder.checkpoints);
    TRY(checkpoint_path(folder, t->folder.checkpoints, step, err));
    TRY(load_all(t, folder, true, err));
    TRY(checkpoint_set_aside(t->folder.checkpoints, step, err));
    t->saved_step = step;
    log_info("ttt train: going on from %s (step %lld of %lld)", folder, (long long)step,
             (long long)trainer_end(t));
    return 1;
}

static int weights_open(Trainer *t, Err *err)
{
    size_t n;
    TRY(model_create(&t->model, t->be, &t->cfg, err));
    TRY(optimizer_create(&t->optimizer, t->model, err));
    n = t->model->table.size;
    t->gradient = backend_alloc(t->be, n);
    TRY(backend_wait(t->be, err));
    t->host = mem_try(2 * n * sizeof *t->host, "a checkpoint's copy of the weights", err);
    if (!t->host) return -1;
    int own = load_own(t, err);
    if (own == 0 && t->cfg.training.load_part != LOAD_NONE) TRY(load_other(t, err));
    return own < 0 ? -1 : 0;
}

static int buffers_open(Trainer *t, Err *err)
{
    SweepOptions o = train_sweep_options(&t->cfg);
    TRY(sweep_create(&t->sweep, t->model, &o, err));
    size_t B = (size_t)o.batch;
    t->tokens = mem_alloc(B * (size_t)(o.length + 1) * sizeof *t->tokens);
    t->chunk_loss = mem_alloc(B * (size_t)t->plan.sweep.chunks * sizeof *t->chunk_loss);
    if (model_learns(t->model))
        t->inner_norm = mem_alloc(B * (size_t)t->plan.sweep.chunks * sizeof *t->inner_norm);
    return 0;
}

/* What the run is evaluated on. Random tokens tell nothing; data without such a split is no fault
 * of a training run. */
static void holdout_open(Trainer *t)
{
    Err why;
    const TrainingConfig *c = &t->cfg.training;
    if (c->dummy_dataset || c->eval_sequences == 0) return;
    int status = train_data_open_eval(&t->holdout, &t->cfg, &why);
    if (status == 0 && token_source_length(t->holdout) <= c->seq_length) {
        status = err_set(&why, "%s holds less than one sequence", t->holdout->name);
        token_source_close(t->holdout);
    }
    if (status == 0) return;
    t->holdout = NULL;
    log_info("ttt train: no evaluation while training: %s", why.text);
}

static int files_open(Trainer *t, const TrainOptions *options, Err *err)
{
    char path[PATH_MAX];
    TRY(train_folder_keep(&t->folder, options->files, options->n_files, true, err));
    RunStart start = {.kind = "train",
                      .command = options->again,
                      .loaded = t->loaded,
                      .step = t->state.step,
                      .parameters = (int64_t)t->model->table.size,
                      .inner_parameters = (int64_t)t->model->inner.size,
                      .be = t->be};
    TRY(path_join(path, sizeof path, t->folder.run, "config.yaml", err));
    TRY(config_write(&t->cfg, path, err));
    TRY(history_start(t->folder.run, &start, err));
    TRY(train_log_open(&t->log, t->folder.run, t->state.step, err));
    char *command = command_redact(options->again);
    train_log_start(t->log, t->state.step, &t->cfg, command);
    free(command);
    return 0;
}

static int parts_open(Trainer *t, const TrainOptions *options, Err *err)
{
    const BackendOptions wish = {.device = options->device, .threads = options->threads};
    TRY(machine_open(&t->be, &t->cfg, wish, err));
    TRY(train_data_open(&t->source, &t->loader, &t->cfg, err));
    TRY(train_tokenizer_find(&t->tokenizer, t->source, &t->cfg, err));
    TRY(state_begin(t, err));
    TRY(train_plan_make(&t->plan, &t->cfg, t->be, true, err));
    train_plan_print(&t->plan);
    TRY(train_plan_check(&t->plan, &t->cfg, err));
    TRY(options->folder ? train_folder_open_at(&t->folder, options->folder, options->fresh, err)
                        : train_folder_open(&t->folder, &t->cfg.training, options->fresh, err));
    TRY(weights_open(t, err));
    TRY(buffers_open(t, err));
    TRY(files_open(t, options, err));
    holdout_open(t);
    return 0;
}

int trainer_open(Trainer *t, const Config *cfg, const TrainOptions *options, Err *err)
{
    *t = (Trainer){.cfg = *cfg, .saved_step = -1, .folder.locks = {-1, -1}};
    if (parts_open(t, options, err) == 0) return 0;
    trainer_close(t);
    return -1;
}

void trainer_close(Trainer *t)
{
    train_log_close(t->log);
    token_source_close(t->holdout);
    mem_free(t->inner_norm);
    mem_free(t->chunk_loss);
    mem_free(t->tokens);
    sweep_free(t->sweep);
    mem_free(t->host);
    if (t->gradient) backend_free(t->be, t->gradient, t->model->table.size);
    if (t->optimizer) optimizer_free(t->model, t->optimizer);
    model_free(t->model);
    train_folder_close(&t->folder);
    loader_close(t->loader);
    token_source_close(t->source);
    backend_close(t->be);
}

int trainer_save(Trainer *t, Err *err)
{
    char folder[PATH_MAX];
    const char *root = t->folder.checkpoints;
    t->state.updates = t->optimizer->count;
    int status = checkpoint_begin(folder, root, err);
    if (status == 0)
        status = train_state_write(folder, &t->state, t->model, t->optimizer, t->host, err);
    if (status == 0) status = train_tokenizer_write(&t->tokenizer, &t->cfg, folder, err);
    if (status == 0) status = checkpoint_commit(root, t->state.step, err);
    if (status < 0) {
        checkpoint_abort(root);
        return -1;
    }
    t->saved_step = t->state.step;
    return checkpoint_prune(root, t->cfg.training.save_milestone_freq, err);
}
