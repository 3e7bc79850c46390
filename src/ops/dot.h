/* A dot product in double over fixed blocks added in order: the same bits for any thread count. */
#ifndef TTT_OPS_DOT_H
#define TTT_OPS_DOT_H

#include "ops/kernel.h"

enum { DOT_BLOCK = 4096, DOT_GROUP = 256 };

static inline double dot_block(const real *a, const real *b, size_t n)
{
    double sum = 0;
    for (size_t i = 0; i < n; i++) sum += (double)a[i] * (double)b[i];
    return sum;
}

static inline double dot(const real *a, const real *b, size_t n)
{
    double total = 0;
    for (size_t start = 0; start < n; start += (size_t)DOT_BLOCK * DOT_GROUP) {
        double part[DOT_GROUP];
        size_t blocks = (n - start + DOT_BLOCK - 1) / DOT_BLOCK;
        int used = blocks < DOT_GROUP ? (int)blocks : DOT_GROUP;
#pragma omp parallel for schedule(static) if (used > 8)
        for (int i = 0; i < used; i++) {
            size_t from = start + (size_t)i * DOT_BLOCK;
            size_t size = n - from < DOT_BLOCK ? n - from : DOT_BLOCK;
            part[i] = dot_block(a + from, b + from, size);
        }
        for (int i = 0; i < used; i++) total += part[i];
    }
    return total;
}

#endif
