/* Inside of attention.c: how a strip's queries and a tile's keys are packed, and their products, in
 * the number type of everything else. attention_bf16.h has the same names. */
#ifndef TTT_OPS_ATTENTION_F32_H
#define TTT_OPS_ATTENTION_F32_H

#include "ops/tile.h"

/* n rows of a strip in both orders. */
typedef struct QueryRows {
    real *rows; /* (STRIP, P) */
    real *cols; /* (D, STRIP) */
} QueryRows;

typedef struct KeyRows {
    real *rows; /* (TILE, P) */
} KeyRows;

/* to (n, P) = scale rows of x, step apart, padded with zeros. */
static void pack_rows(real *to, const real *x, int n, int D, int P, size_t step, real scale)
{
    for (int i = 0; i < n; i++) {
        real *row = to + (size_t)i * (size_t)P;
        const real *from = x + (size_t)i * step;
        for (int d = 0; d < D; d++) row[d] = scale * from[d];
        for (int d = D; d < P; d++) row[d] = 0;
    }
}

static void pack_queries(const QueryRows *to, const real *x, int n, int D, int P, size_t step,
                         real scale)
{
    pack_rows(to->rows, x, n, D, P, step, scale);
    for (int d = 0; d < D; d++) {
        real *col = to->cols + (size_t)d * STRIP;
        for (int i = 0; i < n; i++) col[i] = to->rows[(size_t)i * (size_t)P + (size_t)d];
        for (int i = n; i < STRIP; i++) col[i] = 0;
    }
}

static void pack_keys(const KeyRows *to, const real *x, int n, int D, int P, size_t step)
{
    pack_rows(to->rows, x, n, D, P, step, 1);
}

/* m, rows x cols of a tile of scores (keys, queries) from key j and query i on, = or += k q^T */
static void keys_times_queries(real *m, const KeyRows *k, int j, int rows, const QueryRows *q,
                               int i, int cols, int D, int P, bool add)
{
    TileA a = {k->rows + (size_t)j * (size_t)P, (size_t)P, 1};
    tile_product(rows, cols, D, a, q->cols + i, STRIP, m + (size_t)j * STRIP + i, STRIP, add);
}

/* A tile (keys, queries) as the left operand of the products below. */
typedef const real *Weights;

static Weights weights_of_keys(real *room, const real *m, int n_keys)
{
    (void)room, (void)n_keys;
    return m;
}

static Weights weights_of_queries(real *room, const real *m, int n_keys, int n)
{
    (void)room, (void)n_keys, (void)n;
    return m;
}

/* sum (rows, P) += m^T k: queries from i on, over keys from low to high */
static void add_weighed_keys(real *sum, Weights m, int i, int rows, const KeyRows *k, int low,
                             int high, int P)
{
    TileA a = {m + (size_t)low * STRIP + i, 1, STRIP};
    tile_product(rows, P, high - low, a, k->rows + (size_t)low * (size_t)P, (size_t)P, sum,
                 (size_t)P, true);
}

/* grad (rows, P) = or += m q: keys from j on, over queries from low to high */
static void weighed_queries(real *grad, Weights m, int j, int rows, const QueryRows *q, int low,
                            int high, int P, bool add)
{
    TileA a = {m + (size_t)j * STRIP + low, STRIP, 1};
    tile_product(rows, P, high - low, a, q->rows + (size_t)low * (size_t)P, (size_t)P, grad,
                 (size_t)P, add);
}

#endif
