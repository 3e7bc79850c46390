/* Sums of squares, and the global norm and scale of clipping that are made of them. */
#include <math.h>

#include "ops/dot.h"

void KERNEL(sum_squares)(Backend *be, double *out, const real *x, size_t n)
{
    (void)be;
    *out = dot(x, x, n);
}

void KERNEL(clip_scale)(Backend *be, double *scale, double *norm, const double *sums, int n,
                        double clip)
{
    (void)be;
    double total = 0;
    for (int i = 0; i < n; i++) total += sums[i];
    *norm = sqrt(total);
    *scale = clip > 0 && *norm >= clip ? clip / *norm : 1;
    if (!isfinite(*norm)) *scale = NAN;
}
