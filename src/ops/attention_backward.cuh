/* Inside of attention.cu: the backward pass in `real`, in two kernels, so that every sum has one
 * owner and one order: gradients of queries by tiles of queries, those of keys and values by tiles
 * of keys. Both make the scores again, from lse; the price of no atomics is 7 products of tiles
 * where one kernel would do with 5 (dual, past keys: 14 for 10). */
#ifndef TTT_OPS_ATTENTION_BACKWARD_CUH
#define TTT_OPS_ATTENTION_BACKWARD_CUH

#include "ops/attention_forward.cuh"

/* delta, delta_t: a warp for each row of each head. */
static __global__ void delta_kernel(AttentionPass a, real *delta, real *delta_t)
{
    size_t row = walk_start() / WARP, H = (size_t)a.H, M = (size_t)a.M;
    int lane = (int)threadIdx.x % WARP;
    bool there = row < (size_t)a.B * M * H;
    size_t h = row % H, i = row / H % M, b = row / H / M;
    size_t at = there ? own_row(a, (int)b, (int)i, (int)h) : 0;
    const real *d_o = a.d_o.v ? a.d_o.v : a.d_o.t;
    real sum = 0, sum_t = 0;
    for (int d = lane; d < a.D && there; d += WARP) {
        size_t x = at + (size_t)d;
        sum += d_o[x] * a.o.v[x];
        if (!delta_t) continue;
        sum_t += a.d_o.t[x] * a.o.v[x];
        if (a.o.t) sum_t += a.d_o.v[x] * a.o.t[x];
    }
    sum = warp_sum(sum);
    sum_t = warp_sum(sum_t);
    if (!there || lane > 0) return;
    size_t to = (b * H + h) * M + i;
    delta[to] = sum;
    if (delta_t) delta_t[to] = sum_t;
}

/* What the forward pass left of one query of a head. */
struct Known {
    real lse, lse_t, delta, delta_t;
};

__device__ inline Known known_of(const AttentionPass &a, size_t query, bool dual)
{
    Known k = {a.lse.v[query], 0, a.delta[query], 0};
    if (dual && a.lse.t) k.lse_t = a.lse.t[query];
    if (dual) k.delta_t = a.delta_t[query];
    return k;
}

/* (score, its tangent) to (p, pt); unseen: zero. */
template <bool DUAL> __device__ inline void to_weight(real *s, real *st, bool seen, const Known &k)
{
    *s = seen ? exp(*s - k.lse) : (real)0;
    if (DUAL) *st = *s * (*st - k.lse_t);
}

/* (dp, dpt) to (ds, dst) */
template <bool DUAL>
__device__ inline void to_gradient(real *dp, real *dpt, real p, real pt, const Known &k)
{
    real centred = *dp - k.delta;
    if (DUAL) *dpt = p * (*dpt - k.delta_t) + pt * centred;
    *dp = p * centred;
}

/* Rows of the output's gradient to x: the slot in use, or both. */
template <class P, bool DUAL>
__device__ inline void load_d_o(const AttentionPass &a, const Tiles &m, size_t at, int n)
{
    load_rows<P>(m.x, (a.d_o.v ? a.d_o.v : a.d_o.t) + at, n, a.D, a.C, 1);
    if (DUAL) load_rows<P>(m.x_t, a.d_o.t + at, n, a.D, a.C, 1);
}

/* ------------------------------------------------------------------------------ of queries */

/* (ds, dst) of a block's queries and one tile of keys, in registers. */
template <class P, bool DUAL>
__device__ inline void query_tile(const AttentionPass &a, const Tiles &m, const Queries<P> &q,
                                  const Known *known, KeyTile t, real (*ds)[P::R],
                                  real (*dst)[P::R])
{
    real p[P::R][P::R], pt[P::R][P::R];
    __syncthreads();
    load_queries<P>(a, m, q, DUAL && a.q.t);
    load_tile<P>(a, m, t, q.b, q.h, a.k, DUAL ? a.kt : NULL);
    __syncthreads();
    clear<P>(p);
    add_dots<P>(p, m.x, m.y, a.D);
    if (DUAL) score_tangents<P>(pt, m, a.D, a.q.t, a.kt && t.own);
#pragma unroll
    for (int i = 0; i < P::R; i++)
#pragma unroll
        for (int j = 0; j < P::R; j++)
            to_weight<DUAL>(&p[i][j], &pt[i][j], seen_at<P>(q, t, i, j), known[i]);
    __syncthreads();
    load_d_o<P, DUAL>(a, m, own_row(a, q.b, q.at, q.h), q.n);
    load_tile<P>(a, m, t, q.b, q.h, a.v, DUAL ? a.vt : NULL);
    __syncthreads();
    clear<P>(ds);
    add_dots<P>(ds, m.x, m.y, a.D);
    if (DUAL) score_tangents<P>(dst, m, a.D, true, a.vt && t.own);
#pragma unroll
    for (int i = 0; i < P::R; i++)
#pragma unroll
        for (int j = 0; j < P::R; j++)
            to_gradient<DUAL>(&ds[i][j], &dst[i][j], p[i][j], pt[i][j], known[i]);
}

