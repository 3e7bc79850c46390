/* The training run's own evaluation. */
#include "run/train_eval.h"

#include "base/log.h"

static int evaluate(Trainer *t, const volatile sig_atomic_t *stop, Err *err)
{
    const TrainingConfig *c = &t->cfg.training;
    HoldoutOptions o = {.length = c->seq_length,
                        .max_sequences = c->eval_sequences,
                        .batch = c->eval_batch_size,
                        .memory = t->plan.sweep.total + t->plan.sweep.scratch,
                        .stop = stop};
    Holdout h;
    TRY(holdout_score(&h, t->model, t->holdout, &o, err));
    bool whole = h.scored == h.set.n_items;
    if (whole) {
        train_log_eval(t->log, t->state.step, &h);
        log_info("ttt train: step %lld: held-out loss %.4f (%lld sequences, %.1f s)",
                 (long long)t->state.step, h.loss, (long long)h.scored, h.seconds);
    }
    holdout_free(&h);
    return whole ? 0 : err_set(err, "stopped");
}

void trainer_evaluate(Trainer *t, const volatile sig_atomic_t *stop)
{
    Err err;
    SweepOptions o = train_sweep_options(&t->cfg);
    sweep_free(t->sweep);
    if (evaluate(t, stop, &err) < 0)
        log_info("ttt train: no evaluation at step %lld: %s", (long long)t->state.step, err.text);
    int again = sweep_create(&t->sweep, t->model, &o, &err);
    CHECK(again == 0, "the training sweep cannot be made again: %s", err.text);
}
