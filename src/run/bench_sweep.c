/* Benchmarks over whole sequences: a training step (gradient of a batch and the update) and an
 * evaluation. */
#include <math.h>

#include "run/bench_work.h"
#include "run/train_plan.h"

enum { DEFAULT_STEPS = 3 };

static bool trains(const BenchWork *w)
{
    return w->o->kind == BENCH_TRAIN;
}

static SweepOptions sweep_options(const BenchWork *w)
{
    const TrainingConfig *t = &w->cfg.training;
    SweepOptions o = train_sweep_options(&w->cfg);
    o.learn = o.learn && !w->o->no_learning;
    if (trains(w)) return o;
    o.gradient = false;
    o.batch = (int)t->eval_batch_size;
    return o;
}

/* As a training run, which in addition keeps a copy of the moments while it saves. */
static int train_fits(const BenchWork *w, Err *err)
{
    TrainPlan plan;
    TRY(train_plan_make(&plan, &w->cfg, w->be, false, err));
    TRY(train_plan_check(&plan, &w->cfg, err));
    train_plan_print(&plan);
    return 0;
}

static int eval_fits(const BenchWork *w, const SweepOptions *o, Err *err)
{
    SweepPlan plan = sweep_plan(w->m, o);
    size_t need = plan.total + plan.scratch, left = backend_memory_left(w->be);
    if (need <= left) return 0;
    return err_set(err,
                   "an evaluation of %d sequences needs %.0f MB and only %.0f MB are free; lower "
                   "training.eval_batch_size or training.seq_length",
                   o->batch, (double)need / 1e6, (double)left / 1e6);
}

int bench_sweep_open(BenchWork *w, Err *err)
{
    SweepOptions o = sweep_options(w);
    if (trains(w)) TRY(train_fits(w, err));
    TRY(model_create(&w->m, w->be, &w->cfg, err));
    if (!trains(w)) TRY(eval_fits(w, &o, err));
    if (trains(w)) {
        TRY(optimizer_create(&w->optimizer, w->m, err));
        w->gradient = backend_alloc(w->be, w->m->table.size);
    }
    TRY(sweep_create(&w->sweep, w->m, &o, err));
    w->learn = o.learn && model_learns(w->m);
    w->steps = w->o->steps < 0 ? DEFAULT_STEPS : w->o->steps;
    w->parts = trains(w) ? (int)w->cfg.training.accum_steps : 1;
    bench_tokens(w, (int64_t)o.batch * (o.length + 1));
    w->result->step_tokens = w->parts * (int64_t)o.batch * o.length;
    w->result->floor_flops = sweep_floor_flops(w->m, o.length, o.gradient, o.learn);
    return 0;
}

static int loss_note(BenchWork *w, double loss, Err *err)
{
    TRY(backend_wait(w->be, err));
    w->result->loss = loss;
    if (isfinite(loss)) return 0;
    return err_set(err, "the loss is not finite; lower training.optimizer_inner.lr, "
                        "training.optimizer_outer.lr or model.initializer_range");
}

int bench_train_step(BenchWork *w, int64_t step, Err *err)
{
    double loss = 0, inner_lr = inner_lr_at(&w->cfg.training, step);
    bench_start(w, step);
    backend_zero(w->be, w->gradient, w->m->table.size);
    for (int part = 0; part < w->parts; part++)
        loss = sweep_run(w->sweep, w->tokens, inner_lr, w->gradient, 1.0 / w->parts, NULL);
    profile_phase(w->be, PHASE_OPTIMIZER);
    optimizer_step(w->m, w->optimizer, w->gradient);
    TRY(backend_wait(w->be, err));
    bench_stop(w, step);
    return loss_note(w, loss, err);
}

int bench_eval_step(BenchWork *w, int64_t step, Err *err)
{
    bench_start(w, step);
    double loss = sweep_run(w->sweep, w->tokens, w->cfg.training.optimizer_inner.lr, NULL, 1, NULL);
    bench_stop(w, step);
    return loss_note(w, loss, err);
}