/* grid: (tiles of queries, H, B) */
template <class P, bool DUAL>
__global__ void __launch_bounds__(SIDE *SIDE, 1) queries_kernel(AttentionPass a)
{
    Tiles m = tiles_in<P>(dynamic_shared<real>());
    Queries<P> q = queries_of_block<P>(a);
    size_t at = own_row(a, q.b, q.at, q.h);
    real dq[P::R][P::N], dqt[P::R][P::N], ds[P::R][P::R], dst[P::R][P::R];
    Known known[P::R];
#pragma unroll
    for (int i = 0; i < P::R; i++)
        known[i] = known_of(a, head_row(a, q.b, q.h) + (size_t)(q.row[i] - a.seen.first), DUAL);
    clear_sums<P>(dq);
    if (DUAL) clear_sums<P>(dqt);
    int end = a.seen.first + q.at + q.n;
    KeyTile t;
    for (int key = seen_from(a.seen, a.seen.first + q.at); key < end; key += t.n) {
        t = key_tile_at(a.seen, key, end, P::T);
        query_tile<P, DUAL>(a, m, q, known, t, ds, dst);
        __syncthreads();
        load_tile<P>(a, m, t, q.b, q.h, a.k, DUAL ? a.kt : NULL);
        put_scores<P>(m.p, ds);
        if (DUAL) put_scores<P>(m.p_t, dst);
        __syncthreads();
        if (!DUAL || a.dq.v) add_weighed<P>(dq, m.p, m.y, t.n);
        if (DUAL) add_weighed<P>(dqt, m.p_t, m.y, t.n);
        if (DUAL && a.kt && t.own) add_weighed<P>(dqt, m.p, m.y_t, t.n);
    }
    if (a.dq.v) store_rows<P>(a.dq.v + at, dq, q.n, a.D, a.C, a.scale, false);
    if (a.dq.t) store_rows<P>(a.dq.t + at, DUAL ? dqt : dq, q.n, a.D, a.C, a.scale, false);
}

/* ------------------------------------------------------------------------------ of keys and values
 */

/* Sums of one tile of keys; own: of the value slot beside those of the tangent slot. */
template <class P> struct KeySums {
    real dk[P::R][P::N], dv[P::R][P::N], own_dk[P::R][P::N], own_dv[P::R][P::N];
};

/* Scores lie (keys, queries) here: this thread's queries are its columns. */
template <class P, bool DUAL>
__device__ inline void known_columns(const AttentionPass &a, Known *known, int *row, size_t head,
                                     int query, int n)
{
#pragma unroll
    for (int j = 0; j < P::R; j++) {
        int col = thread_col() + j * SIDE;
        int i = query + (col < n ? col : n - 1);
        known[j] = known_of(a, head + (size_t)i, DUAL);
        row[j] = col < n ? a.seen.first + i : -1;
    }
}

/* p of (keys, queries) and its tangent. */
template <class P, bool DUAL>
__device__ inline void key_weights(const AttentionPass &a, const Tiles &m, KeyTile t,
                                   const Known *known, const int *row, real (*p)[P::R],
                                   real (*pt)[P::R])
{
    clear<P>(p);
    add_dots<P>(p, m.y, m.x, a.D);
    if (DUAL) {
        clear<P>(pt);
        if (a.q.t) add_dots<P>(pt, m.y, m.x_t, a.D);
        if (a.kt && t.own) add_dots<P>(pt, m.y_t, m.x, a.D);
    }
#pragma unroll
    for (int j = 0; j < P::R; j++) {
        int from = row[j] < 0 ? 0 : seen_from(a.seen, row[j]);
#pragma unroll
        for (int i = 0; i < P::R; i++) {
            int key = t.key + thread_row() + i * SIDE;
            bool seen = key <= row[j] && key >= from && key < t.key + t.n;
            to_weight<DUAL>(&p[i][j], &pt[i][j], seen, known[j]);
        }
    }
}

/* p to ds, pt to dst. */
template <class P, bool DUAL>
__device__ inline void key_gradients(const AttentionPass &a, const Tiles &m, KeyTile t,
                                     const Known *known, real (*p)[P::R], real (*pt)[P::R])
{
    real dp[P::R][P::R], dpt[P::R][P::R];
    clear<P>(dp);
    add_dots<P>(dp, m.y, m.x, a.D);
    if (DUAL) {
        clear<P>(dpt);
        add_dots<P>(dpt, m.y, m.x_t, a.D);
        if (a.vt && t.own) add_dots<P>(dpt, m.y_t, m.x, a.D);
    }
#pragma unroll
    for (int i = 0; i < P::R; i++)
#pragma unroll
        for (int j = 0; j < P::R; j++) {
            to_gradient<DUAL>(&dp[i][j], &dpt[i][j], p[i][j], pt[i][j], known[j]);
            p[i][j] = dp[i][j];
            if (DUAL) pt[i][j] = dpt[i][j];
        }
}

