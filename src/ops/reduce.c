/* Sum of squares: the global norms of clipping. */
#include "ops/dot.h"

void KERNEL(sum_squares)(Backend *be, double *out, const real *x, size_t n)
{
    (void)be;
    *out = dot(x, x, n);
}
