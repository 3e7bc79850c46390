/* Finds the first number that is not finite, in a loss or in a gradient. */
#include "run/train_fault.h"

#include <math.h>
#include <stdio.h>

enum { ADVICE_MAX = 400, PLACE_MAX = PARAM_PATH_MAX + 64 };

static const char *outer_advice(const Model *m, char out[ADVICE_MAX])
{
    snprintf(out, ADVICE_MAX, "lower training.optimizer_outer.lr (now %g)",
             m->cfg.training.optimizer_outer.lr);
    return out;
}

/* Later chunks are read with adapted weights, so there the inner steps come first. */
static const char *inner_advice(const Model *m, char out[ADVICE_MAX])
{
    const OptimizerConfig *inner = &m->cfg.training.optimizer_inner;
    char outer[ADVICE_MAX];
    snprintf(out, ADVICE_MAX,
             "lower training.optimizer_inner.lr (now %g) or %s "
             "training.optimizer_inner.clip_gradient (now %g%s), then %.200s",
             inner->lr, inner->clip_gradient > 0 ? "lower" : "set", inner->clip_gradient,
             inner->clip_gradient > 0 ? "" : ": no clipping", outer_advice(m, outer) + 6);
    return out;
}

static const char *kind(double x)
{
    return isnan(x) ? "NaN" : "infinite";
}

int train_fault_loss(const Model *m, const double *chunk_loss, int64_t B, int64_t chunks,
                     int64_t step, Err *err)
{
    char advice[ADVICE_MAX];
    for (int64_t c = 0; c < chunks; c++) {
        for (int64_t b = 0; b < B; b++) {
            double loss = chunk_loss[b * chunks + c];
            if (isfinite(loss)) continue;
            bool adapted = c > 0 && model_learns(m);
            return err_set(err, "step %lld: the loss of chunk %lld of sequence %lld is %s; %s",
                           (long long)step, (long long)c, (long long)b, kind(loss),
                           adapted ? inner_advice(m, advice) : outer_advice(m, advice));
        }
    }
    return err_set(err, "step %lld: the loss is not finite; %s", (long long)step,
                   outer_advice(m, advice));
}

/* "PATH, layer N": element i of the tensor. */
static const char *place(const ParamEntry *e, size_t i, char out[PLACE_MAX])
{
    if (e->n_layers > 0)
        snprintf(out, PLACE_MAX, "%s, layer %zu", e->path,
                 (size_t)e->first_layer + i / e->layer_size);
    else
        snprintf(out, PLACE_MAX, "%s", e->path);
    return out;
}

int train_fault_gradient(const Model *m, const real *gradient, real *host, double norm,
                         int64_t step, Err *err)
{
    char advice[ADVICE_MAX], where[PLACE_MAX];
    const ParamEntry *top = NULL;
    size_t top_at = 0;
    double largest = -1;
    const char *what = model_learns(m) ? inner_advice(m, advice) : outer_advice(m, advice);
    backend_download(m->be, host, gradient, m->table.size);
    for (int id = 0; id < N_PARAMS; id++) {
        const ParamEntry *e = &m->table.entry[id];
        for (size_t i = 0; e->present && i < e->size; i++) {
            double g = fabs((double)host[e->offset + i]);
            if (!isfinite(g))
                return err_set(err, "step %lld: the gradient of %s is %s; %s", (long long)step,
                               place(e, i, where), kind(g), what);
            if (g <= largest) continue;
            largest = g;
            top = e;
            top_at = i;
        }
    }
    CHECK(top, "a model without parameters");
    return err_set(err,
                   "step %lld: the norm of the gradient is %s; its largest value, %g, is in %s; %s",
                   (long long)step, kind(norm), largest, place(top, top_at, where), what);
}
