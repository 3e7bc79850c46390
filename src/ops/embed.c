/* Embedding: x[n] = w[token n]; gradient: dw[token n] += dx[n].
 * The backward splits the channels, not the tokens, over threads: the order of sums is fixed. */
#include <string.h>

#include "ops/kernel.h"

void KERNEL(embed_forward)(Backend *be, real *x, const int32_t *tokens, const real *w, int N, int C)
{
    (void)be;
    for (int n = 0; n < N; n++)
        memcpy(x + (size_t)n * (size_t)C, w + (size_t)tokens[n] * (size_t)C, (size_t)C * sizeof *x);
}

void KERNEL(embed_backward)(Backend *be, real *dw, const int32_t *tokens, const real *dx, int N,
                            int C)
{
    enum { BLOCK = 64 };
    int blocks = (C + BLOCK - 1) / BLOCK;
#pragma omp parallel for schedule(static) num_threads(be->threads) if (N * C > 1 << 14)
    for (int k = 0; k < blocks; k++) {
        int from = k * BLOCK, to = min_int(C, from + BLOCK);
        for (int n = 0; n < N; n++) {
            real *row = dw + (size_t)tokens[n] * (size_t)C;
            const real *g = dx + (size_t)n * (size_t)C;
            for (int c = from; c < to; c++) row[c] += g[c];
        }
    }
}
