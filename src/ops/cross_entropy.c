/* Cross entropy over one row of logits z: nll = logsumexp(z) - z[target], p = softmax(z).
 *   gradient            dz = s (p - onehot)
 *   tangent of gradient dzt = st (p - onehot) + s p (zt - sum p zt)
 * s and st are the seeds: the row's weight in the loss and that weight's derivative. The logits are
 * overwritten by their gradient, so that T x V is never stored. */
#include <math.h>

#include "ops/kernel.h"
#include "ops/row.h"
#include "ops/vexp.h"

typedef struct Row {
    real max, sum;
} Row;

static Row row_softmax(const real *z, int V)
{
    real top = row_max(z, V);
    return (Row){top, row_sum_exp(z, V, top)};
}

static void gradient_row(real *z, Row r, real seed, int32_t target, int V)
{
    real scale = seed / r.sum;
    for (int j = 0; j < V; j++) z[j] = scale * vexp(z[j] - r.max);
    z[target] -= seed;
}

static void tangent_row(real *z, real *zt, Row r, real s, real st, int32_t target, int V)
{
    real mean = 0, inv = 1 / r.sum;
    for (int j = 0; j < V; j++) {
        z[j] = inv * vexp(z[j] - r.max);
        mean += z[j] * zt[j];
    }
    for (int j = 0; j < V; j++) {
        zt[j] = z[j] * (st + s * (zt[j] - mean));
        z[j] *= s;
    }
    z[target] -= s;
    zt[target] -= st;
}

void KERNEL(cross_entropy)(Backend *be, real *nll, Dual z, Dual seed, const int32_t *target, int N,
                           int V)
{
    (void)be;
#pragma omp parallel for schedule(static) if ((size_t)N * (size_t)V > 1 << 13)
    for (int n = 0; n < N; n++) {
        real *zn = z.v + (size_t)n * (size_t)V;
        Row r = row_softmax(zn, V);
        nll[n] = (real)(log((double)r.sum) + (double)r.max - (double)zn[target[n]]);
        if (z.t)
            tangent_row(zn, z.t + (size_t)n * (size_t)V, r, seed.v ? seed.v[n] : 0,
                        seed.t ? seed.t[n] : 0, target[n], V);
        else if (seed.v || seed.t)
            gradient_row(zn, r, seed.v ? seed.v[n] : seed.t[n], target[n], V);
    }
}

void KERNEL(loss_seeds)(Backend *be, real *seeds, const int32_t *target, int B, int M, int32_t bos,
                        double scale)
{
    (void)be;
    for (int b = 0; b < B; b++) {
        const int32_t *t = target + (size_t)b * (size_t)M;
        int count = 0;
        for (int m = 0; m < M; m++) count += t[m] != bos;
        real each = (real)(count ? scale / count : 0);
        for (int m = 0; m < M; m++)
            seeds[(size_t)b * (size_t)M + (size_t)m] = t[m] != bos ? each : 0;
    }
}
