/* Inside of attention.c: one strip of queries against one tile of keys, all in a thread's scratch.
 *
 * Tiles of scores lie transposed, (keys, queries): then keys and values are read as they are
 * stored, only a strip's queries are transposed once, and softmax runs along lanes. Products skip
 * what no query of the strip sees, to a few rows. */
#ifndef TTT_OPS_ATTENTION_TILE_H
#define TTT_OPS_ATTENTION_TILE_H

#include <math.h>
#include <string.h>

#include "ops/attention_row.h" // defines: window_first

enum { STRIP = 128, TILE = 64 };

#ifdef __AVX512BF16__ /* only the table for models that compute in bf16 is compiled so */
#include "ops/attention_bf16.h"
#else
#include "ops/attention_f32.h"
#endif

typedef struct QueryDual {
    QueryRows v, t;
} QueryDual;

/* One head of one sequence, a strip of its queries, the tile of keys at hand, and scratch. Rows are
 * rows of the Window; P is D rounded up to whole vectors, what lies beyond D is zero. */
typedef struct Strip {
    const Window *w;
    int b, M, C, D, P;
    size_t head;                /* h * D */
    size_t own_base;            /* b * M * C + head: of (B, M, C) arrays */
    int query, n;               /* first query of the strip, their number */
    int from[STRIP], to[STRIP]; /* rows that each query sees; beyond n as the last one */
    int key, n_keys;            /* first row of the tile, number of rows */
    bool own;                   /* the tile's rows are the span's own */
    int first_query[TILE], end_query[TILE]; /* queries that see each row of the tile */
    QueryDual q, d_o;                       /* q times 1/sqrt(D) */
    KeyRows k, v, kt, vt;                   /* of the tile */
    real *p, *pt, *dp, *dpt;                /* (TILE, STRIP) */
    real *weights;                          /* the same size */
    real *sum, *sum_t;                      /* (STRIP, P): what the strip adds up over its tiles */
    real *grad;                             /* (TILE, P) */
} Strip;

static void strip_place(Strip *s, int query)
{
    s->query = query;
    s->n = min_int(STRIP, s->M - query);
    for (int i = 0; i < STRIP; i++) {
        int seen = query + min_int(i, s->n - 1);
        s->from[i] = window_first(s->w, seen);
        s->to[i] = s->w->first + seen + 1;
    }
}

/* The strip's scratch, carved from one block; with base NULL only its size is returned. */
static size_t strip_scratch(Strip *s, real *base)
{
    size_t rows = (size_t)STRIP * (size_t)s->P, used = 0;
    real **all_rows[] = {&s->q.v.rows, &s->q.t.rows,   &s->d_o.v.rows, &s->d_o.t.rows, &s->q.v.cols,
                         &s->q.t.cols, &s->d_o.v.cols, &s->d_o.t.cols, &s->k.rows,     &s->v.rows,
                         &s->kt.rows,  &s->vt.rows,    &s->sum,        &s->sum_t,      &s->grad};
    real **tiles[] = {&s->p, &s->pt, &s->dp, &s->dpt, &s->weights};
    for (int i = 0; i < ARRAY_LEN(all_rows); i++, used += rows)
        if (base) *all_rows[i] = base + used;
    for (int i = 0; i < ARRAY_LEN(tiles); i++, used += (size_t)TILE * STRIP)
        if (base) *tiles[i] = base + used;
    return used;
}

/* ------------------------------------------------------------------------------ in and out */

/* A strip's rows of a (B, M, C) array; NULL stays away. */
static void pack_strip(const Strip *s, const QueryRows *to, const real *x, real scale)
{
    if (!x) return;
    pack_queries(to, x + s->own_base + (size_t)s->query * (size_t)s->C, s->n, s->D, s->P,
                 (size_t)s->C, scale);
}

static void pack_dual(const Strip *s, const QueryDual *to, Dual x, real scale)
{
    pack_strip(s, &to->v, x.v, scale);
    pack_strip(s, &to->t, x.t, scale);
}

/* Rows of x (n, P) times scale to the strip's rows of a (B, M, C) array. */
static void unpack_strip(const Strip *s, real *to, const real *x, real scale)
{
    to += s->own_base + (size_t)s->query * (size_t)s->C;
    for (int i = 0; i < s->n; i++)
        for (int d = 0; d < s->D; d++)
            to[(size_t)i * (size_t)s->C + (size_t)d] =
                scale * x[(size_t)i * (size_t)s->P + (size_t)d];
}

/* to, the tile's rows C apart, += s->grad */
static void add_grad(const Strip *s, real *to)
{
    for (int j = 0; j < s->n_keys; j++)
        for (int d = 0; d < s->D; d++)
            to[(size_t)j * (size_t)s->C + (size_t)d] +=
                s->grad[(size_t)j * (size_t)s->P + (size_t)d];
}

