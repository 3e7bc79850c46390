/* y = x w.
 *   tangent             yt = xt w + x wt
 *   gradient            dx = dy w^T,  dw += x^T dy
 *   tangent of gradient dxt = dyt w^T + dy wt^T,  dwt += x^T dyt + xt^T dy
 * Shared weights see all sequences as one tall matrix; per-sequence ones are multiplied in turn. */
#include "ops/composed/composed.h"

static void forward_rows(Backend *be, Dual y, Dual x, Param w, int R, int K, int N)
{
    gemm(be, N_, N_, R, N, K, 1, x.v, K, w.v, N, 0, y.v, N);
    if (!y.t) return;
    real beta = 0;
    if (x.t) {
        gemm(be, N_, N_, R, N, K, 1, x.t, K, w.v, N, 0, y.t, N);
        beta = 1;
    }
    if (w.t) gemm(be, N_, N_, R, N, K, 1, x.v, K, w.t, N, beta, y.t, N);
}

static void backward_rows(Backend *be, Dual dx, bool add, Param dw, Dual dy, Dual x, Param w, int R,
                          int K, int N)
{
    real beta = add ? 1 : 0;
    if (dx.v && dy.v) gemm(be, N_, T_, R, K, N, 1, dy.v, N, w.v, N, beta, dx.v, K);
    if (dx.t) {
        gemm(be, N_, T_, R, K, N, 1, dy.t, N, w.v, N, beta, dx.t, K);
        if (w.t && dy.v) gemm(be, N_, T_, R, K, N, 1, dy.v, N, w.t, N, 1, dx.t, K);
    }
    if (dw.v && dy.v) gemm(be, T_, N_, K, N, R, 1, x.v, K, dy.v, N, 1, dw.v, N);
    if (dw.t) {
        gemm(be, T_, N_, K, N, R, 1, x.v, K, dy.t, N, 1, dw.t, N);
        if (x.t && dy.v) gemm(be, T_, N_, K, N, R, 1, x.t, K, dy.v, N, 1, dw.t, N);
    }
}

static real *ahead(real *p, size_t n)
{
    return p ? p + n : NULL;
}
static Dual dual_ahead(Dual d, size_t n)
{
    return (Dual){ahead(d.v, n), ahead(d.t, n)};
}

static Param param_of(Param p, int b)
{
    return (Param){ahead(p.v, (size_t)b * p.step), ahead(p.t, (size_t)b * p.step), 0};
}

void linear_forward(Backend *be, Dual y, Dual x, Param w, int B, int R, int K, int N)
{
    if (!w.step) {
        forward_rows(be, y, x, w, B * R, K, N);
        return;
    }
    size_t in = (size_t)R * (size_t)K, out = (size_t)R * (size_t)N;
    for (int b = 0; b < B; b++)
        forward_rows(be, dual_ahead(y, (size_t)b * out), dual_ahead(x, (size_t)b * in),
                     param_of(w, b), R, K, N);
}

void linear_backward(Backend *be, Dual dx, bool add, Param dw, Dual dy, Dual x, Param w, int B,
                     int R, int K, int N)
{
    if (!w.step && !dw.step) {
        backward_rows(be, dx, add, dw, dy, x, w, B * R, K, N);
        return;
    }
    size_t in = (size_t)R * (size_t)K, out = (size_t)R * (size_t)N;
    for (int b = 0; b < B; b++)
        backward_rows(be, dual_ahead(dx, (size_t)b * in), add, param_of(dw, b),
                      dual_ahead(dy, (size_t)b * out), dual_ahead(x, (size_t)b * in),
                      param_of(w, b), R, K, N);
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
