/* SwiGLU, as derived in swiglu.c. Value and tangent in one walk: forward 12 bytes an element in
 * float, with tangents 24; backward 20, with tangents 40. db may stand where dy stood: an element
 * is read and written by one thread, all reads first. */
#include "ops/pack.cuh" // defines: Pack, load, load_or_zero, store, walk, aligned, launch_walk

__device__ inline real logistic(real a)
{
    return 1 / (1 + exp_of(-a));
}

/* y.t is NULL where neither factor has a tangent. */
template <int W> static __global__ void swiglu_kernel(OutDual y, Dual a, Dual b, size_t n)
{
    walk<W>(n, [=](auto w, size_t i) {
        auto av = load<w.n>(a.v, i), bv = load<w.n>(b.v, i), yv = av, yt = av;
        auto at = load_or_zero<w.n>(a.t, i), bt = load_or_zero<w.n>(b.t, i);
        for (int j = 0; j < w.n; j++) {
            real sg = logistic(av.at[j]), s = av.at[j] * sg, s1 = sg * (1 + av.at[j] * (1 - sg));
            yv.at[j] = s * bv.at[j];
            yt.at[j] = s1 * at.at[j] * bv.at[j] + s * bt.at[j];
        }
        store(y.v, i, yv);
        if (y.t) store(y.t, i, yt);
    });
}

void KERNEL(swiglu_forward)(Backend *be, Dual y, Dual a, Dual b, size_t n)
{
    if (!a.t && !b.t) y.t = NULL;
    if (!y.t) a.t = b.t = NULL;
    launch_walk(be, aligned(y.v, y.t, a.v, a.t, b.v, b.t), n, swiglu_kernel<WIDE>, swiglu_kernel<1>,
                out_of(be, y, n), a, b, n);
}

template <int W>
static __global__ void swiglu_gradient_kernel(OutDual da, OutDual db, Dual dy, Dual a, Dual b,
                                              size_t n)
{
    walk<W>(n, [=](auto w, size_t i) {
        auto g = load_or_zero<w.n>(dy.v, i), gt = load_or_zero<w.n>(da.t ? dy.t : NULL, i);
        auto av = load<w.n>(a.v, i), at = load_or_zero<w.n>(da.t ? a.t : NULL, i);
        auto bv = load<w.n>(b.v, i), bt = load_or_zero<w.n>(da.t ? b.t : NULL, i);
        auto dav = av, dat = av, dbv = av, dbt = av;
        for (int j = 0; j < w.n; j++) {
            real x = av.at[j], sg = logistic(x), s = x * sg, s1 = sg * (1 + x * (1 - sg));
            real s2 = sg * (1 - sg) * (2 + x * (1 - 2 * sg)), gb = g.at[j] * bv.at[j];
            dav.at[j] = gb * s1;
            dbv.at[j] = g.at[j] * s;
            dat.at[j] = (gt.at[j] * bv.at[j] + g.at[j] * bt.at[j]) * s1 + gb * s2 * at.at[j];
            dbt.at[j] = gt.at[j] * s + g.at[j] * s1 * at.at[j];
        }
        if (da.v) store(da.v, i, dav);
        if (da.v) store(db.v, i, dbv);
        if (da.t) store(da.t, i, dat);
        if (da.t) store(db.t, i, dbt);
    });
}

void KERNEL(swiglu_backward)(Backend *be, Dual da, Dual db, Dual dy, Dual a, Dual b, size_t n)
{
    if (plain_in_tangent_slot(dy) && !a.t && !b.t) {
        da = {da.t, NULL};
        db = {db.t, NULL};
        dy = {dy.t, NULL};
    }
    bool packs = aligned(da.v, da.t, db.v, db.t) && aligned(dy.v, dy.t, a.v, a.t, b.v, b.t);
    launch_walk(be, packs, n, swiglu_gradient_kernel<WIDE>, swiglu_gradient_kernel<1>,
                out_of(be, da, n), out_of(be, db, n), dy, a, b, n);
}
