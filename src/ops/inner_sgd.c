/* The inner step and its transpose, per sequence:
 *     n = |g|,  u = g for n < c (or c = 0), else (c/n) g,  w' = w - lr u.
 * Transpose applied to a = -lr v (v = dL/dw'), the derivative of n included:
 *     n < c: a;   else (c/n) (a - g <g, a> / n^2). */
#include <math.h>

#include "backend/bf16_copy.h"
#include "ops/dot.h"

static bool clipped(double n, double clip)
{
    return clip > 0 && !(n < clip);
}

static bool refused(const StepGuard *guard)
{
    bool bad = guard && !isfinite(*guard->before);
    for (int i = 0; guard && i < guard->rows; i++)
        bad = bad || (guard->seed[i] != 0 && !isfinite(guard->nll[i]));
    return bad;
}

void KERNEL(inner_sgd_forward)(Backend *be, real *w_next, real *norm, const real *w, const real *g,
                               int B, size_t P, const double *lr, double clip,
                               const StepGuard *guard)
{
    for (int b = 0; b < B; b++) {
        const real *wb = w + (size_t)b * P, *gb = g + (size_t)b * P;
        real *out = w_next + (size_t)b * P;
        double n = refused(guard) ? (double)NAN : sqrt(dot(gb, gb, P));
        norm[b] = (real)n;
        if (guard && !isfinite(norm[b])) continue;
        real rate = (real)(clipped(n, clip) ? *lr * clip / n : *lr);
#pragma omp parallel for simd schedule(static) if (P > 1 << 14)
        for (size_t i = 0; i < P; i++) out[i] = wb[i] - rate * gb[i];
        bf16_copy_refresh(be, out, P);
    }
}

void KERNEL(inner_sgd_backward)(Backend *be, real *u, const real *v, const real *g,
                                const real *norm, int B, size_t P, const double *lr, double clip)
{
    (void)be;
    for (int b = 0; b < B; b++) {
        const real *vb = v + (size_t)b * P, *gb = g + (size_t)b * P;
        real *ub = u + (size_t)b * P;
        double n = (double)norm[b];
        bool active = clipped(n, clip);
        real along = (real)(active ? dot(gb, vb, P) / (n * n) : 0);
        real rate = (real)(active ? -*lr * clip / n : -*lr);
#pragma omp parallel for simd schedule(static) if (P > 1 << 14)
        for (size_t i = 0; i < P; i++) ub[i] = rate * (vb[i] - along * gb[i]);
    }
}
