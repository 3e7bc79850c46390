/* The head: z = x W, cross entropy, dx = dz W^T, dW += x^T dz, a block of rows at a time so that
 * T x V logits are never stored. The seeds are known before the pass, so loss and gradient share
 * the logits of a block. Tangents as in linear.c and cross_entropy.c.
 *
 * A product with W costs a pass over W whatever rows it has, and W is the largest matrix of a model
 * with a large vocabulary. So a block's rows are stacked: x, xt, x. The first two thirds give z and
 * zt in one product, the last two against dz and dzt (which stand where z and zt stood) give
 * dWt = xt^T dz + x^T dzt in one. */
#include "ops/composed/composed.h"

typedef struct Rows { /* a block of one sequence's rows, or of all with shared weights */
    int n;
    Dual x, dx, seed;
    Param w, dw;
    const int32_t *target;
    real *nll;
} Rows;

static real *ahead(real *p, size_t n)
{
    return p ? p + n : NULL;
}

static Rows rows_at(const Head *h, int b, size_t row, int n)
{
    size_t at = row * (size_t)h->C;
    Rows r = {.n = n, .target = h->target + row, .nll = h->nll + row};
    r.x = (Dual){h->x.v + at, ahead(h->x.t, at)};
    r.dx = (Dual){ahead(h->dx.v, at), ahead(h->dx.t, at)};
    r.seed = (Dual){ahead(h->seed.v, row), ahead(h->seed.t, row)};
    r.w = (Param){.v = param_of(h->w, b), .t = ahead(h->w.t, (size_t)b * h->w.step)};
    r.dw = (Param){.v = ahead(h->dw.v, (size_t)b * h->dw.step),
                   .t = ahead(h->dw.t, (size_t)b * h->dw.step)};
    return r;
}

/* z = x W, dx = dz W^T; the tied matrix is stored transposed. */
static void times_weight(Backend *be, const Head *h, real *z, const real *x, const real *w, int n,
                         bool add)
{
    weight_product(be, z, x, w, h->tied, n, h->C, h->V, add);
}

static void times_weight_back(Backend *be, const Head *h, real *dx, const real *dz, const real *w,
                              int n, bool add)
{
    weight_product(be, dx, dz, w, !h->tied, n, h->V, h->C, add);
}

static void add_weight_gradient(Backend *be, const Head *h, real *dw, const real *x, const real *dz,
                                int n)
{
    if (h->tied)
        gemm(be, T_, N_, h->V, h->C, n, 1, dz, h->V, x, h->C, 1, dw, h->C);
    else
        gemm(be, T_, N_, h->C, h->V, n, 1, x, h->C, dz, h->V, 1, dw, h->V);
}

static void stack_rows(Backend *be, const Head *h, const Rows *r)
{
    size_t n = (size_t)r->n * (size_t)h->C;
    backend_copy(be, h->stack, r->x.v, n);
    backend_copy(be, h->stack + n, r->x.t, n);
    backend_copy(be, h->stack + 2 * n, r->x.v, n);
}

static Dual logits(Backend *be, const Head *h, const Rows *r)
{
    Dual z = {.v = h->logits};
    if (r->x.t || r->w.t) z.t = h->logits + (size_t)r->n * (size_t)h->V;
    if (r->x.t) {
        stack_rows(be, h, r);
        times_weight(be, h, z.v, h->stack, r->w.v, 2 * r->n, false);
    } else {
        times_weight(be, h, z.v, r->x.v, r->w.v, r->n, false);
    }
    if (r->w.t) times_weight(be, h, z.t, r->x.v, r->w.t, r->n, r->x.t != NULL);
    return z;
}

/* dz: value slot the inner loss's gradient, tangent slot its derivative. Without tangents of the
 * logits there is one dz for one seed; both seeds then differ by a factor that only the tangent
 * slot carries, so the block is run once per slot by the caller. */
static void gradients(Backend *be, const Head *h, const Rows *r, Dual dz)
{
    if (dz.v && r->dx.v) times_weight_back(be, h, r->dx.v, dz.v, r->w.v, r->n, false);
    if (dz.v && r->dw.v) add_weight_gradient(be, h, r->dw.v, r->x.v, dz.v, r->n);
    if (dz.t && r->dx.t) {
        times_weight_back(be, h, r->dx.t, dz.t, r->w.v, r->n, false);
        if (r->w.t && dz.v) times_weight_back(be, h, r->dx.t, dz.v, r->w.t, r->n, true);
    }
    if (dz.t && r->dw.t && r->x.t && dz.v)
        add_weight_gradient(be, h, r->dw.t, h->stack + (size_t)r->n * (size_t)h->C, dz.v, 2 * r->n);
    else if (dz.t && r->dw.t)
        add_weight_gradient(be, h, r->dw.t, r->x.v, dz.t, r->n);
}

static void block(Backend *be, const Head *h, const Rows *r)
{
    Dual z = logits(be, h, r);
    if (!r->seed.v && !r->seed.t) {
        be->ops->cross_entropy(be, r->nll, z, r->seed, r->target, r->n, h->V);
        return;
    }
    bool ordinary = !z.t && !r->seed.v;
    gemm_group_begin(be);
    product_operand(be, (Dual){.v = z.v}, r->n, (size_t)r->n * (size_t)h->V * (z.t ? 2 : 1));
    be->ops->cross_entropy(be, r->nll, z, r->seed, r->target, r->n, h->V);
    gradients(be, h, r, ordinary ? (Dual){.t = z.v} : z);
    gemm_group_end(be);
}

void head_loss(Backend *be, const Head *h)
{
    CHECK(!(h->seed.v && h->seed.t) || h->x.t || h->w.t, "both seeds need a tangent of the logits");
    bool copies = h->w.step || h->dw.step;
    int sequences = copies ? h->B : 1, per = copies ? h->M : h->B * h->M;
    int most = h->x.t || h->w.t ? h->rows / 2 : h->rows;
    int blocks = (per + most - 1) / most, rows = (per + blocks - 1) / blocks; /* of one size */
    for (int b = 0; b < sequences; b++)
        for (int row = 0; row < per; row += rows) {
            int n = per - row < rows ? per - row : rows;
            Rows r = rows_at(h, b, (size_t)b * (size_t)per + (size_t)row, n);
            block(be, h, &r);
        }
}

void head_logits(Backend *be, const Head *h, int b, real *z, const real *x, int N)
{
    times_weight(be, h, z, x, param_of(h->w, b), N, false);
}
