/* Inside of attention_tc.cu: the forward pass. A block of four warps has 128 queries of one head,
 * or 64 with their tangents; tiles of keys and values follow each other through two stages of
 * shared memory, the next one on its way while this one is multiplied. Weights never leave the
 * registers: the sums of the scores, rounded, are the left operand of the values' product. */
#ifndef TTT_OPS_ATTENTION_TC_FORWARD_CUH
#define TTT_OPS_ATTENTION_TC_FORWARD_CUH

#include "ops/attention_tc.cuh"

/* Per row of a thread: largest score so far (times 1 / log 2); this thread's share of the sums. */
template <class P> struct TcRunning {
    float top[P::V][2], sum[P::V][2], sum_t[2];
};

/* Scores to weights under the new maximum; what was summed shrinks. With tangents m[1] is turned
 * from st into e^(s - top) st. */
template <class P>
__device__ inline void weigh_scores(const TcPass &c, TcRunning<P> *r, float (*m)[P::N][4],
                                    float (*o)[P::D / 8][4])
{
#pragma unroll
    for (int u = 0; u < P::V; u++)
#pragma unroll
        for (int half = 0; half < 2; half++) {
            float top = -INFINITY, sum = 0, sum_t = 0;
#pragma unroll
            for (int j = 0; j < P::N; j++)
                top = fmaxf(top, fmaxf(m[u][j][2 * half], m[u][j][2 * half + 1]));
            top = fmaxf(r->top[u][half], quad_max(top) * c.to_log2);
            float shrink = exp2_fast(r->top[u][half] - top);
            r->top[u][half] = top;
#pragma unroll
            for (int j = 0; j < P::N; j++)
#pragma unroll
                for (int i = 2 * half; i < 2 * half + 2; i++) {
                    float e = exp2_fast(m[u][j][i] * c.to_log2 - top);
                    m[u][j][i] = e;
                    sum += e;
                    if (P::DUAL) m[1][j][i] *= e * c.a.scale;
                    if (P::DUAL) sum_t += m[1][j][i];
                }
            r->sum[u][half] = r->sum[u][half] * shrink + sum;
            if (P::DUAL) r->sum_t[half] = r->sum_t[half] * shrink + sum_t;
            /* After the first tiles nearly always; by all lanes, as products are a warp's. */
            if (__all_sync(FULL_WARP, shrink == 1)) continue;
#pragma unroll
            for (int j = 0; j < P::D / 8; j++)
#pragma unroll
                for (int i = 2 * half; i < 2 * half + 2; i++) {
                    o[u][j][i] *= shrink;
                    if (P::DUAL) o[1][j][i] *= shrink;
                }
        }
}

template <class P, class Left>
__device__ inline void forward_tile(const TcPass &c, const QueryBlock &q, KeyTile t,
                                    const Bits *stage, const Left &left, TcRunning<P> *r,
                                    float (*o)[P::D / 8][4])
{
    float m[P::U][P::N][4];
    clear_mma<P::U, P::N>(m);
    add_dots_mma<P::D, P::U, P::N>(m, left, stage, 0);
    if (P::DUAL && t.own) add_dots_mma<P::D, 1, P::N>(m + 1, left, stage + 2 * P::TILE, 0);
    if (!tile_is_full<P>(c, q, t)) hide_scores<P, P::N>(c, q, t, 0, m);
    weigh_scores<P>(c, r, m, o);
    unsigned p[P::U][P::N / 2][4];
#pragma unroll
    for (int u = 0; u < P::U; u++) round_sums<P::N>(p[u], m[u]);
    add_rows_mma<P::D, P::D, P::U, P::N>(o, p, stage + P::TILE, 0, 0);
    if (P::DUAL && t.own) add_rows_mma<P::D, P::D, 1, P::N>(o + 1, p, stage + 3 * P::TILE, 0, 0);
}

/* A query's sums over one part of its keys: top, sum, sum_t, unused, o (D), with tangents ot (D).
 */
template <class P> constexpr int PARTIAL = 4 + (P::DUAL ? 2 : 1) * P::D;

/* One row of sums, unscaled, to the partial sums of this part. */
template <class P>
__device__ inline void forward_put(const TcPass &c, const QueryBlock &q, int query, float top,
                                   float sum, float sum_t, float (*o)[P::D / 8][4], int u, int half)
{
    size_t queries = (size_t)c.a.B * (size_t)c.a.H * (size_t)c.a.M;
    size_t row = (size_t)q.part * queries + (size_t)q.head * (size_t)c.a.M + (size_t)(q.at + query);
    float *to = c.partial + row * PARTIAL<P>;
    if (sum_col() == 0) to[0] = top, to[1] = sum, to[2] = sum_t;
    to += 4 + sum_col();
#pragma unroll
    for (int j = 0; j < P::D / 8; j++) {
        to[8 * j] = o[u][j][2 * half];
        to[8 * j + 1] = o[u][j][2 * half + 1];
        if (P::DUAL) to[P::D + 8 * j] = o[1][j][2 * half];
        if (P::DUAL) to[P::D + 8 * j + 1] = o[1][j][2 * half + 1];
    }
}

