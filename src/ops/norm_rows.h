/* Rows of RMSNorm, whole ones (rmsnorm.c) and those of heads, which are rotated besides (rope.c):
 * the formulas are derived there. */
#ifndef TTT_OPS_NORM_ROWS_H
#define TTT_OPS_NORM_ROWS_H

#include <math.h>
#include <omp.h>
#include <string.h>

#include "ops/kernel.h"

/* Results may lie where an operand does, element on element: "omp simd" tells the compiler, whose
 * own check would find that they overlap and take one element at a time. */

#ifdef TTT_FP64
#define REAL_SQRT sqrt
#else
#define REAL_SQRT sqrtf
#endif

static inline real inverse_rms(const real *x, int C, double eps)
{
    real sum = 0;
    for (int c = 0; c < C; c++) sum += x[c] * x[c];
    return 1 / REAL_SQRT(sum / (real)C + (real)eps);
}

static inline real dot_row(const real *a, const real *b, int C)
{
    real sum = 0;
    for (int c = 0; c < C; c++) sum += a[c] * b[c];
    return sum;
}

/* y = (plus +) x r w; plus may be NULL, or y. */
static inline void norm_row(real *y, const real *plus, const real *x, const real *w, int C, real r)
{
    if (plus) {
#pragma omp simd
        for (int c = 0; c < C; c++) y[c] = plus[c] + x[c] * r * w[c];
    } else {
#pragma omp simd
        for (int c = 0; c < C; c++) y[c] = x[c] * r * w[c];
    }
}

static inline void norm_tangent_row(real *yt, const real *plus, const real *x, const real *xt,
                                    const real *w, const real *wt, int C, real r)
{
    real rt = xt ? -r * r * r * dot_row(x, xt, C) / (real)C : 0;
    if (xt && plus) {
#pragma omp simd
        for (int c = 0; c < C; c++) yt[c] = plus[c] + (xt[c] * r + x[c] * rt) * w[c];
    } else if (xt) {
#pragma omp simd
        for (int c = 0; c < C; c++) yt[c] = (xt[c] * r + x[c] * rt) * w[c];
    } else if (!plus) {
        memset(yt, 0, (size_t)C * sizeof *yt);
    } else if (plus != yt) {
        memcpy(yt, plus, (size_t)C * sizeof *yt);
    }
    if (wt)
        for (int c = 0; c < C; c++) yt[c] += x[c] * r * wt[c];
}

/* The pairs of heads of one position turned by its cosines and sines cs, or, sign -1, back; y may
 * be x. */
static inline void turn_heads(real *y, const real *x, const real *cs, int heads, int D, real sign)
{
    for (int h = 0; h < heads; h++, x += D, y += D) {
#pragma omp simd
        for (int i = 0; i < D; i += 2) {
            real x0 = x[i], x1 = x[i + 1], c = cs[i], s = sign * cs[i + 1];
            y[i] = x0 * c - x1 * s;
            y[i + 1] = x0 * s + x1 * c;
        }
    }
}

/* One row of the plain gradient; dw (C) or NULL. dx may be dy. */
static inline void norm_back_row(real *dx, bool add, real *dw, const real *dy, const real *x,
                                 const real *w, int C, real r)
{
    real sum = 0;
    if (dw) {
#pragma omp simd reduction(+ : sum)
        for (int c = 0; c < C; c++) {
            real along = dy[c] * x[c];
            dw[c] += along * r;
            sum += along * w[c];
        }
    } else {
        for (int c = 0; c < C; c++) sum += dy[c] * w[c] * x[c];
    }
    if (!dx) return;
    real a = sum * r * r / (real)C;
    if (add) {
#pragma omp simd
        for (int c = 0; c < C; c++) dx[c] += r * (dy[c] * w[c] - x[c] * a);
    } else {
#pragma omp simd
        for (int c = 0; c < C; c++) dx[c] = r * (dy[c] * w[c] - x[c] * a);
    }
}

/* One row of the gradient's tangent; every input is there, absent ones as rows of zeros. dxt may be
 * dyt. */
static inline void norm_back_tangent_row(real *dxt, bool add, real *dwt, const real *dy,
                                         const real *dyt, const real *x, const real *xt,
                                         const real *w, const real *wt, int C, real r)
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
#pragma omp simd
    for (int c = 0; c < C; c++) {
        real h = x[c] * r, ht = xt[c] * r + x[c] * rt;
        real g = dy[c] * w[c], gt = dyt[c] * w[c] + dy[c] * wt[c];
        real d = rt * (g - h * a) + r * (gt - ht * a - h * at);
        dxt[c] = add ? dxt[c] + d : d;
    }
}

