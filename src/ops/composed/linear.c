/* y = x w.
 *   tangent             yt = xt w + x wt
 *   gradient            dx = dy w^T,  dw += x^T dy
 *   tangent of gradient dxt = dyt w^T + dy wt^T,  dwt += x^T dyt + xt^T dy
 * Shared weights see all sequences as one tall matrix; per-sequence ones are multiplied in turn. */
#include "ops/composed/composed.h"

/* n sequences of R rows each with their own weights, or one tall matrix with shared ones. */
typedef struct Rows {
    Backend *be;
    int n, R, K, N;
    size_t in, out, weight, gradient; /* steps from one sequence to the next */
    const ptrdiff_t *shift;           /* of weights, as in Param */
} Rows;

static Rows rows_of(Backend *be, Param w, size_t step_dw, int B, int R, int K, int N)
{
    bool own = w.step || step_dw;
    Rows r = {be, own ? B : 1, own ? R : B * R, K, N, 0, 0, w.step, step_dw, w.shift};
    r.in = (size_t)r.R * (size_t)K;
    r.out = (size_t)r.R * (size_t)N;
    return r;
}

/* y = x w (+ y), w (K, N), or (N, K) when transposed */
static void times_weight(const Rows *r, real *y, size_t step_y, const real *x, size_t step_x,
                         const real *w, bool transposed, int K, int N, bool add)
{
    if (r->n > 1 && r->R > FEW_ROWS && !r->shift) {
        gemm_batch(r->be, r->n, N_, transposed ? T_ : N_, r->R, N, K, x, step_x, w, r->weight,
                   add ? 1 : 0, y, step_y);
        return;
    }
    for (int b = 0; b < r->n; b++) {
        ptrdiff_t at = r->shift ? r->shift[b] : (ptrdiff_t)((size_t)b * r->weight);
        weight_product(r->be, y + (size_t)b * step_y, x + (size_t)b * step_x, w + at, transposed,
                       r->R, K, N, add);
    }
}

static void forward(const Rows *r, real *y, const real *x, const real *w, bool add)
{
    times_weight(r, y, r->out, x, r->in, w, false, r->K, r->N, add);
}

/* dx = dy w^T (+ dx) */
static void to_input(const Rows *r, real *dx, const real *dy, const real *w, bool add)
{
    times_weight(r, dx, r->in, dy, r->out, w, true, r->N, r->K, add);
}

/* dw += x^T dy */
static void to_weight(const Rows *r, real *dw, const real *x, const real *dy)
{
    gemm_batch(r->be, r->n, T_, N_, r->K, r->N, r->R, x, r->in, dy, r->out, 1, dw, r->gradient);
}

void linear_forward(Backend *be, Dual y, Dual x, Param w, int B, int R, int K, int N)
{
    Rows r = rows_of(be, w, 0, B, R, K, N);
    gemm_group_begin(be);
    forward(&r, y.v, x.v, w.v, false);
    if (y.t && x.t) forward(&r, y.t, x.t, w.v, false);
    if (y.t && w.t) forward(&r, y.t, x.v, w.t, x.t != NULL);
    gemm_group_end(be);
}

void linear_backward(Backend *be, Dual dx, bool add, Param dw, Dual dy, Dual x, Param w, int B,
                     int R, int K, int N)
{
    Rows r = rows_of(be, w, dw.step, B, R, K, N);
    gemm_group_begin(be);
    if (dx.v && dy.v) to_input(&r, dx.v, dy.v, w.v, add);
    if (dx.t) to_input(&r, dx.t, dy.t, w.v, add);
    if (dx.t && w.t && dy.v) to_input(&r, dx.t, dy.v, w.t, true);
    if (dw.v && dy.v) to_weight(&r, dw.v, x.v, dy.v);
    if (dw.t) to_weight(&r, dw.t, x.v, dy.t);
    if (dw.t && x.t && dy.v) to_weight(&r, dw.t, x.t, dy.v);
    gemm_group_end(be);
}

void dual_add(Backend *be, Dual y, Dual a, Dual b, size_t n)
{
    if (y.v) be->ops->add(be, y.v, a.v, b.v, n);
    if (!y.t) return;
    if (a.t && b.t)
        be->ops->add(be, y.t, a.t, b.t, n);
    else if (a.t || b.t) {
        if (y.t != a.t && y.t != b.t) backend_copy(be, y.t, a.t ? a.t : b.t, n);
    } else
        backend_zero(be, y.t, n);
}
