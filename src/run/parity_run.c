/* Computes a case. Batch 0 at the initial parameters gives every report; then one optimizer step
 * per batch. Read parity_run first, at the end. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/mem.h"
#include "model/optimizer.h"
#include "model/sweep.h"
#include "run/machine_open.h"
#include "run/parity.h"

typedef struct Runner {
    const ParityCase *c;
    const ParityWants *w;
    ParityValues *arrays, *scalars;
    Backend *be;
    Model *m;
    Sweep *sweep;
    Optimizer *optimizer;
    real *gradient; /* (table.size), backend memory */
    real *host;     /* (table.size): a copy of any of the flat blocks */
    real *initial;  /* (table.size): parameters before step 0 */
    int micro;      /* sequences per micro-batch */
    int64_t chunks;
} Runner;

/* ------------------------------------------------------------------------------ inner weights */

/* Tensors "PREFIX/<inner path>", with a leading axis of n rows unless n is 0. */
static void inner_add(Runner *r, const char *prefix, int64_t n)
{
    for (int i = 0; i < r->m->inner.n; i++) {
        const InnerSlice *slice = &r->m->inner.slice[i];
        const ParamEntry *e = &r->m->table.entry[slice->id];
        char name[PARITY_KEY_MAX];
        int64_t shape[PARITY_DIMS], n_dims = 0;
        if (n > 0) shape[n_dims++] = n;
        for (int d = 0; d < e->n_dims; d++) shape[n_dims++] = e->shape[d];
        if (slice->n_layers > 0) shape[n > 0 ? 1 : 0] = slice->n_layers;
        snprintf(name, sizeof name, "%s/%s", prefix, slice->path);
        parity_values_add(r->arrays, name, (int)n_dims, shape);
    }
}

/* Puts one vector of inner weights (P) into a row of those tensors; where a slice is not live, rest
 * (as the flat block of parameters, or NULL: zero). */
static void inner_put(Runner *r, const char *prefix, int64_t row, const real *vector,
                      const real *rest)
{
    for (int i = 0; i < r->m->inner.n; i++) {
        const InnerSlice *slice = &r->m->inner.slice[i];
        char name[PARITY_KEY_MAX];
        snprintf(name, sizeof name, "%s/%s", prefix, slice->path);
        double *to = parity_values_find(r->arrays, name)->data + (size_t)row * slice->size;
        const real *from = slice->live ? vector + slice->inner_offset
                           : rest      ? rest + slice->param_offset
                                       : NULL;
        for (size_t k = 0; from && k < slice->size; k++) to[k] = (double)from[k];
    }
}

static void on_inner_step(void *context, int64_t chunk, const real *gradient, const real *weights)
{
    Runner *r = context;
    if (chunk == 0) inner_put(r, "inner_grad0", 0, gradient, NULL);
    if (r->w->fast) inner_put(r, "fast", chunk, weights, r->initial);
    if (r->w->fast_final && chunk == r->chunks - 1)
        inner_put(r, "fast_final", 0, weights, r->initial);
}

/* ------------------------------------------------------------------------------ batches */

/* The report of batch 0: arrays to be filled, micro-batch after micro-batch. */
typedef struct Report {
    double *token_nll, *chunk_loss, *seq_loss, *inner_gnorm;
} Report;

static Report report_add(Runner *r)
{
    int64_t by_token[] = {r->c->B, r->c->T}, by_chunk[] = {r->c->B, r->chunks};
    Report report = {.token_nll = parity_values_add(r->arrays, "token_nll", 2, by_token),
                     .chunk_loss = parity_values_add(r->arrays, "chunk_loss", 2, by_chunk),
                     .seq_loss = parity_values_add(r->arrays, "seq_loss", 1, by_chunk)};
    if (!model_learns(r->m)) return report;
    report.inner_gnorm = parity_values_add(r->arrays, "inner_gnorm", 2, by_chunk);
    inner_add(r, "inner_grad0", 0);
    if (r->w->fast) inner_add(r, "fast", r->chunks);
    if (r->w->fast_final) inner_add(r, "fast_final", 0);
    return report;
}

