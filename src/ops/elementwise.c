/* Sums and strided copies of rows. */
#include <string.h>

#include "ops/kernel.h"

void KERNEL(add)(Backend *be, real *y, const real *a, const real *b, size_t n)
{
    (void)be;
#pragma omp parallel for simd schedule(static) if (n > 1 << 14)
    for (size_t i = 0; i < n; i++) y[i] = a[i] + b[i];
}

void KERNEL(copy_rows)(Backend *be, real *y, size_t y_step, const real *x, size_t x_step, int B,
                       int R, int C)
{
    (void)be;
    size_t bytes = (size_t)C * sizeof(real);
#pragma omp parallel for collapse(2) schedule(static) if ((size_t)B * (size_t)R * bytes > 1 << 16)
    for (int b = 0; b < B; b++)
        for (int r = 0; r < R; r++)
            memcpy(y + (size_t)b * y_step + (size_t)r * (size_t)C,
                   x + (size_t)b * x_step + (size_t)r * (size_t)C, bytes);
}
