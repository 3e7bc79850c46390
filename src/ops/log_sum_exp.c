/* log sum exp(z) of a long row, in blocks that are summed on their own and merged in order, in
 * double: the same bits for any number of threads. */
#include <math.h>

#include "ops/kernel.h"
#include "ops/row.h" // defines: row_max, row_sum_exp

void KERNEL(log_sum_exp)(Backend *be, double *out, const real *z, int V)
{
    enum { BLOCK = 4096 };
    int blocks = (V + BLOCK - 1) / BLOCK;
    real *top = backend_work(be, 0, WORK_KERNEL, 2 * (size_t)blocks), *sum = top + blocks;
#pragma omp parallel for schedule(static) num_threads(be->threads) if (blocks > 4)
    for (int b = 0; b < blocks; b++) {
        const real *block = z + (size_t)b * BLOCK;
        int n = min_int(BLOCK, V - b * BLOCK);
        top[b] = row_max(block, n);
        sum[b] = top[b] > (real)-INFINITY ? row_sum_exp(block, n, top[b]) : 0;
    }
    double highest = (double)top[0], total = 0;
    for (int b = 1; b < blocks; b++)
        if ((double)top[b] > highest) highest = (double)top[b];
    for (int b = 0; b < blocks; b++) total += exp((double)top[b] - highest) * (double)sum[b];
    *out = highest + log(total);
}
