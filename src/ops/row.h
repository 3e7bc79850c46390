/* Reductions over a row, shaped so that compilers vectorize them without finite-math flags. */
#ifndef TTT_OPS_ROW_H
#define TTT_OPS_ROW_H

#include "ops/vexp.h"

enum { ROW_LANES = 32, ROW_BLOCK = 256 };

static inline real row_max(const real *x, int n)
{
    real top = x[0];
    int j = 0;
    if (n >= ROW_LANES) {
        real lane[ROW_LANES];
        for (int l = 0; l < ROW_LANES; l++) lane[l] = x[l];
        for (j = ROW_LANES; j + ROW_LANES <= n; j += ROW_LANES)
            for (int l = 0; l < ROW_LANES; l++) lane[l] = x[j + l] > lane[l] ? x[j + l] : lane[l];
        for (int l = 0; l < ROW_LANES; l++) top = lane[l] > top ? lane[l] : top;
    }
    for (; j < n; j++) top = x[j] > top ? x[j] : top;
    return top;
}

/* sum exp(x - top): a sum of calls stays scalar, so the values pass through a block on the stack.
 */
static inline real row_sum_exp(const real *x, int n, real top)
{
    real block[ROW_BLOCK], sum = 0;
    for (int from = 0; from < n; from += ROW_BLOCK) {
        int size = n - from < ROW_BLOCK ? n - from : ROW_BLOCK;
        for (int j = 0; j < size; j++) block[j] = vexp(x[from + j] - top);
        for (int j = 0; j < size; j++) sum += block[j];
    }
    return sum;
}

#endif