/* A product's place among the sums: plain, into the only ones; dual, x's and x_t's both:
 *   sum += p_t x + p x_t, own += p x */
template <class P, bool DUAL>
__device__ inline void gather(const Tiles &m, real (*sum)[P::N], real (*own)[P::N], int n, bool x_t,
                              bool p_t, bool value)
{
    if (!DUAL) {
        add_weighed<P>(sum, m.p, m.x, n);
        return;
    }
    if (p_t) add_weighed<P>(sum, m.p_t, m.x, n);
    if (x_t) add_weighed<P>(sum, m.p, m.x_t, n);
    if (value) add_weighed<P>(own, m.p, m.x, n);
}

/* What T queries from `query` on add to the tile's sums. */
template <class P, bool DUAL>
__device__ inline void key_tile_add(const AttentionPass &a, const Tiles &m, KeyTile t, int query,
                                    int b, int h, KeySums<P> *sums)
{
    real p[P::R][P::R], pt[P::R][P::R];
    Known known[P::R];
    int row[P::R];
    Queries<P> q;
    q.at = query, q.n = a.M - query < P::T ? a.M - query : P::T, q.b = b, q.h = h;
    known_columns<P, DUAL>(a, known, row, head_row(a, b, h), query, q.n);
    __syncthreads();
    load_queries<P>(a, m, q, DUAL && a.q.t);
    load_tile<P>(a, m, t, b, h, a.k, DUAL ? a.kt : NULL);
    __syncthreads();
    key_weights<P, DUAL>(a, m, t, known, row, p, pt);
    __syncthreads();
    load_d_o<P, DUAL>(a, m, own_row(a, b, query, h), q.n);
    load_tile<P>(a, m, t, b, h, a.v, DUAL ? a.vt : NULL);
    put_scores<P>(m.p, p);
    if (DUAL) put_scores<P>(m.p_t, pt);
    __syncthreads();
    gather<P, DUAL>(m, sums->dv, sums->own_dv, q.n, true, a.q.t || a.kt, t.own && a.grad.own_dv);
    key_gradients<P, DUAL>(a, m, t, known, p, pt);
    __syncthreads();
    load_queries<P>(a, m, q, DUAL && a.q.t);
    put_scores<P>(m.p, p);
    if (DUAL) put_scores<P>(m.p_t, pt);
    __syncthreads();
    gather<P, DUAL>(m, sums->dk, sums->own_dk, q.n, a.q.t, true, t.own && a.grad.own_dk);
}

template <class P, bool DUAL>
__device__ inline void key_tile_store(const AttentionPass &a, KeyTile t, int b, int h,
                                      const KeySums<P> &sums)
{
    bool inner = a.d_o.v && !DUAL;
    if (!inner) {
        size_t at = grad_row(a, b, t.key, h);
        store_rows<P>(a.grad.dk + at, sums.dk, t.n, a.D, a.C, 1, true);
        store_rows<P>(a.grad.dv + at, sums.dv, t.n, a.D, a.C, 1, true);
    }
    if (!t.own || !(inner || DUAL)) return;
    size_t at = own_row(a, b, t.key - a.seen.first, h);
    if (a.grad.own_dk)
        store_rows<P>(a.grad.own_dk + at, DUAL ? sums.own_dk : sums.dk, t.n, a.D, a.C, 1, false);
    if (a.grad.own_dv)
        store_rows<P>(a.grad.own_dv + at, DUAL ? sums.own_dv : sums.dv, t.n, a.D, a.C, 1, false);
}

/* grid: (tiles of keys from the `skip`th on, H, B) */
template <class P, bool DUAL>
__global__ void __launch_bounds__(SIDE *SIDE, 1) keys_kernel(AttentionPass a, int skip)
{
    Tiles m = tiles_in<P>(dynamic_shared<real>());
    KeyTile t = key_tile(a.seen, skip + (int)blockIdx.x, P::T);
    int h = (int)blockIdx.y, b = (int)blockIdx.z;
    KeySums<P> sums;
    clear_sums<P>(sums.dk);
    clear_sums<P>(sums.dv);
    if (DUAL) clear_sums<P>(sums.own_dk);
    if (DUAL) clear_sums<P>(sums.own_dv);
    int query = t.own ? (t.key - a.seen.first) / P::T * P::T : 0;
    int end = seen_until(a.seen, t.key + t.n - 1) - a.seen.first;
    for (; query < end; query += P::T) key_tile_add<P, DUAL>(a, m, t, query, b, h, &sums);
    key_tile_store<P, DUAL>(a, t, b, h, sums);
}

#endif