/* One row of sums, divided, to the op's arrays. */
template <class P>
__device__ inline void forward_store(const TcPass &c, const QueryBlock &q, int query, float top,
                                     float sum, float sum_t, float (*o)[P::D / 8][4], int u,
                                     int half)
{
    const AttentionPass &a = c.a;
    float inv = 1 / sum, mean = sum_t * inv;
    size_t row = (size_t)q.head * (size_t)a.M + (size_t)(q.at + query);
    if (sum_col() == 0) a.lse.v[row] = (top + log2f(sum)) * LN_2;
    if (sum_col() == 0 && a.lse.t) a.lse.t[row] = mean;
    size_t at = own_row(a, q.b, q.at + query, q.h) + (size_t)sum_col();
#pragma unroll
    for (int j = 0; j < P::D / 8; j++) {
        float x = o[u][j][2 * half] * inv, y = o[u][j][2 * half + 1] * inv;
        *reinterpret_cast<float2 *>(a.o.v + at + 8 * j) = make_float2(x, y);
        if (!P::DUAL) continue;
        float xt = o[1][j][2 * half] * inv - mean * x, yt = o[1][j][2 * half + 1] * inv - mean * y;
        *reinterpret_cast<float2 *>(a.o.t + at + 8 * j) = make_float2(xt, yt);
    }
}

template <class P>
__device__ inline void forward_finish_mma(const TcPass &c, const QueryBlock &q,
                                          const TcRunning<P> &r, float (*o)[P::D / 8][4])
{
#pragma unroll
    for (int u = 0; u < P::V; u++)
#pragma unroll
        for (int half = 0; half < 2; half++) {
            int query = query_row<P>(u) + sum_row() + 8 * half;
            float sum = quad_sum(r.sum[u][half]), sum_t = P::DUAL ? quad_sum(r.sum_t[half]) : 0;
            if (query >= q.n) continue;
            if (c.parts > 1)
                forward_put<P>(c, q, query, r.top[u][half], sum, sum_t, o, u, half);
            else
                forward_store<P>(c, q, query, r.top[u][half], sum, sum_t, o, u, half);
        }
}

/* Through all tiles of the block's part; `left` has the queries. */
template <class P, class Left>
__device__ inline void forward_tiles(const TcPass &c, const QueryBlock &q, Bits *stages,
                                     const Left &left, TcRunning<P> *r, float (*o)[P::D / 8][4])
{
#pragma unroll 1
    for (int i = q.tile; i < q.tiles; i++) {
        KeyTile t = tile_arrives<P>(c, q, stages, i);
        const Bits *stage = stage_of<P>(stages, q, i);
        forward_tile<P>(c, q, t, stage, left, r, o);
    }
}

template <class P> __global__ void __launch_bounds__(TC_BLOCK, 2) tc_forward_kernel(TcPass c)
{
    Bits *queries = dynamic_shared<Bits>(), *stages = queries + P::ROWS * P::D;
    QueryBlock q = query_block<P>(c);
    TcRunning<P> r;
    float o[P::U][P::D / 8][4];
    clear_mma<P::U, P::D / 8>(o);
    for (int half = 0; half < 2; half++) {
        for (int u = 0; u < P::V; u++) r.top[u][half] = -1e30f, r.sum[u][half] = 0;
        r.sum_t[half] = 0;
    }
    copy_queries<P>(c, queries, c.q, q);
    cp_async_commit();
    if (q.tile < q.tiles)
        copy_keys<P>(c, stages, q, tile_of_block<P>(c, q, q.tile));
    else
        cp_async_commit(); /* of nothing: what is waited for next is the queries */
    if constexpr (P::D == 64) {
        LeftHeld<P> held;
        cp_async_wait<1>();
        __syncthreads();
#pragma unroll
        for (int u = 0; u < P::U; u++)
#pragma unroll
            for (int k = 0; k < P::K; k++) load_a<P::D>(held.a[u][k], queries, left_row<P>(u), k);
        forward_tiles<P>(c, q, stages, held, &r, o);
    } else {
        forward_tiles<P>(c, q, stages, LeftShared<P>{queries}, &r, o);
    }
    cp_async_wait<0>(); /* a part without keys has waited for nothing */
    forward_finish_mma<P>(c, q, r, o);
}

/* The parts of each query's keys, in their order, to the op's arrays: a warp for each query. */
template <class P> __global__ void tc_merge_kernel(TcPass c)
{
    const AttentionPass &a = c.a;
    size_t queries = (size_t)a.B * (size_t)a.H * (size_t)a.M;
    size_t row = walk_start() / WARP, step = queries * PARTIAL<P>;
    if (row >= queries) return;
    const float *from = c.partial + row * PARTIAL<P>;
    float top = from[0], sum = 0, sum_t = 0, o[P::D / WARP] = {}, ot[P::D / WARP] = {};
    for (int part = 1; part < c.parts; part++) top = fmaxf(top, from[(size_t)part * step]);
    for (int part = 0; part < c.parts; part++) {
        const float *x = from + (size_t)part * step;
        float by = exp2_fast(x[0] - top);
        sum += by * x[1];
        sum_t += by * x[2];
        for (int i = 0; i < P::D / WARP; i++) {
            o[i] += by * x[4 + lane_id() + i * WARP];
            if (P::DUAL) ot[i] += by * x[4 + P::D + lane_id() + i * WARP];
        }
    }
    float inv = 1 / sum, mean = sum_t * inv;
    size_t head = row / (size_t)a.M, query = row % (size_t)a.M;
    size_t at = own_row(a, (int)(head / (size_t)a.H), (int)query, (int)(head % (size_t)a.H));
    if (lane_id() == 0) a.lse.v[row] = (top + log2f(sum)) * LN_2;
    if (lane_id() == 0 && a.lse.t) a.lse.t[row] = mean;
    for (int i = 0; i < P::D / WARP; i++) {
        size_t d = at + (size_t)(lane_id() + i * WARP);
        a.o.v[d] = o[i] * inv;
        if (P::DUAL) a.o.t[d] = ot[i] * inv - mean * o[i] * inv;
    }
}

#endif
