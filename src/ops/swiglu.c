/* SwiGLU (Shazeer, 2020): y = s(a) b, s(a) = a sg(a), sg the logistic function.
 *   s' = sg (1 + a (1 - sg)),  s'' = sg (1 - sg) (2 + a (1 - 2 sg))
 *   tangent             yt = s' at b + s bt
 *   gradient            da = dy b s',  db = dy s
 *   tangent of gradient dat = dyt b s' + dy bt s' + dy b s'' at,  dbt = dyt s + dy s' at */
#include "ops/kernel.h"
#include "ops/vexp.h"

enum { SERIAL = 1 << 13 };

static inline real logistic(real a)
{
    return 1 / (1 + vexp(-a));
}

static void forward_value(Dual y, Dual a, Dual b, size_t n)
{
#pragma omp parallel for simd schedule(static) if (n > SERIAL)
    for (size_t i = 0; i < n; i++) y.v[i] = a.v[i] * logistic(a.v[i]) * b.v[i];
}

static void forward_tangent(Dual y, Dual a, Dual b, size_t n)
{
#pragma omp parallel for simd schedule(static) if (n > SERIAL)
    for (size_t i = 0; i < n; i++) {
        real sg = logistic(a.v[i]);
        real s1 = sg * (1 + a.v[i] * (1 - sg));
        y.t[i] = s1 * a.t[i] * b.v[i] + a.v[i] * sg * b.t[i];
    }
}

/* Only one factor has a tangent: some inner weights but not all. */
static void forward_half_tangent(Dual y, Dual a, Dual b, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        real sg = logistic(a.v[i]);
        real s1 = sg * (1 + a.v[i] * (1 - sg));
        y.t[i] = a.t ? s1 * a.t[i] * b.v[i] : a.v[i] * sg * b.t[i];
    }
}

void KERNEL(swiglu_forward)(Backend *be, Dual y, Dual a, Dual b, size_t n)
{
    (void)be;
    if (y.t && a.t && b.t)
        forward_tangent(y, a, b, n);
    else if (y.t && (a.t || b.t))
        forward_half_tangent(y, a, b, n);
    forward_value(y, a, b, n);
}

static void backward_value(Dual da, Dual db, Dual dy, Dual a, Dual b, size_t n)
{
#pragma omp parallel for simd schedule(static) if (n > SERIAL)
    for (size_t i = 0; i < n; i++) {
        real sg = logistic(a.v[i]);
        real s1 = sg * (1 + a.v[i] * (1 - sg));
        real g = dy.v[i];
        da.v[i] = g * b.v[i] * s1;
        db.v[i] = g * a.v[i] * sg;
    }
}

static inline void backward_tangent_at(Dual da, Dual db, size_t i, real g, real gt, real a, real at,
                                       real b, real bt)
{
    real sg = logistic(a);
    real s1 = sg * (1 + a * (1 - sg));
    real s2 = sg * (1 - sg) * (2 + a * (1 - 2 * sg));
    da.t[i] = (gt * b + g * bt) * s1 + g * b * s2 * at;
    db.t[i] = gt * a * sg + g * s1 * at;
}

static void backward_tangent(Dual da, Dual db, Dual dy, Dual a, Dual b, size_t n)
{
#pragma omp parallel for simd schedule(static) if (n > SERIAL)
    for (size_t i = 0; i < n; i++)
        backward_tangent_at(da, db, i, dy.v[i], dy.t[i], a.v[i], a.t[i], b.v[i], b.t[i]);
}

static void backward_some_tangents(Dual da, Dual db, Dual dy, Dual a, Dual b, size_t n)
{
    for (size_t i = 0; i < n; i++)
        backward_tangent_at(da, db, i, dy.v ? dy.v[i] : 0, dy.t ? dy.t[i] : 0, a.v[i],
                            a.t ? a.t[i] : 0, b.v[i], b.t ? b.t[i] : 0);
}

void KERNEL(swiglu_backward)(Backend *be, Dual da, Dual db, Dual dy, Dual a, Dual b, size_t n)
{
    (void)be;
    if (plain_in_tangent_slot(dy) && !a.t && !b.t) {
        backward_value((Dual){.v = da.t}, (Dual){.v = db.t}, (Dual){.v = dy.t}, a, b, n);
        return;
    }
    if (da.t && dy.v && dy.t && a.t && b.t)
        backward_tangent(da, db, dy, a, b, n);
    else if (da.t)
        backward_some_tangents(da, db, dy, a, b, n);
    if (da.v) backward_value(da, db, dy, a, b, n);
}
