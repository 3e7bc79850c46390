/* Inside of attention.c: attention_f32.h's names with operands rounded to bfloat16 and sums in
 * float32. The instruction (vdpbf16ps) adds the products of two pairs to each float, so every
 * operand lies in pairs along the axis that is summed over: two neighbours of a row, or the same
 * place of two neighbouring rows. A pair's first element is its lower half. Where a range begins or
 * ends inside a pair, the scores' weight there is zero because the query does not see the key. */
#ifndef TTT_OPS_ATTENTION_BF16_H
#define TTT_OPS_ATTENTION_BF16_H

#include <immintrin.h>

#include "ops/tile.h"

typedef Operand Pair;

/* n rows of a strip; as everywhere what lies beyond n or D is zero. */
typedef struct QueryRows {
    real *rows; /* (STRIP / 2, P) pairs of rows */
    real *cols; /* (P / 2, STRIP): the pairs of each row, transposed */
} QueryRows;

typedef struct KeyRows {
    real *rows; /* (TILE, P / 2): the pairs of each row; then (TILE / 2, P) pairs of rows */
} KeyRows;

static Pair *pairs_in(real *room)
{
    return (Pair *)(void *)room;
}

static Pair *pairs_of_rows(const KeyRows *k, int P)
{
    return pairs_in(k->rows) + TILE * (size_t)(P / 2);
}

static inline __m512 load_some(const real *x, int n)
{
    unsigned mask = n >= LANES ? 0xffffu : (1u << n) - 1;
    return _mm512_maskz_loadu_ps((__mmask16)mask, x);
}

/* 16 floats, rounded, in the lower halves. */
static inline __m512i rounded(__m512 x)
{
    return _mm512_cvtepu16_epi32((__m256i)_mm512_cvtneps_pbh(x));
}

/* to (P) = the pairs of two rows; b NULL: zero. */
static void pair_rows(Pair *to, const real *a, const real *b, int D, int P, real scale)
{
    __m512 s = _mm512_set1_ps(scale);
    for (int d = 0; d < P; d += LANES) {
        int n = max_int(D - d, 0);
        __m512i low = rounded(_mm512_mul_ps(s, load_some(a + d, n)));
        __m512i high = b ? rounded(_mm512_mul_ps(s, load_some(b + d, n))) : _mm512_setzero_si512();
        _mm512_storeu_si512(to + d, _mm512_or_si512(low, _mm512_slli_epi32(high, 16)));
    }
}

/* to (P / 2) = the pairs of one row. */
static void pair_row(Pair *to, const real *a, int D, int P, real scale)
{
    __m512 s = _mm512_set1_ps(scale);
    for (int d = 0; d < P; d += LANES) {
        __m256bh h = _mm512_cvtneps_pbh(_mm512_mul_ps(s, load_some(a + d, max_int(D - d, 0))));
        _mm256_storeu_si256((__m256i *)(void *)(to + d / 2), (__m256i)h);
    }
}

static void pack_queries(const QueryRows *to, const real *x, int n, int D, int P, size_t step,
                         real scale)
{
    Pair *rows = pairs_in(to->rows), *cols = pairs_in(to->cols), row[STRIP];
    for (int i = 0; i < n; i++) {
        const real *a = x + (size_t)i * step, *b = i + 1 < n ? a + step : NULL;
        if (i % 2 == 0) pair_rows(rows + (size_t)(i / 2) * (size_t)P, a, b, D, P, scale);
        pair_row(row, a, D, P, scale);
        for (int d = 0; d < P / 2; d++) cols[(size_t)d * STRIP + (size_t)i] = row[d];
    }
    for (int d = 0; d < P / 2; d++)
        for (int i = n; i < STRIP; i++) cols[(size_t)d * STRIP + (size_t)i] = 0;
}

static void pack_keys(const KeyRows *to, const real *x, int n, int D, int P, size_t step)
{
    Pair *rows = pairs_in(to->rows), *pairs = pairs_of_rows(to, P);
    for (int j = 0; j < n; j++) {
        const real *a = x + (size_t)j * step, *b = j + 1 < n ? a + step : NULL;
        if (j % 2 == 0) pair_rows(pairs + (size_t)(j / 2) * (size_t)P, a, b, D, P, 1);
        pair_row(rows + (size_t)j * (size_t)(P / 2), a, D, P, 1);
    }
}

/* --- products: K counts pairs ------------------------------------------------------------------*/

static void keys_times_queries(real *m, const KeyRows *k, int j, int rows, const QueryRows *q,
                               int i, int cols, int D, int P, bool add)
{
    size_t half = (size_t)(P / 2);
    TileA a = {pairs_in(k->rows) + (size_t)j * half, half, 1};
    tile_product(rows, cols, (D + 1) / 2, a, pairs_in(q->cols) + i, STRIP,
                 m + (size_t)j * STRIP + i, STRIP, add);
}

typedef const Pair *Weights;

/* (keys / 2, STRIP) pairs of a tile's rows */
static Weights weights_of_keys(real *room, const real *m, int n_keys)
{
    Pair *to = pairs_in(room);
    for (int j = 0; j < n_keys; j += 2) {
        const real *a = m + (size_t)j * STRIP;
        pair_rows(to + (size_t)(j / 2) * STRIP, a, j + 1 < n_keys ? a + STRIP : NULL, STRIP, STRIP,
                  1);
    }
    return to;
}

/* (keys, STRIP / 2): the pairs of each of a tile's rows */
static Weights weights_of_queries(real *room, const real *m, int n_keys, int n)
{
    Pair *to = pairs_in(room);
    for (int j = 0; j < n_keys; j++)
        pair_row(to + (size_t)j * (STRIP / 2), m + (size_t)j * STRIP, n, STRIP, 1);
    return to;
}

static void add_weighed_keys(real *sum, Weights m, int i, int rows, const KeyRows *k, int low,
                             int high, int P)
{
    int first = low / 2, pairs = (high + 1) / 2 - first;
    TileA a = {m + (size_t)first * STRIP + i, 1, STRIP};
    tile_product(rows, P, pairs, a, pairs_of_rows(k, P) + (size_t)first * (size_t)P, (size_t)P, sum,
                 (size_t)P, true);
}

static void weighed_queries(real *grad, Weights m, int j, int rows, const QueryRows *q, int low,
                            int high, int P, bool add)
{
    int first = low / 2, pairs = (high + 1) / 2 - first;
    TileA a = {m + (size_t)j * (STRIP / 2) + first, STRIP / 2, 1};
    tile_product(rows, P, pairs, a, pairs_in(q->rows) + (size_t)first * (size_t)P, (size_t)P, grad,
                 (size_t)P, add);
}

#endif
