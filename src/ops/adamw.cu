/* AdamW, as in adamw.c: one pass over p, mu, nu and g, 28 bytes an element in float. The scale that
 * clipping left on the device is read there; where it is no number, nothing changes. */
#include "ops/pack.cuh" // defines: Pack, load, store, walk, aligned, launch_walk

typedef struct Step { /* in the type of the arrays, as the CPU computes */
    const double *scale;
    real lr, b1, b2, a1, a2, c1, c2, eps, wd;
} Step;

template <int W>
static __global__ void adamw_kernel(real *p, real *mu, real *nu, const real *g, size_t n, Step s)
{
    if (!isfinite(*s.scale)) return;
    real scale = (real)*s.scale;
    walk<W>(n, [=](auto w, size_t i) {
        auto pi = load<w.n>(p, i), m = load<w.n>(mu, i), v = load<w.n>(nu, i), gi = load<w.n>(g, i);
        for (int j = 0; j < w.n; j++) {
            real gj = gi.at[j] * scale;
            m.at[j] = s.b1 * m.at[j] + s.a1 * gj;
            v.at[j] = s.b2 * v.at[j] + s.a2 * gj * gj;
            real turned = m.at[j] * s.c1 / (sqrt_of(v.at[j] * s.c2) + s.eps);
            pi.at[j] -= s.lr * (turned + s.wd * pi.at[j]);
        }
        store(mu, i, m);
        store(nu, i, v);
        store(p, i, pi);
    });
}

void KERNEL(adamw)(Backend *be, real *p, real *mu, real *nu, const real *g, size_t n,
                   const AdamWStep *s)
{
    Step step = {s->scale,
                 (real)s->lr,
                 (real)s->b1,
                 (real)s->b2,
                 (real)(1 - s->b1),
                 (real)(1 - s->b2),
                 (real)(1 / s->correction1),
                 (real)(1 / s->correction2),
                 (real)s->eps,
                 (real)s->weight_decay};
    launch_walk(be, aligned(p, mu, nu, g), n, adamw_kernel<WIDE>, adamw_kernel<1>, p, mu, nu, g, n,
                step);
}
