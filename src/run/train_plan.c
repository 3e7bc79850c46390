/* The memory plan of a training run. */
#include "run/train_plan.h"

#include <stdint.h>
#include <stdio.h>

#include "backend/machine.h"
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

/* Of a GPU's memory: kernels are loaded as they are first started, and a record of a step takes
 * some (an estimate). */
enum { GPU_PROGRAM = 64 << 20 };

/* Beside the arrays. On the host: what is resident by now, the library's code for products, each
 * thread's packed operands (measured: docs/speed.md), and the largest weight in bfloat16. On a GPU:
 * its program, and what its operations take. */
static size_t program_bytes(const Config *c, const Backend *be, size_t scratch)
{
    size_t rounded = c->model.compute_dtype == COMPUTE_BF16 ? sweep_head_bf16(&c->model) : 0;
    if (be->machine->own_memory) return GPU_PROGRAM + scratch;
    return mem_peak_rss() + PRODUCTS_CODE + (size_t)be->threads * PRODUCTS_PACKED + rounded;
}

int train_plan_make(TrainPlan *out, const Config *c, Backend *be, bool snapshot, Err *err)
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
                       .snapshot = snapshot && !be->machine->own_memory ? 2 * block : 0,
                       .tokens = (size_t)o.batch * (size_t)(o.length + 1) * sizeof(int32_t),
                       .available = backend_memory_left(be),
                       .be = be};
    out->program = program_bytes(c, be, out->sweep.scratch);
    out->floor = sweep_floor_flops(&shape, o.length, true, o.learn);
    out->total = out->sweep.total + out->weights + out->gradient + out->moments + out->snapshot +
                 out->tokens + out->program;
    inner_table_free(&shape.inner);
    return 0;
}

static double megabytes(size_t bytes)
{
    return (double)bytes / 1e6;
}

static double percent_again(const TrainPlan *p)
{
    return 100 * p->sweep.again / p->floor;
}

void train_plan_print(const TrainPlan *p)
{
    log_info(
        "memory: %.1f MB in all, %.0f MB free: weights %.1f, gradient %.1f, moments %.1f, "
        "checkpoint copy %.1f, program %.1f; a sweep of %lld chunks in %lld segments: activations "
        "%.1f, windows %.1f, adapted weights %.1f, saved states %.1f; %.1f %% of the arithmetic is "
        "done again to save memory",
        megabytes(p->total), megabytes(p->available), megabytes(p->weights), megabytes(p->gradient),
        megabytes(p->moments), megabytes(p->snapshot), megabytes(p->program),
        (long long)p->sweep.chunks, (long long)p->sweep.segments, megabytes(p->sweep.activations),
        megabytes(p->sweep.windows), megabytes(p->sweep.adapted), megabytes(p->sweep.states),
        percent_again(p));
}

/* ------------------------------------------------------------------------------ what would fit */

/* Plans of other settings, held against the same memory. */
typedef struct Search {
    const TrainPlan *refused;
    Config cfg;     /* the setting at hand */
    TrainPlan plan; /* its plan */
} Search;

static bool fits(Search *s)
{
    Err ignored;
    const TrainPlan *refused = s->refused;
    if (train_plan_make(&s->plan, &s->cfg, refused->be, refused->snapshot > 0, &ignored) < 0)
        return false;
    s->plan.total += refused->program - s->plan.program;
    return s->plan.total <= refused->available;
}

/* The largest budget of a sweep that fits. */
static bool fits_with_less(Search *s)
{
    TrainingConfig *t = &s->cfg.training;
    t->activation_mb = 1;
    if (!fits(s)) return false;
    t->activation_mb =
        (int64_t)((s->refused->available - s->plan.total + s->plan.sweep.total) >> 20);
    if (t->activation_mb < 1) t->activation_mb = 1;
    return fits(s);
}

static bool fits_in_parts(Search *s)
{
    TrainingConfig *t = &s->cfg.training;
    int64_t given = t->accum_steps;
    for (t->accum_steps++; t->accum_steps <= t->global_batch_size; t->accum_steps++)
        if (t->global_batch_size % t->accum_steps == 0 && fits_with_less(s)) return true;
    t->accum_steps = given;
    return false;
}

static bool fits_when_shorter(Search *s)
{
    TrainingConfig *t = &s->cfg.training;
    t->accum_steps = t->global_batch_size;
    while (t->seq_length >= 2 * s->cfg.model.mini_batch_size) {
        t->seq_length /= 2;
        if (fits_with_less(s)) return true;
    }
    return false;
}

int train_plan_check(const TrainPlan *p, const Config *c, Err *err)
{
    if (p->total <= p->available) return 0;
    Search s = {.refused = p, .cfg = *c};
    const TrainingConfig *t = &s.cfg.training;
    char what[160];
    if (fits_with_less(&s))
        snprintf(what, sizeof what, "training.activation_mb=%lld", (long long)t->activation_mb);
    else if (fits_in_parts(&s))
        snprintf(what, sizeof what, "training.accum_steps=%lld training.activation_mb=%lld",
                 (long long)t->accum_steps, (long long)t->activation_mb);
    else if (fits_when_shorter(&s))
        snprintf(what, sizeof what,
                 "training.seq_length=%lld training.accum_steps=%lld training.activation_mb=%lld",
                 (long long)t->seq_length, (long long)t->accum_steps, (long long)t->activation_mb);
    else
        return err_set(err,
                       "a step needs %.0f MB, weights, gradient and optimizer %.0f MB of them, and "
                       "only %.0f MB are free; choose a smaller model (model.hidden_size, "
                       "model.num_hidden_layers, model.vocab_size)",
                       megabytes(p->total),
                       megabytes(p->weights + p->gradient + p->moments + p->snapshot),
                       megabytes(p->available));
    return err_set(
        err,
        "a step needs %.0f MB, %.0f MB of them for the sweep, and only %.0f MB are free; "
        "%s would fit (%.0f MB, %.0f %% of the arithmetic done again)",
        megabytes(p->total), megabytes(p->sweep.total), megabytes(p->available), what,
        megabytes(s.plan.total), percent_again(&s.plan));
}
