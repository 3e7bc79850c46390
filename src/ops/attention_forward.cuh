/* Inside of attention.cu: the forward pass in `real`, with tangents or without.
 *
 * A block has T queries of one head and goes through the keys they see, T at a time: scores,
 * weights under the running maximum, weighed values. Per tile it reads 2 T D elements (4 T D with
 * tangents, of own keys only) for 4 T^2 D operations (10 or 12), so that at T 64 float32 arithmetic
 * and not memory is the limit: 67 TFLOP/s of an H100 at best, of which 4 x 4 products a thread with
 * operands from shared memory can reach about half. */
#ifndef TTT_OPS_ATTENTION_FORWARD_CUH
#define TTT_OPS_ATTENTION_FORWARD_CUH

#include "ops/attention_tile.cuh"

/* Per row of a thread: largest score so far, sum of e^(s - top), sum of e^(s - top) st. */
template <class P> struct Running {
    real top[P::R], sum[P::R], sum_t[P::R];
};

/* The queries of a block: query 0 of them, their number; of each row of a thread, what it sees. */
template <class P> struct Queries {
    int at, n, b, h;
    int from[P::R], row[P::R];
};

/* Late queries see most where nothing is masked before: they start first. */
template <class P> __device__ inline Queries<P> queries_of_block(const AttentionPass &a)
{
    Queries<P> q;
    q.at = (int)(gridDim.x - 1 - blockIdx.x) * P::T;
    q.n = a.M - q.at < P::T ? a.M - q.at : P::T;
    q.h = (int)blockIdx.y;
    q.b = (int)blockIdx.z;
#pragma unroll
    for (int i = 0; i < P::R; i++) {
        int query = thread_row() + i * SIDE;
        q.row[i] = a.seen.first + q.at + (query < q.n ? query : q.n - 1);
        q.from[i] = seen_from(a.seen, q.row[i]);
    }
    return q;
}

template <class P> __device__ inline bool seen_at(const Queries<P> &q, KeyTile t, int i, int j)
{
    int key = t.key + thread_col() + j * SIDE;
    return key >= q.from[i] && key <= q.row[i] && key < t.key + t.n;
}

/* Queries, scaled, to x, and keys to y. */
template <class P>
__device__ inline void load_queries(const AttentionPass &a, const Tiles &m, const Queries<P> &q,
                                    bool tangent)
{
    size_t at = own_row(a, q.b, q.at, q.h);
    load_rows<P>(m.x, a.q.v + at, q.n, a.D, a.C, a.scale);
    if (tangent) load_rows<P>(m.x_t, a.q.t + at, q.n, a.D, a.C, a.scale);
}

/* A tile's rows of keys or values to y, and of their tangents. */
template <class P>
__device__ inline void load_tile(const AttentionPass &a, const Tiles &m, KeyTile t, int b, int h,
                                 const real *x, const real *x_t)
{
    load_rows<P>(m.y, x + window_row(a, b, t.key, h), t.n, a.D, a.C, 1);
    if (x_t && t.own)
        load_rows<P>(m.y_t, x_t + own_row(a, b, t.key - a.seen.first, h), t.n, a.D, a.C, 1);
}

template <class P> __device__ inline void clear(real (*m)[P::R])
{
#pragma unroll
    for (int i = 0; i < P::R; i++)
#pragma unroll
        for (int j = 0; j < P::R; j++) m[i][j] = 0;
}
template <class P> __device__ inline void clear_sums(real (*m)[P::N])
{
#pragma unroll
    for (int i = 0; i < P::R; i++)
#pragma unroll
        for (int d = 0; d < P::N; d++) m[i][d] = 0;
}

/* st += x_t y^T + x y_t^T */
template <class P>
__device__ inline void score_tangents(real (*st)[P::R], const Tiles &m, int D, bool x_t, bool y_t)
{
    clear<P>(st);
    if (x_t) add_dots<P>(st, m.x_t, m.y, D);
    if (y_t) add_dots<P>(st, m.x, m.y_t, D);
}

