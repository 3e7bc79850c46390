/* The training loop: one batch forward, back, and into the weights; then the log, and now and then
 * a checkpoint. What a run consists of is opened in train_setup.c. */
#include "run/train.h"

#include <math.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/file.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/progress.h"
#include "run/checkpoint.h"
#include "run/eval_mode.h"
#include "run/history.h"
#include "run/report.h"
#include "run/summary.h"
#include "run/train_eval.h"
#include "run/train_fault.h"
#include "run/train_setup.h"

/* The norm of the last chunk's inner gradient takes a pass that a step does without. */
enum { INNER_NORM_EVERY = 10 };

static volatile sig_atomic_t stop_asked;

/* The handler is removed as it is called: a second signal of the kind ends the program. */
static void on_stop(int signal_number)
{
    static const char text[] = "\nttt train: finishing this step, then saving; the same signal "
                               "again ends at once\n";
    stop_asked = signal_number;
    if (write(STDERR_FILENO, text, sizeof text - 1) < 0) stop_asked = signal_number;
}

/* A scheduler's signals may come again and again; they all mean this one stop. */
static void on_stop_unattended(int signal_number)
{
    stop_asked = signal_number;
}

static const int stop_signals[] = {SIGINT, SIGTERM, SIGUSR2};

typedef struct StopSignals {
    struct sigaction old[ARRAY_LEN(stop_signals)]; /* as they were */
} StopSignals;

static void stop_watch(StopSignals *s, bool unattended)
{
    struct sigaction action = {.sa_handler = unattended ? on_stop_unattended : on_stop,
                               .sa_flags = (int)SA_RESTART | SA_ONSTACK}; /* signal_stack.h */
    if (!unattended) action.sa_flags |= (int)SA_RESETHAND;
    sigemptyset(&action.sa_mask);
    stop_asked = 0;
    for (int i = 0; i < ARRAY_LEN(stop_signals); i++)
        sigaction(stop_signals[i], &action, &s->old[i]);
}

static void stop_unwatch(const StopSignals *s)
{
    for (int i = 0; i < ARRAY_LEN(stop_signals); i++) sigaction(stop_signals[i], &s->old[i], NULL);
}

/* ---- training section --------------------------------------------------------------------------
 */

/* Mean over sequences and chunks of one micro-batch. */
static double inner_norm_mean(const Trainer *t, int64_t B)
{
    double sum = 0;
    int64_t n = B * t->plan.sweep.chunks;
    for (int64_t i = 0; i < n; i++) sum += t->inner_norm[i];
    return sum / (double)n;
}

/* Gradient of the mean loss of the batch, summed over its micro-batches; *loss is that mean. */
static int batch_gradient(Trainer *t, double inner_lr, double *loss, double *inner_norm, Err *err)
{
    int64_t parts = t->cfg.training.accum_steps, B = t->cfg.training.global_batch_size / parts;
    bool normed = t->inner_norm && t->state.step % INNER_NORM_EVERY == 0;
    SweepReport report = {.chunk_loss = t->chunk_loss};
    if (normed) report.inner_gnorm = t->inner_norm;
    *loss = 0;
    *inner_norm = normed ? 0 : NAN;
    backend_zero(t->be, t->gradient, t->model->table.size);
    for (int64_t part = 0; part < parts; part++) {
        TRY(loader_rows(t->loader, t->state.step, part * B, B, t->tokens, err));
        double part_loss =
            sweep_run(t->sweep, t->tokens, inner_lr, t->gradient, 1.0 / (double)parts, &report);
        TRY(backend_wait(t->be, err));
        if (!isfinite(part_loss))
            return train_fault_loss(t->model, t->chunk_loss, B, t->plan.sweep.chunks,
                                    t->state.step + 1, err);
        *loss += part_loss / (double)parts;
        if (normed) *inner_norm += inner_norm_mean(t, B) / (double)parts;
    }
    return 0;
}

/* One update of the weights. On failure they are as before. */
static int step_run(Trainer *t, StepRecord *r, Err *err)
{
    const TrainingConfig *c = &t->cfg.training;
    double start = time_now();
    r->step = t->state.step + 1;
    r->lr = optimizer_lr(&c->optimizer_outer, t->optimizer->count);
    r->inner_lr = inner_lr_at(c, t->state.step);
    TRY(batch_gradient(t, r->inner_lr, &r->loss, &r->inner_grad_norm, err));
    r->grad_norm = optimizer_step(t->model, t->optimizer, t->gradient);
    TRY(backend_wait(t->be, err));
    if (!isfinite(r->grad_norm))
        return train_fault_gradient(t->model, t->gradient, t->host, r->grad_norm, r->step, err);
    r->seconds = time_now() - start;
    r->memory = backend_memory_peak(t->be);
    int64_t tokens = c->global_batch_size * c->seq_length;
    r->tokens_per_second = (double)tokens / r->seconds;
    t->state.step++;
    t->state.sequences += c->global_batch_size;
    t->state.tokens += tokens;
    return 0;
}