/* A gradient's arguments: rows of C, R to a sequence. */
typedef struct NormRows {
    Dual dx, dy, x;
    Param dw, w;
    bool add;
    int B, R, C;
    double eps;
    /* Of rows that were rotated; else NULL. Rows of dx get those of `turned`, turned back, and are
     * what dy is then. */
    const struct TurnedRows *turned;
    const real *zero; /* norm_backward's own: absent inputs */
} NormRows;

typedef struct TurnedRows {
    const Strided *dy; /* (B, M, H, D); H * M = R, D = C */
    const Rope *rope;
    int M, H;
} TurnedRows;

/* Row b, m of a slot. */
static inline real *strided_row(real *p, size_t step, int b, int m, int C)
{
    return p ? p + (size_t)b * step + (size_t)m * (size_t)C : NULL;
}

/* Head n and those after it of the same position, before `to`; returns the next. */
static inline int turn_back(const NormRows *k, int n, int to)
{
    const TurnedRows *t = k->turned;
    int b = n / k->R, m = n % k->R / t->H, h = n % t->H, D = k->C, C = t->H * D;
    int heads = min_int(t->H - h, to - n);
    size_t at = (size_t)n * (size_t)D;
    const real *cs = t->rope->table + (size_t)b * t->rope->step + (size_t)m * (size_t)D;
    const real *v = strided_row(t->dy->v, t->dy->v_step, b, m, C);
    const real *along = strided_row(t->dy->t, t->dy->t_step, b, m, C);
    if (k->dx.v) turn_heads(k->dx.v + at, v + h * D, cs, heads, D, -1);
    if (k->dx.t) turn_heads(k->dx.t + at, along + h * D, cs, heads, D, -1);
    return n + heads;
}

static inline const real *row_or_zero(const NormRows *k, const real *p, size_t at)
{
    return p ? p + at : k->zero;
}

static inline void norm_back_range(const NormRows *k, int from, int to, real *dwv, real *dwt)
{
    int C = k->C, turned = from;
    for (int n = from; n < to; n++) {
        size_t at = (size_t)n * (size_t)C, wb = (size_t)(n / k->R) * k->w.step;
        if (k->turned && n == turned) turned = turn_back(k, n, to);
        if (!k->w.v) continue;
        const real *x = k->x.v + at, *w = k->w.v + wb;
        real r = inverse_rms(x, C, k->eps);
        if (k->dx.t || dwt)
            norm_back_tangent_row(k->dx.t ? k->dx.t + at : NULL, k->add, dwt,
                                  row_or_zero(k, k->dy.v, at), row_or_zero(k, k->dy.t, at), x,
                                  row_or_zero(k, k->x.t, at), w, row_or_zero(k, k->w.t, wb), C, r);
        if (k->dx.v || dwv)
            norm_back_row(k->dx.v ? k->dx.v + at : NULL, k->add, dwv, k->dy.v + at, x, w, C, r);
    }
}

/* Rows of one weight copy: threads take fixed ranges and add to dw in thread order. */
static inline void norm_back_shared(Backend *be, const NormRows *k, int first, int rows, real *dwv,
                                    real *dwt)
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
        norm_back_range(k, from, to, dwv ? sum : NULL, dwt ? sum + C : NULL);
    }
    for (int p = 0; p < parts; p++)
        for (int c = 0; c < C; c++) {
            if (dwv) dwv[c] += sums[(size_t)p * width + (size_t)c];
            if (dwt) dwt[c] += sums[(size_t)p * width + (size_t)(C + c)];
        }
}

static inline void norm_backward(Backend *be, NormRows k)
{
    size_t work = (size_t)(be->threads + 1) * 2 * (size_t)k.C;
    real *zero = backend_work(be, 0, WORK_KERNEL, work);
    memset(zero, 0, (size_t)k.C * sizeof *zero);
    k.zero = zero;
    bool copies = k.w.step || k.dw.step;
    for (int b = 0; b < (copies ? k.B : 1); b++)
        norm_back_shared(be, &k, b * k.R, copies ? k.R : k.B * k.R,
                         k.dw.v ? k.dw.v + (size_t)b * k.dw.step : NULL,
                         k.dw.t ? k.dw.t + (size_t)b * k.dw.step : NULL);
}

#endif
