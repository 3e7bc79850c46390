/* Inside of attention_tc.cu: gradients of queries. As the forward pass, with the output's gradient
 * as a second left operand; p comes from lse, so that tiles stand alone. */
#ifndef TTT_OPS_ATTENTION_TC_QUERIES_CUH
#define TTT_OPS_ATTENTION_TC_QUERIES_CUH

#include "ops/attention_tc.cuh"

/* Half as many keys at a time: two tiles of scores are in registers beside the sums. */
template <class P> constexpr int STEP = P::KEYS / 2;

/* What the block's queries have from the forward pass, for the rows of this thread. */
template <class P> struct TcKnown {
    float4 of[P::V][2];
};

template <class P> __device__ inline TcKnown<P> known_of_block(const TcPass &c, const QueryBlock &q)
{
    TcKnown<P> known;
    const float4 *from = c.known + (size_t)q.head * (size_t)c.a.M + (size_t)q.at;
#pragma unroll
    for (int u = 0; u < P::V; u++)
#pragma unroll
        for (int half = 0; half < 2; half++) {
            int query = query_row<P>(u) + sum_row() + 8 * half;
            known.of[u][half] = from[query < q.n ? query : q.n - 1];
        }
    return known;
}

/* One score and its tangent to p and pt. */
template <bool DUAL>
__device__ inline void to_weight_mma(float *s, float *st, const TcPass &c, const float4 &known)
{
    *s = exp2_fast(*s * c.to_log2 - known.x);
    if (DUAL) *st = *s * (*st * c.a.scale - known.y);
}

/* (dp, dpt) to (ds, dst). */
template <bool DUAL>
__device__ inline void to_gradient_mma(float *dp, float *dpt, float p, float pt,
                                       const float4 &known)
{
    float centred = *dp - known.z;
    if (DUAL) *dpt = p * (*dpt - known.w) + pt * centred;
    *dp = p * centred;
}

/* STEP keys of a tile from `row` on. q, d_o: left operands. */
template <class P, class Left>
__device__ inline void queries_step(const TcPass &c, const QueryBlock &q, KeyTile t,
                                    const Bits *stage, int row, const Left &left_q,
                                    const Left &left_d_o, const TcKnown<P> &known, bool full,
                                    float (*dq)[P::D / 8][4])
{
    constexpr int N = STEP<P> / 8;
    float p[P::U][N][4], dp[P::U][N][4];
    clear_mma<P::U, N>(p);
    add_dots_mma<P::D, P::U, N>(p, left_q, stage, row);
    if (P::DUAL && t.own) add_dots_mma<P::D, 1, N>(p + 1, left_q, stage + 2 * P::TILE, row);
    if (!full) hide_scores<P, N>(c, q, t, row, p);
    clear_mma<P::U, N>(dp);
    add_dots_mma<P::D, P::U, N>(dp, left_d_o, stage + P::TILE, row);
    if (P::DUAL && t.own) add_dots_mma<P::D, 1, N>(dp + 1, left_d_o, stage + 3 * P::TILE, row);
#pragma unroll
    for (int u = 0; u < P::V; u++)
#pragma unroll
        for (int j = 0; j < N; j++)
#pragma unroll
            for (int i = 0; i < 4; i++) {
                const float4 &k = known.of[u][i / 2];
                to_weight_mma<P::DUAL>(&p[u][j][i], &p[1][j][i], c, k);
                to_gradient_mma<P::DUAL>(&dp[u][j][i], &dp[1][j][i], p[u][j][i], p[1][j][i], k);
            }
    unsigned ds[P::U][N / 2][4];
#pragma unroll
    for (int u = 0; u < P::U; u++) round_sums<N>(ds[u], dp[u]);
    add_rows_mma<P::D, P::D, P::U, N>(dq, ds, stage, row, 0);
    if (P::DUAL && t.own) add_rows_mma<P::D, P::D, 1, N>(dq + 1, ds, stage + 2 * P::TILE, row, 0);
}

/* dq, times the scale, to the op's arrays, or to the sums of this part (parts, slots, B, M, C). */
template <class P>
__device__ inline void queries_store(const TcPass &c, const QueryBlock &q, float (*dq)[P::D / 8][4])
{
    size_t n = (size_t)c.a.B * (size_t)c.a.M * c.a.C;
    float *of_part = c.partial + (size_t)q.part * (P::DUAL ? 2 : 1) * n;
    float *value = P::DUAL || c.a.dq.v ? c.a.dq.v : c.a.dq.t;
    float *to[2] = {c.parts > 1 ? of_part : value, c.parts > 1 ? of_part + n : c.a.dq.t};
#pragma unroll
    for (int u = 0; u < P::U; u++)
#pragma unroll
        for (int half = 0; half < 2; half++) {
            int query = query_row<P>(u) + sum_row() + 8 * half;
            float *base = P::DUAL ? to[u] : to[0];
            if (query >= q.n || !base) continue;
            size_t at = own_row(c.a, q.b, q.at + query, q.h) + (size_t)sum_col();
#pragma unroll
            for (int j = 0; j < P::D / 8; j++)
                *reinterpret_cast<float2 *>(base + at + 8 * j) =
                    make_float2(dq[u][j][2 * half] * c.a.scale, dq[u][j][2 * half + 1] * c.a.scale);
        }
}

template <class P, class Left>
__device__ inline void queries_tiles(const TcPass &c, const QueryBlock &q, Bits *stages,
                                     const Left &left_q, const Left &left_d_o,
                                     float (*dq)[P::D / 8][4])
{
    TcKnown<P> known = known_of_block<P>(c, q);
#pragma unroll 1
    for (int i = q.tile; i < q.tiles; i++) {
        KeyTile t = tile_arrives<P>(c, q, stages, i);
        const Bits *stage = stage_of<P>(stages, q, i);
        bool full = tile_is_full<P>(c, q, t);
#pragma unroll 1
        for (int row = 0; row < t.n; row += STEP<P>)
            queries_step<P>(c, q, t, stage, row, left_q, left_d_o, known, full, dq);
    }
}

/* grid: see query_block */
template <class P> __global__ void __launch_bounds__(TC_BLOCK, 2) tc_queries_kernel(TcPass c)
{
    Bits *queries = dynamic_shared<Bits>(), *d_o = queries + P::ROWS * P::D;
    Bits *stages = d_o + P::ROWS * P::D;
    QueryBlock q = query_block<P>(c);
    float dq[P::U][P::D / 8][4];
    clear_mma<P::U, P::D / 8>(dq);
    copy_queries<P>(c, queries, c.q, q);
    copy_queries<P>(c, d_o, c.d_o, q);
    cp_async_commit();
    if (q.tile < q.tiles) copy_keys<P>(c, stages, q, tile_of_block<P>(c, q, q.tile));
    queries_tiles<P>(c, q, stages, LeftShared<P>{queries}, LeftShared<P>{d_o}, dq);
    cp_async_wait<0>(); /* a part without keys has waited for nothing */
    queries_store<P>(c, q, dq);
}

/* to (n) = the sums of the parts, in their order, `step` apart. */
static __global__ void tc_sum_kernel(float *to, const float *from, int parts, size_t step, size_t n)
{
    size_t i = walk_start();
    if (i >= n) return;
    float sum = 0;
    for (int part = 0; part < parts; part++) sum += from[(size_t)part * step + i];
    to[i] = sum;
}

#endif