/* The tile's first row in an array of the span's own rows (B, M, C). */
static size_t own_at(const Strip *s)
{
    return s->own_base + (size_t)(s->key - s->w->first) * (size_t)s->C;
}

/* Asks for the rows that the next tile packs: they lie scattered, too far apart for the hardware to
 * guess. */
static void prefetch_rows(const Strip *s, const real *rows)
{
    for (int j = 0; j < TILE; j++)
        for (int d = 0; d < s->D; d += 64 / (int)sizeof(real))
            __builtin_prefetch(rows + (size_t)j * (size_t)s->C + d, 0, 2);
}

static void pack_tile(const Strip *s, const KeyRows *to, const real *rows)
{
    pack_keys(to, rows, s->n_keys, s->D, s->P, (size_t)s->C);
}

/* Places the tile at `key` and packs its keys and values; false when the strip is done. Own rows
 * begin a tile, since only they have tangents. */
static bool tile_load(Strip *s, int key)
{
    const Window *w = s->w;
    int end = s->to[s->n - 1];
    if (key >= end) return false;
    s->key = key;
    s->own = key >= w->first;
    s->n_keys = min_int(TILE, (s->own ? end : min_int(w->first, end)) - key);
    size_t at = (size_t)s->b * w->step + s->head + (size_t)key * (size_t)s->C;
    pack_tile(s, &s->k, w->k + at);
    pack_tile(s, &s->v, w->v + at);
    if (s->own && w->kt) pack_tile(s, &s->kt, w->kt + own_at(s));
    if (s->own && w->vt) pack_tile(s, &s->vt, w->vt + own_at(s));
    if (key + TILE < end) {
        prefetch_rows(s, w->k + at + (size_t)TILE * (size_t)s->C);
        prefetch_rows(s, w->v + at + (size_t)TILE * (size_t)s->C);
    }
    int first = 0, stop = 0;
    for (int j = 0; j < s->n_keys; j++) {
        while (s->to[first] <= key + j) first++;
        while (stop < s->n && s->from[stop] <= key + j) stop++;
        s->first_query[j] = first;
        s->end_query[j] = stop;
    }
    return true;
}

static bool tile_is_full(const Strip *s)
{
    return s->end_query[0] == s->n && s->first_query[s->n_keys - 1] == 0;
}

/* Entries of x (keys, queries) that the query does not see become `fill`. */
static void hide(const Strip *s, real *x, real fill)
{
    for (int j = 0; j < s->n_keys; j++) {
        real *row = x + (size_t)j * STRIP;
        for (int i = 0; i < s->first_query[j]; i++) row[i] = fill;
        for (int i = s->end_query[j]; i < s->n; i++) row[i] = fill;
    }
}

/* ------------------------------------------------------------------------------ products */

/* m (keys, queries) = or += keys (n_keys, P) . cols (D, queries) */
static void times_queries(const Strip *s, real *m, const KeyRows *keys, const QueryRows *x,
                          bool add)
{
    for (int j = 0; j < s->n_keys; j += TILE_ROWS) {
        int rows = min_int(TILE_ROWS, s->n_keys - j);
        int low = s->first_query[j] / LANES * LANES;
        int cols = round_up_int(s->end_query[j + rows - 1] - low, LANES);
        keys_times_queries(m, keys, j, rows, x, low, cols, s->D, s->P, add);
    }
}

/* sum (queries, P) += m^T keys */
static void weigh_keys(const Strip *s, real *sum, const real *m, const KeyRows *keys)
{
    Weights w = weights_of_keys(s->weights, m, s->n_keys);
    for (int i = 0; i < s->n; i += TILE_ROWS) {
        int rows = min_int(TILE_ROWS, s->n - i);
        int low = max_int(s->from[i] - s->key, 0);
        int high = min_int(s->to[i + rows - 1] - s->key, s->n_keys);
        if (low < high)
            add_weighed_keys(sum + (size_t)i * (size_t)s->P, w, i, rows, keys, low, high, s->P);
    }
}

/* s->grad (keys, P) = or += m rows */
static void weigh_queries(const Strip *s, const real *m, const QueryRows *x, bool add)
{
    Weights w = weights_of_queries(s->weights, m, s->n_keys, s->n);
    for (int j = 0; j < s->n_keys; j += TILE_ROWS) {
        int rows = min_int(TILE_ROWS, s->n_keys - j);
        weighed_queries(s->grad + (size_t)j * (size_t)s->P, w, j, rows, x, s->first_query[j],
                        s->end_query[j + rows - 1], s->P, add);
    }
}

#endif
