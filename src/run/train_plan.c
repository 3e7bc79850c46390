/* The memory plan of a training run. */
#include "run/train_plan.h"

#include <stdint.h>

#include "base/log.h"
#include "base/mem.h"

SweepOptions train_sweep_options(const Config *c)
{
    const TrainingConfig *t = &c->training;
    return (SweepOptions){.batch = (int)(t->global_batch_size / t->accum_steps),
                          .length = t->seq_length,
                          .gradient = true,
                          .learn = t->train_mode == TRAIN_META};
}

int train_plan_make(TrainPlan *out, Backend *be, const Config *c, Err *err)
{
    /* A model without weights: the tables are all that a plan looks at. */
    Model shape = {.cfg = *c, .be = be};
    param_table_build(&shape.table, &c->model);
    TRY(inner_table_build(&shape.inner, &shape.table, c, err));
    SweepOptions o = train_sweep_options(c);
    size_t block = shape.table.size * sizeof(real);
    *out = (TrainPlan){.sweep = sweep_plan(&shape, &o),
                       .weights = block,
                       .gradient = block,
                       .moments = 2 * block,
                       .snapshot = 2 * block,
                       .tokens = (size_t)o.batch * (size_t)(o.length + 1) * sizeof(int32_t),
                       .available = mem_available()};
    out->total = out->sweep.total + out->weights + out->gradient + out->moments + out->snapshot +
                 out->tokens;
    inner_table_free(&shape.inner);
    return 0;
}

static double megabytes(size_t bytes)
{
    return (double)bytes / 1e6;
}

void train_plan_print(const TrainPlan *p)
{
    log_info("memory: %.1f MB of %.0f MB free: weights %.1f, gradient %.1f, moments %.1f, "
             "checkpoint copy %.1f; a sweep of %lld chunks in %lld segments: activations %.1f, "
             "windows %.1f, adapted weights %.1f, saved states %.1f",
             megabytes(p->total), megabytes(p->available), megabytes(p->weights),
             megabytes(p->gradient), megabytes(p->moments), megabytes(p->snapshot),
             (long long)p->sweep.chunks, (long long)p->sweep.segments,
             megabytes(p->sweep.activations), megabytes(p->sweep.windows),
             megabytes(p->sweep.adapted), megabytes(p->sweep.states));
}

int train_plan_check(const TrainPlan *p, const Config *c, Err *err)
{
    if (p->total <= p->available) return 0;
    const TrainingConfig *t = &c->training;
    size_t fixed = p->weights + p->gradient + p->moments + p->snapshot;
    if (fixed > p->available)
        return err_set(err,
                       "weights, gradient and optimizer need %.0f MB and only %.0f MB are free; "
                       "choose a smaller model (model.hidden_size, model.num_hidden_layers, "
                       "model.vocab_size)",
                       megabytes(fixed), megabytes(p->available));
    return err_set(
        err,
        "a step needs %.0f MB (%.0f MB of them for the sweep) and only %.0f MB are free; "
        "raise training.accum_steps (now %lld, for %lld sequences a batch), or lower "
        "training.global_batch_size or training.seq_length (now %lld)",
        megabytes(p->total), megabytes(p->sweep.total), megabytes(p->available),
        (long long)t->accum_steps, (long long)t->global_batch_size, (long long)t->seq_length);
}
