/* AdamW over the flat block: see optimizer.h. */
#include "model/optimizer.h"

#include <math.h>
#include <stdlib.h>

#include "base/mem.h"
#include "ops/ops.h"

enum { SUM_SCALE = N_PARAMS, SUM_NORM, SUMS }; /* behind the tensors' own */

int optimizer_create(Optimizer **out, Model *m, Err *err)
{
    if (m->cfg.training.optimizer_outer.optimizer_type != OPT_ADAMW)
        return err_set(err, "training.optimizer_outer.optimizer_type must be adamw");
    Optimizer *o = calloc(1, sizeof *o);
    mem_need(o, "an optimizer");
    o->mu = backend_alloc(m->be, m->table.size);
    o->nu = backend_alloc(m->be, m->table.size);
    o->sums = (double *)(void *)backend_alloc(m->be, reals_for(SUMS * sizeof(double)));
    if (backend_wait(m->be, err) < 0) {
        optimizer_free(m, o);
        return -1;
    }
    *out = o;
    return 0;
}

void optimizer_free(Model *m, Optimizer *o)
{
    if (!o) return;
    backend_free(m->be, o->mu, m->table.size);
    backend_free(m->be, o->nu, m->table.size);
    backend_free(m->be, (real *)(void *)o->sums, reals_for(SUMS * sizeof(double)));
    free(o);
}

double optimizer_lr(const OptimizerConfig *c, int64_t i)
{
    double lr;
    if (i < c->lr_warmup_steps) {
        lr = c->init_lr + (c->lr - c->init_lr) * (double)i / (double)c->lr_warmup_steps;
    } else {
        double steps = (double)(c->lr_decay_steps - c->lr_warmup_steps);
        double progress = steps > 0 ? (double)(i - c->lr_warmup_steps) / steps : 1;
        if (progress > 1) progress = 1;
        lr = c->end_lr + (c->lr - c->end_lr) * 0.5 * (1 + cos(M_PI * progress));
    }
    return (double)(float)lr;
}

static bool trained(const Model *m, const ParamEntry *e)
{
    return e->present && spec_selects(&m->cfg.training.spec_outer, e->path);
}

/* Norm and scale of the gradient, over the tensors that spec_outer selects; neither is waited for.
 */
static void clip(Model *m, Optimizer *o, const real *gradient)
{
    int n = 0;
    for (int id = 0; id < N_PARAMS; id++) {
        const ParamEntry *e = &m->table.entry[id];
        if (!trained(m, e)) continue;
        m->be->ops->sum_squares(m->be, &o->sums[n++], gradient + e->offset, e->size);
    }
    m->be->ops->clip_scale(m->be, &o->sums[SUM_SCALE], &o->sums[SUM_NORM], o->sums, n,
                           m->cfg.training.optimizer_outer.clip_gradient);
}

double optimizer_step(Model *m, Optimizer *o, const real *gradient)
{
    const OptimizerConfig *c = &m->cfg.training.optimizer_outer;
    AdamWStep step = {.lr = optimizer_lr(c, o->count),
                      .b1 = c->b1,
                      .b2 = c->b2,
                      .eps = 1e-8,
                      .weight_decay = c->weight_decay,
                      .correction1 = 1 - pow(c->b1, (double)(o->count + 1)),
                      .correction2 = 1 - pow(c->b2, (double)(o->count + 1)),
                      .scale = &o->sums[SUM_SCALE]};
    clip(m, o, gradient);
    for (int id = 0; id < N_PARAMS; id++) {
        const ParamEntry *e = &m->table.entry[id];
        if (trained(m, e))
            m->be->ops->adamw(m->be, m->params + e->offset, o->mu + e->offset, o->nu + e->offset,
                              gradient + e->offset, e->size, &step);
    }
    double norm;
    backend_download_doubles(m->be, &norm, &o->sums[SUM_NORM], 1);
    if (isfinite(norm)) o->count++;
    return norm;
}
