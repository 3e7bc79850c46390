/* RMSNorm (Zhang and Sennrich, 2019): y = h w, h = x r, r = rsqrt(mean(x^2) + eps).
 *   tangent             rt = -r^3 mean(x xt),  ht = xt r + x rt,  yt = ht w + h wt
 *   gradient            g = dy w,  a = mean(g h),  dx = r (g - h a),  dw += sum dy h
 *   tangent of gradient gt = dyt w + dy wt,  at = mean(gt h + g ht),
 *                       dxt = rt (g - h a) + r (gt - ht a - h at),  dwt += sum dyt h + dy ht */
#include <math.h>
#include <omp.h>
#include <string.h>

#include "ops/kernel.h"

#ifdef TTT_FP64
#define REAL_SQRT sqrt
#else
#define REAL_SQRT sqrtf
#endif

static real inverse_rms(const real *x, int C, double eps)
{
    real sum = 0;
    for (int c = 0; c < C; c++) sum += x[c] * x[c];
    return 1 / REAL_SQRT(sum / (real)C + (real)eps);
}

static real dot_row(const real *a, const real *b, int C)
{
    real sum = 0;
    for (int c = 0; c < C; c++) sum += a[c] * b[c];
    return sum;
}

static void forward_row(real *y, const real *x, const real *w, int C, real r)
{
    for (int c = 0; c < C; c++) y[c] = x[c] * r * w[c];
}

static void forward_tangent_row(real *yt, const real *x, const real *xt, const real *w,
                                const real *wt, int C, real r)
{
    real rt = xt ? -r * r * r * dot_row(x, xt, C) / (real)C : 0;
    if (xt)
        for (int c = 0; c < C; c++) yt[c] = (xt[c] * r + x[c] * rt) * w[c];
    else
        memset(yt, 0, (size_t)C * sizeof *yt);
    if (wt)
        for (int c = 0; c < C; c++) yt[c] += x[c] * r * wt[c];
}

void KERNEL(rmsnorm_forward)(Backend *be, Dual y, Dual x, Param w, int B, int R, int C, double eps)
{
    (void)be;
    int rows = B * R;
#pragma omp parallel for schedule(static) if ((size_t)rows * (size_t)C > 1 << 14)
    for (int n = 0; n < rows; n++) {
        size_t at = (size_t)n * (size_t)C, wb = (size_t)(n / R) * w.step;
        const real *weight = param_of(w, n / R);
        real r = inverse_rms(x.v + at, C, eps);
        if (y.t)
            forward_tangent_row(y.t + at, x.v + at, x.t ? x.t + at : NULL, weight,
                                w.t ? w.t + wb : NULL, C, r);
        forward_row(y.v + at, x.v + at, weight, C, r);
    }
}

/* One row of the plain gradient; dw (C) or NULL. */
static void backward_row(real *dx, bool add, real *dw, const real *dy, const real *x, const real *w,
                         int C, real r)
{
    if (dw)
        for (int c = 0; c < C; c++) dw[c] += dy[c] * x[c] * r;
    if (!dx) return;
    real sum = 0;
    for (int c = 0; c < C; c++) sum += dy[c] * w[c] * x[c];
    real a = sum * r * r / (real)C;
    if (add)
        for (int c = 0; c < C; c++) dx[c] += r * (dy[c] * w[c] - x[c] * a);
    else
        for (int c = 0; c < C; c++) dx[c] = r * (dy[c] * w[c] - x[c] * a);
}

/* One row of the gradient's tangent; every input is there, absent ones as rows of zeros. */
static void backward_tangent_row(real *dxt, bool add, real *dwt, const real *dy, const real *dyt,
                                 const real *x, const real *xt, const real *w, const real *wt,
                                 int C, real r)
{
    real rt = -r * r * r * dot_row(x, xt, C) / (real)C;
    real a = 0, at = 0;
    for (int c = 0; c < C; c++) {
        real h = x[c] * r, ht = xt[c] * r + x[c] * rt;
        real g = dy[c] * w[c], gt = dyt[c] * w[c] + dy[c] * wt[c];
        a += g * h;
        at += gt * h + g * ht;
    }
    a /= (real)C;
    at /= (real)C;
    if (dwt)
        for (int c = 0; c < C; c++) dwt[c] += dyt[c] * x[c] * r + dy[c] * (xt[c] * r + x[c] * rt);
    if (!dxt) return;
    for (int c = 0; c < C; c++) {
        real h = x[c] * r, ht = xt[c] * r + x[c] * rt;
        real g = dy[c] * w[c], gt = dyt[c] * w[c] + dy[c] * wt[c];
        real d = rt * (g - h * a) + r * (gt - ht * a - h * at);
        dxt[c] = add ? dxt[c] + d : d;
    }
}

