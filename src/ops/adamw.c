/* AdamW (Loshchilov and Hutter, 2019), with g already scaled by clipping:
 *     mu = b1 mu + (1-b1) g,  nu = b2 nu + (1-b2) g^2,
 *     p -= lr (mu/(1-b1^t) / (sqrt(nu/(1-b2^t)) + eps) + wd p) */
#include <math.h>

#include "ops/kernel.h"

#ifdef TTT_FP64
#define REAL_SQRT sqrt
#else
#define REAL_SQRT sqrtf
#endif

void KERNEL(adamw)(Backend *be, real *p, real *mu, real *nu, const real *g, size_t n,
                   const AdamWStep *s)
{
    (void)be;
    real b1 = (real)s->b1, b2 = (real)s->b2, a1 = (real)(1 - s->b1), a2 = (real)(1 - s->b2);
    real c1 = (real)(1 / s->correction1), c2 = (real)(1 / s->correction2);
    real lr = (real)s->lr, eps = (real)s->eps, wd = (real)s->weight_decay, scale = (real)*s->scale;
    if (!isfinite(*s->scale)) return;
#pragma omp parallel for simd schedule(static) if (n > 1 << 14)
    for (size_t i = 0; i < n; i++) {
        real gi = g[i] * scale;
        real m = b1 * mu[i] + a1 * gi, v = b2 * nu[i] + a2 * gi * gi;
        mu[i] = m;
        nu[i] = v;
        p[i] -= lr * (m * c1 / (REAL_SQRT(v * c2) + eps) + wd * p[i]);
    }
}