/* ---- end of the training section ---------------------------------------------------------------
 */

static bool save_due(const Trainer *t)
{
    int64_t step = t->state.step;
    if (step == t->saved_step || step == 0) return false;
    return stop_asked || step == trainer_end(t) || step % t->cfg.training.save_milestone_freq == 0;
}

/* After the checkpoint of the same step: an evaluation can be done again. */
static bool eval_due(const Trainer *t)
{
    int64_t step = t->state.step, freq = t->cfg.training.eval_freq;
    if (!t->holdout || stop_asked || train_log_has_eval(t->log, step)) return false;
    return step == trainer_end(t) || (freq > 0 && step % freq == 0);
}

static int loop_run(Trainer *t, Err *err)
{
    int64_t end = trainer_end(t);
    int64_t step_tokens = t->cfg.training.global_batch_size * t->cfg.training.seq_length;
    Progress progress;
    progress_start(&progress, "train", (uint64_t)(end * step_tokens), "tokens");
    progress_skip(&progress, (uint64_t)(t->state.step * step_tokens));
    while (t->state.step < end && !stop_asked) {
        StepRecord r;
        char note[64];
        TRY(step_run(t, &r, err));
        snprintf(note, sizeof note, "step %lld, loss %.4f", (long long)r.step, r.loss);
        progress_update(&progress, (uint64_t)(t->state.step * step_tokens), note);
        train_log_step(t->log, &r);
        if (save_due(t)) TRY(trainer_save(t, err));
        if (eval_due(t)) trainer_evaluate(t, &stop_asked);
    }
    return 0;
}

/* Names the checkpoint that a failed run can go on from. */
static int loop_failed(const Trainer *t, Err *err)
{
    char folder[PATH_MAX];
    Err ignored;
    if (t->saved_step < 0 ||
        checkpoint_path(folder, t->folder.checkpoints, t->saved_step, &ignored) < 0)
        return -1;
    size_t used = strlen(err->text);
    snprintf(err->text + used, sizeof err->text - used, "; the last checkpoint, %s, is whole",
             folder);
    return -1;
}

static void say_interrupted(const Trainer *t, const TrainOptions *options)
{
    const char *saved = t->saved_step == t->state.step ? ", saved" : "";
    log_info("ttt train: interrupted after step %lld of %lld%s; to go on: %s",
             (long long)t->state.step, (long long)trainer_end(t), saved, options->again);
}

static int model_write(const Trainer *t, Err *err)
{
    char from[PATH_MAX], to[PATH_MAX];
    TRY(path_join(from, sizeof from, t->folder.run, ".writing", err));
    TRY(path_join(to, sizeof to, t->folder.run, "model", err));
    TRY(dir_remove(from, err));
    TRY(dir_make(from, err));
    if (model_save(t->model, from, err) == 0 &&
        train_tokenizer_write(&t->tokenizer, &t->cfg, from, err) == 0 &&
        folder_replace(from, to, err) == 0)
        return 0;
    Err ignored;
    dir_remove(from, &ignored);
    return -1;
}

/* The last words of a run; they cannot fail it. -1 after a failure. */
static int run_end(Trainer *t, const char *outcome, const char *message)
{
    Err err;
    train_log_close(t->log); /* what waited is in the report too */
    t->log = NULL;
    if (history_end(t->folder.run, "train", outcome, t->state.step, message, &err) < 0 ||
        report_write(t->folder.run, &err) < 0)
        log_info("ttt train: no report: %s", err.text);
    return message ? -1 : 0;
}

static int trainer_run(Trainer *t, const TrainOptions *options, Err *err)
{
    StopSignals old;
    int64_t end = trainer_end(t);
    if (t->state.step >= end)
        log_info("ttt train: already at step %lld of %lld; raise training.total_steps to go on",
                 (long long)t->state.step, (long long)end);
    if (!options->unattended) stop_watch(&old, false);
    int status = loop_run(t, err);
    if (status == 0 && eval_due(t)) trainer_evaluate(t, &stop_asked); /* missing since a kill */
    bool interrupted = stop_asked && t->state.step < end;
    if (!options->unattended) stop_unwatch(&old);
    if (status < 0) {
        loop_failed(t, err);
        return run_end(t, "failed", err->text);
    }
    if (interrupted) {
        run_end(t, "interrupted", NULL);
        if (options->interrupted) *options->interrupted = true;
        say_interrupted(t, options);
        return 0;
    }
    if (model_write(t, err) < 0 || summary_write(t, err) < 0)
        return run_end(t, "failed", err->text);
    return run_end(t, "finished", NULL);
}

int train_run(const Config *cfg, const TrainOptions *options, Err *err)
{
    Trainer t;
    StopSignals unused;
    if (cfg->training.eval_mode) return eval_mode_run(cfg, options, err);
    if (options->unattended) stop_watch(&unused, true); /* from here to the end of the process */
    TRY(trainer_open(&t, cfg, options, err));
    int status = trainer_run(&t, options, err);
    trainer_close(&t);
    return status;
}
