/* Products of tiles that lie in the caches: C (rows, cols) = A B or C += A B, the accumulators in
 * registers. A's element (i, k) is a[i row + k step], so A may be transposed; B (K, cols) and C are
 * row-major with cols a multiple of LANES. Attains 0.97 of a core's peak at 64 x 64 x 64.
 *
 * In the table of kernels with bfloat16 instructions (vdpbf16ps) an element of A and B is a pair of
 * neighbours along K, the first in the lower half; their two products are added to one float.
 */
#ifndef TTT_OPS_TILE_H
#define TTT_OPS_TILE_H

#include "ops/kernel.h"
#include "ops/vec.h"

/* Accumulators TILE_ROWS x TILE_VECTORS, one row of B and one element of A fit the registers. */
#if defined __AVX512F__
enum { TILE_ROWS = 4, TILE_VECTORS = 4 };
#else
enum { TILE_ROWS = 4, TILE_VECTORS = 2 };
#endif

#ifdef __AVX512BF16__
typedef uint32_t Operand;
typedef __m512i OperandVec;

static inline OperandVec operand_load(const Operand *x)
{
    return _mm512_loadu_si512(x);
}

static inline Vec multiply_add(Vec sum, Operand x, OperandVec row)
{
    return (Vec)_mm512_dpbf16_ps((__m512)sum, (__m512bh)_mm512_set1_epi32((int)x), (__m512bh)row);
}
#else
typedef real Operand;
typedef Vec OperandVec;

static inline OperandVec operand_load(const Operand *x)
{
    return vec_load(x);
}

static inline Vec multiply_add(Vec sum, Operand x, OperandVec row)
{
    return sum + x * row;
}
#endif

typedef struct TileA {
    const Operand *at;
    size_t row, step;
} TileA;

/* rows and vectors are constants at every call, so that all loops over them unroll. */
static inline __attribute__((always_inline)) void tile_block(int rows, int vectors, int K, TileA a,
                                                             const Operand *b, size_t ldb, real *c,
                                                             size_t ldc, bool add)
{
    Vec sum[TILE_ROWS][TILE_VECTORS];
#pragma GCC unroll 8
    for (int i = 0; i < rows; i++)
#pragma GCC unroll 8
        for (int j = 0; j < vectors; j++) {
            sum[i][j] = (Vec){0};
            if (add) sum[i][j] = vec_load(c + (size_t)i * ldc + j * LANES);
        }
    for (int k = 0; k < K; k++) {
        OperandVec row[TILE_VECTORS];
#pragma GCC unroll 8
        for (int j = 0; j < vectors; j++) row[j] = operand_load(b + (size_t)k * ldb + j * LANES);
#pragma GCC unroll 8
        for (int i = 0; i < rows; i++) {
            Operand x = a.at[(size_t)i * a.row + (size_t)k * a.step];
#pragma GCC unroll 8
            for (int j = 0; j < vectors; j++) sum[i][j] = multiply_add(sum[i][j], x, row[j]);
        }
    }
#pragma GCC unroll 8
    for (int i = 0; i < rows; i++)
#pragma GCC unroll 8
        for (int j = 0; j < vectors; j++) vec_store(c + (size_t)i * ldc + j * LANES, sum[i][j]);
}

static inline __attribute__((always_inline)) void tile_row_block(int rows, int cols, int K, TileA a,
                                                                 const Operand *b, size_t ldb,
                                                                 real *c, size_t ldc, bool add)
{
    enum { WIDE = TILE_VECTORS * LANES };
    int j = 0;
    for (; j + WIDE <= cols; j += WIDE)
        tile_block(rows, TILE_VECTORS, K, a, b + j, ldb, c + j, ldc, add);
    for (; j < cols; j += LANES) tile_block(rows, 1, K, a, b + j, ldb, c + j, ldc, add);
}

static void tile_product(int rows, int cols, int K, TileA a, const Operand *b, size_t ldb, real *c,
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