static SweepReport micro_report(Runner *r, const Report *report, int64_t first)
{
    SweepReport out = {.token_nll = report->token_nll + first * r->c->T,
                       .chunk_loss = report->chunk_loss + first * r->chunks};
    if (report->inner_gnorm) out.inner_gnorm = report->inner_gnorm + first * r->chunks;
    if (report->inner_gnorm && first == 0) {
        out.on_inner_step = on_inner_step;
        out.context = r;
    }
    return out;
}

/* Loss of a batch, its gradient into r->gradient when wanted. report: NULL, or to be filled. */
static double batch_run(Runner *r, int64_t batch, const Report *report)
{
    const TrainingConfig *t = &r->m->cfg.training;
    double lr = inner_lr_at(t, r->c->start_step + batch), weight = 1 / (double)t->accum_steps;
    double loss = 0;
    if (r->gradient) backend_zero(r->be, r->gradient, r->m->table.size);
    for (int64_t first = 0; first < r->c->B; first += r->micro) {
        const int32_t *tokens = r->c->tokens + (batch * r->c->B + first) * (r->c->T + 1);
        SweepReport out;
        if (report) out = micro_report(r, report, first);
        loss += weight * sweep_run(r->sweep, tokens, lr, r->gradient, weight, report ? &out : NULL);
    }
    return loss;
}

static void sequence_losses(Runner *r, const Report *report)
{
    double total = 0;
    for (int64_t b = 0; b < r->c->B; b++) {
        double sum = 0;
        for (int64_t i = 0; i < r->chunks; i++) sum += report->chunk_loss[b * r->chunks + i];
        report->seq_loss[b] = sum / (double)r->chunks;
        total += report->seq_loss[b];
    }
    if (!r->gradient) parity_values_scalar(r->scalars, total / (double)r->c->B, "eval_loss");
}

/* ------------------------------------------------------------------------------ parameters */

/* Every tensor of a flat block of backend memory as "PREFIX/<path>". */
static void block_add(Runner *r, const char *prefix, const real *block)
{
    backend_download(r->be, r->host, block, r->m->table.size);
    for (int id = 0; id < N_PARAMS; id++) {
        const ParamEntry *e = &r->m->table.entry[id];
        char name[PARITY_KEY_MAX];
        if (!e->present) continue;
        snprintf(name, sizeof name, "%s/%s", prefix, e->path);
        double *to = parity_values_add(r->arrays, name, e->n_dims, e->shape);
        for (size_t k = 0; k < e->size; k++) to[k] = (double)r->host[e->offset + k];
    }
}

static void step_add(Runner *r, int64_t n)
{
    const struct {
        const char *name;
        const real *block;
    } blocks[] = {{"params", r->m->params}, {"mu", r->optimizer->mu}, {"nu", r->optimizer->nu}};
    for (int i = 0; i < ARRAY_LEN(blocks); i++) {
        char prefix[64];
        snprintf(prefix, sizeof prefix, "step%lld/%s", (long long)n, blocks[i].name);
        block_add(r, prefix, blocks[i].block);
    }
}

/* The published log adds a little under the root. */
static double logged_norm(double norm)
{
    return sqrt(norm * norm + 1e-5);
}

/* Over the tensors that are trained, of the gradient just downloaded. */
static double outer_norm(const Runner *r)
{
    double sum = 0;
    for (int id = 0; id < N_PARAMS; id++) {
        const ParamEntry *e = &r->m->table.entry[id];
        if (!e->present || !spec_selects(&r->m->cfg.training.spec_outer, e->path)) continue;
        for (size_t k = 0; k < e->size; k++)
            sum += (double)r->host[e->offset + k] * (double)r->host[e->offset + k];
    }
    return sqrt(sum);
}