typedef struct Rows { /* one call's arguments, absent inputs as zeros with no stride */
    Dual dx, dy, x;
    Param w;
    const real *zero;
    bool add;
    int R, C;
    double eps;
} Rows;

static const real *row_or_zero(const Rows *k, const real *p, size_t at)
{
    return p ? p + at : k->zero;
}

static void backward_range(const Rows *k, int from, int to, real *dwv, real *dwt)
{
    int C = k->C;
    for (int n = from; n < to; n++) {
        size_t at = (size_t)n * (size_t)C, wb = (size_t)(n / k->R) * k->w.step;
        const real *x = k->x.v + at, *w = k->w.v + wb;
        real r = inverse_rms(x, C, k->eps);
        if (k->dx.t || dwt)
            backward_tangent_row(k->dx.t ? k->dx.t + at : NULL, k->add, dwt,
                                 row_or_zero(k, k->dy.v, at), row_or_zero(k, k->dy.t, at), x,
                                 row_or_zero(k, k->x.t, at), w, row_or_zero(k, k->w.t, wb), C, r);
        if (k->dx.v || dwv)
            backward_row(k->dx.v ? k->dx.v + at : NULL, k->add, dwv, k->dy.v + at, x, w, C, r);
    }
}

/* Rows of one weight copy: threads take fixed ranges and add to dw in thread order. */
static void backward_shared(Backend *be, const Rows *k, int first, int rows, real *dwv, real *dwt)
{
    int C = k->C, parts = (size_t)rows * (size_t)C > 1 << 14 ? be->threads : 1;
    size_t width = 2 * (size_t)C;
    real *sums = backend_work(be, 0, WORK_KERNEL, (size_t)(parts + 1) * width) + C;
    memset(sums, 0, (size_t)parts * width * sizeof *sums);
#pragma omp parallel for schedule(static) num_threads(parts) if (parts > 1)
    for (int p = 0; p < parts; p++) {
        int from = first + (int)((int64_t)rows * p / parts);
        int to = first + (int)((int64_t)rows * (p + 1) / parts);
        real *sum = sums + (size_t)p * width;
        backward_range(k, from, to, dwv ? sum : NULL, dwt ? sum + C : NULL);
    }
    for (int p = 0; p < parts; p++)
        for (int c = 0; c < C; c++) {
            if (dwv) dwv[c] += sums[(size_t)p * width + (size_t)c];
            if (dwt) dwt[c] += sums[(size_t)p * width + (size_t)(C + c)];
        }
}

void KERNEL(rmsnorm_backward)(Backend *be, Dual dx, bool add, Param dw, Dual dy, Dual x, Param w,
                              int B, int R, int C, double eps)
{
    if (plain_in_tangent_slot(dy) && !x.t && !w.t) {
        dx = (Dual){.v = dx.t};
        dw = (Param){.v = dw.t, .step = dw.step};
        dy = (Dual){.v = dy.t};
    }
    size_t work = (size_t)(be->threads + 1) * 2 * (size_t)C;
    real *zero = backend_work(be, 0, WORK_KERNEL, work);
    memset(zero, 0, (size_t)C * sizeof *zero);
    Rows k = {
        .dx = dx, .dy = dy, .x = x, .w = w, .zero = zero, .add = add, .R = R, .C = C, .eps = eps};
    bool copies = w.step || dw.step;
    for (int b = 0; b < (copies ? B : 1); b++)
        backward_shared(be, &k, b * R, copies ? R : B * R, dw.v ? dw.v + (size_t)b * dw.step : NULL,
                        dw.t ? dw.t + (size_t)b * dw.step : NULL);
}