/* Scores to e^(s - top), their tangents to e^(s - top) st; shrink: of what was summed before. */
template <class P, bool DUAL>
__device__ inline void running_add(Running<P> *r, const Queries<P> &q, KeyTile t, real (*s)[P::R],
                                   real (*st)[P::R], real *shrink)
{
#pragma unroll
    for (int i = 0; i < P::R; i++) {
        real top = (real)-1e30, sum = 0, sum_t = 0;
#pragma unroll
        for (int j = 0; j < P::R; j++)
            if (seen_at<P>(q, t, i, j)) top = s[i][j] > top ? s[i][j] : top;
        top = row_max(top);
        if (r->top[i] > top) top = r->top[i];
        shrink[i] = exp(r->top[i] - top);
        r->top[i] = top;
#pragma unroll
        for (int j = 0; j < P::R; j++) {
            s[i][j] = seen_at<P>(q, t, i, j) ? exp(s[i][j] - top) : (real)0;
            sum += s[i][j];
            if (DUAL) st[i][j] *= s[i][j];
            if (DUAL) sum_t += st[i][j];
        }
        r->sum[i] = r->sum[i] * shrink[i] + row_sum(sum);
        if (DUAL) r->sum_t[i] = r->sum_t[i] * shrink[i] + row_sum(sum_t);
    }
}

template <class P> __device__ inline void shrink_rows(real (*sum)[P::N], const real *by)
{
#pragma unroll
    for (int i = 0; i < P::R; i++)
#pragma unroll
        for (int d = 0; d < P::N; d++) sum[i][d] *= by[i];
}

template <class P, bool DUAL>
__device__ inline void forward_finish(const AttentionPass &a, const Queries<P> &q,
                                      const Running<P> &r, real (*o)[P::N], real (*ot)[P::N])
{
    size_t at = own_row(a, q.b, q.at, q.h), head = head_row(a, q.b, q.h);
#pragma unroll
    for (int i = 0; i < P::R; i++) {
        real inv = 1 / r.sum[i], mean = r.sum_t[i] * inv;
#pragma unroll
        for (int d = 0; d < P::N; d++) {
            o[i][d] *= inv;
            if (DUAL) ot[i][d] = ot[i][d] * inv - mean * o[i][d];
        }
        int query = thread_row() + i * SIDE;
        if (query >= q.n || thread_col() > 0) continue;
        a.lse.v[head + (size_t)(q.at + query)] = r.top[i] + log(r.sum[i]);
        if (a.lse.t) a.lse.t[head + (size_t)(q.at + query)] = mean;
    }
    store_rows<P>(a.o.v + at, o, q.n, a.D, a.C, 1, false);
    if (DUAL) store_rows<P>(a.o.t + at, ot, q.n, a.D, a.C, 1, false);
}

/* grid: (tiles of queries, H, B) */
template <class P, bool DUAL>
__global__ void __launch_bounds__(SIDE *SIDE, 1) forward_kernel(AttentionPass a)
{
    Tiles m = tiles_in<P>(dynamic_shared<real>());
    Queries<P> q = queries_of_block<P>(a);
    Running<P> r;
    real o[P::R][P::N], ot[P::R][P::N], s[P::R][P::R], st[P::R][P::R], shrink[P::R];
#pragma unroll
    for (int i = 0; i < P::R; i++) {
        r.top[i] = (real)-1e30; /* finite: -inf minus itself would be NaN */
        r.sum[i] = r.sum_t[i] = 0;
    }
    clear_sums<P>(o);
    if (DUAL) clear_sums<P>(ot);
    load_queries<P>(a, m, q, DUAL && a.q.t);
    int end = a.seen.first + q.at + q.n;
    KeyTile t;
    for (int key = seen_from(a.seen, a.seen.first + q.at); key < end; key += t.n) {
        t = key_tile_at(a.seen, key, end, P::T);
        __syncthreads();
        load_tile<P>(a, m, t, q.b, q.h, a.k, DUAL ? a.kt : NULL);
        __syncthreads();
        clear<P>(s);
        add_dots<P>(s, m.x, m.y, a.D);
        if (DUAL) score_tangents<P>(st, m, a.D, a.q.t, a.kt && t.own);
        running_add<P, DUAL>(&r, q, t, s, st, shrink);
        put_scores<P>(m.p, s);
        if (DUAL) put_scores<P>(m.p_t, st);
        shrink_rows<P>(o, shrink);
        if (DUAL) shrink_rows<P>(ot, shrink);
        __syncthreads();
        load_tile<P>(a, m, t, q.b, q.h, a.v, DUAL ? a.vt : NULL);
        __syncthreads();
        add_weighed<P>(o, m.p, m.y, t.n);
        if (DUAL && (a.q.t || a.kt)) add_weighed<P>(ot, m.p_t, m.y, t.n);
        if (DUAL && a.vt && t.own) add_weighed<P>(ot, m.p, m.y_t, t.n);
    }
    forward_finish<P, DUAL>(a, q, r, o, ot);
}

#endif