/* The update that follows batch i, whose loss and gradient are there. */
static void step_run(Runner *r, int64_t i, double loss)
{
    double lr = optimizer_lr(&r->m->cfg.training.optimizer_outer, r->optimizer->count);
    double norm = optimizer_step(r->m, r->optimizer, r->gradient);
    int index = (int)i;
    parity_values_scalar(r->scalars, (double)i, "steps[%d].step", index);
    parity_values_scalar(r->scalars, loss, "steps[%d].loss", index);
    parity_values_scalar(r->scalars, norm, "steps[%d].outer_grad_norm", index);
    parity_values_scalar(r->scalars, logged_norm(norm), "steps[%d].outer_grad_norm_official_logged",
                         index);
    parity_values_scalar(r->scalars, lr, "steps[%d].lr", index);
    parity_values_scalar(r->scalars, (double)r->optimizer->count, "steps[%d].adam_count", index);
    if (parity_wants_step(r->c, r->w, i + 1)) step_add(r, i + 1);
}

/* ------------------------------------------------------------------------------ the whole case */

static int runner_open(Runner *r, const ParityOptions *o, Err *err)
{
    Config cfg = r->c->cfg;
    cfg.model.compute_dtype = o->compute;
    TRY(config_check(&cfg, err));
    const BackendOptions wish = {.device = o->device, .threads = o->threads, .isa = o->isa};
    TRY(machine_open(&r->be, &cfg, wish, err));
    TRY(model_create(&r->m, r->be, &cfg, err));
    TRY(model_load_params(r->m, r->c->inputs_path, "params/", err));
    r->micro = (int)(r->c->B / cfg.training.accum_steps);
    SweepOptions sweep = {.batch = r->micro,
                          .length = r->c->T,
                          .gradient = r->w->gradient,
                          .learn = cfg.training.train_mode == TRAIN_META};
    TRY(sweep_create(&r->sweep, r->m, &sweep, err));
    r->chunks = sweep_plan(r->m, &sweep).chunks;
    size_t size = r->m->table.size;
    r->host = calloc(size, sizeof *r->host);
    r->initial = calloc(size, sizeof *r->initial);
    mem_need(r->host && r->initial, "a case");
    backend_download(r->be, r->initial, r->m->params, size);
    if (!r->w->gradient) return 0;
    r->gradient = backend_alloc(r->be, size);
    TRY(backend_wait(r->be, err));
    return r->w->steps > 0 ? optimizer_create(&r->optimizer, r->m, err) : 0;
}

static void runner_close(Runner *r)
{
    if (r->m) {
        optimizer_free(r->m, r->optimizer);
        if (r->gradient) backend_free(r->be, r->gradient, r->m->table.size);
    }
    sweep_free(r->sweep);
    free(r->host);
    free(r->initial);
    model_free(r->m);
    backend_close(r->be);
}

static void case_run(Runner *r)
{
    Report report = report_add(r);
    double loss = batch_run(r, 0, &report);
    sequence_losses(r, &report);
    if (model_learns(r->m))
        parity_values_scalar(r->scalars, inner_lr_at(&r->m->cfg.training, r->c->start_step),
                             "inner_lr_at_start_step");
    if (!r->gradient) return;
    block_add(r, "outer_grad", r->gradient);
    double norm = outer_norm(r);
    parity_values_scalar(r->scalars, loss, "outer_loss");
    parity_values_scalar(r->scalars, norm, "outer_grad_norm");
    parity_values_scalar(r->scalars, logged_norm(norm), "outer_grad_norm_official_logged");
    for (int64_t i = 0; i < r->w->steps; i++) step_run(r, i, i ? batch_run(r, i, NULL) : loss);
}

int parity_run(ParityValues *arrays, ParityValues *scalars, const ParityCase *c,
               const ParityWants *w, const ParityOptions *o, Err *err)
{
    Runner r = {.c = c, .w = w, .arrays = arrays, .scalars = scalars};
    int status = runner_open(&r, o, err);
    if (status == 0) case_run(&r);
    if (status == 0) status = backend_wait(r.be, err);
    runner_close(&r);
    return status;
}
