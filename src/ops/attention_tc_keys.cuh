/* Inside of attention_tc.cu: gradients of keys and values. A block has 64 or 128 keys of one head
 * and goes through the queries that see them. Scores lie transposed here, (keys, queries), so that
 * they are left operands of both sums as they come out of the tensor cores.
 *
 * Own keys of a dual pass have four sums, others two: a kernel each, the others' with twice the
 * keys a warp. For D 128 the four sums are too many for the registers: a block then has half of
 * their columns and makes the scores for itself; own keys are few beside the past ones. */
#ifndef TTT_OPS_ATTENTION_TC_KEYS_CUH
#define TTT_OPS_ATTENTION_TC_KEYS_CUH

#include "ops/attention_tc_queries.cuh"

/* OWN: with the sums and tangents that only own keys of a dual pass have. */
template <int D_, bool DUAL_, bool OWN_> struct KeyPlan {
    static constexpr int D = D_, K = D / 16;
    static constexpr bool DUAL = DUAL_, OWN = OWN_;
    static constexpr int U = D == 64 && !OWN ? 2 : 1;     /* blocks of 16 keys a warp */
    static constexpr int COLS = OWN && D == 128 ? 64 : D; /* columns of the sums */
    static constexpr int KEYS = TC_WARPS * 16 * U;
    static constexpr int T = D == 64 ? 64 : 32;                    /* queries of a stage */
    static constexpr int QUERIES = DUAL && D * U == 128 ? 16 : 32; /* of them in registers */
    static constexpr int N = QUERIES / 8;
    static constexpr int TILE = KEYS * D, ROWS = T * D;         /* elements */
    static constexpr int KEPT = (OWN ? 4 : 2) * TILE;           /* k, v, kt, vt */
    static constexpr int STAGE = (DUAL ? 4 : 2) * ROWS + T * 8; /* q, d_o, qt, d_ot, known */
    static constexpr size_t shared = (size_t)(KEPT + 2 * STAGE) * sizeof(Bits);
};

struct KeyBlock {
    int b, h, col; /* sequence, head, first of the sums' columns / 16 */
    int head;      /* b H + h */
    KeyTile t;
    int query, end; /* queries that see some of the keys, from a whole tile on */
};

/* The kernel's first tile is the `skip`th. grid: (tiles x parts of columns, H, B) */
template <class P> __device__ inline KeyBlock key_block(const TcPass &c, int skip)
{
    constexpr int splits = P::D / P::COLS;
    KeyBlock k;
    k.b = (int)blockIdx.z;
    k.h = (int)blockIdx.y;
    k.head = k.b * c.a.H + k.h;
    k.col = (int)blockIdx.x % splits * (P::COLS / 16);
    k.t = key_tile(c.a.seen, skip + (int)blockIdx.x / splits, P::KEYS);
    k.query = k.t.own ? (k.t.key - c.a.seen.first) / P::T * P::T : 0;
    k.end = seen_until(c.a.seen, k.t.key + k.t.n - 1) - c.a.seen.first;
    return k;
}

/* The block's keys and values, to stay. */
template <class P> __device__ inline void copy_kept(const TcPass &c, Bits *to, const KeyBlock &k)
{
    copy_window<P>(c, to, k.b, k.h, k.t);
    if (P::OWN) copy_own<P>(c, to + 2 * P::TILE, k.b, k.h, k.t);
}

/* T queries from `query` on, to a stage. */
template <class P>
__device__ inline void copy_stage(const TcPass &c, Bits *to, const KeyBlock &k, int query)
{
    int n = c.a.M - query < P::T ? c.a.M - query : P::T;
    size_t first = (size_t)again(k.head) * (size_t)c.a.M + (size_t)query;
    size_t at = own_row(c.a, again(k.b), query, again(k.h));
    copy_tile<P::D, P::T>(to, c.q[0] + at, c.a.C, n);
    copy_tile<P::D, P::T>(to + P::ROWS, c.d_o[0] + at, c.a.C, n);
    if (P::DUAL) {
        copy_tile<P::D, P::T>(to + 2 * P::ROWS, c.q[1] + at, c.a.C, n);
        copy_tile<P::D, P::T>(to + 3 * P::ROWS, c.d_o[1] + at, c.a.C, n);
    }
    Bits *known = to + (P::DUAL ? 4 : 2) * P::ROWS;
    int i = (int)threadIdx.x;
    if (i < P::T) cp_async16(known + i * 8, c.known + first + (i < n ? i : 0), i < n);
    cp_async_commit();
}

/* m[u] = x y^T, mt[u] = x y_t^T + x_t y^T, of the warp's keys and QUERIES queries from `row` on */
template <class P>
__device__ inline void key_dots(float (*m)[P::N][4], float (*mt)[P::N][4], const Bits *x,
                                const Bits *x_t, const Bits *y, const Bits *y_t, int row)
{
    clear_mma<P::U, P::N>(m);
    if (P::DUAL) clear_mma<P::U, P::N>(mt);
#pragma unroll 2 /* all of them fetch ahead until registers run out */
    for (int k = 0; k < P::K; k++) {
        unsigned a[P::U][4], at[4], b[4];
#pragma unroll
        for (int u = 0; u < P::U; u++) load_a<P::D>(a[u], x, (warp_id() * P::U + u) * 16, k);
        if (P::OWN) load_a<P::D>(at, x_t, warp_id() * 16, k);
#pragma unroll
        for (int j = 0; j < P::N / 2; j++) {
            load_b<P::D>(b, y, row + 16 * j, k);
#pragma unroll
            for (int u = 0; u < P::U; u++) mma_pair(m[u] + 2 * j, a[u], b);
            if (P::OWN) mma_pair(mt[0] + 2 * j, at, b);
            if (!P::DUAL) continue;
            load_b<P::D>(b, y_t, row + 16 * j, k);
#pragma unroll
            for (int u = 0; u < P::U; u++) mma_pair(mt[u] + 2 * j, a[u], b);
        }
    }
}

/* The sums' part of QUERIES queries: sum += p x; with tangents sum += pt x + p x_t, own += p x */
template <class P>
__device__ inline void key_gather(float (*sum)[P::COLS / 8][4], float (*own)[P::COLS / 8][4],
                                  const float (*m)[P::N][4], const float (*mt)[P::N][4],
                                  const Bits *x, const Bits *x_t, int row, int col)
{
    unsigned p[P::U][P::N / 2][4], pt[P::U][P::N / 2][4];
#pragma unroll
    for (int u = 0; u < P::U; u++) {
        round_sums<P::N>(p[u], m[u]);
        if (P::DUAL) round_sums<P::N>(pt[u], mt[u]);
    }
#pragma unroll
    for (int k = 0; k < P::N / 2; k++)
#pragma unroll
        for (int j = 0; j < P::COLS / 16; j++) {
            unsigned b[4];
            load_b_rows<P::D>(b, x, row + 16 * k, col + j);
#pragma unroll
            for (int u = 0; u < P::U; u++)
                mma_pair(sum[u] + 2 * j, P::DUAL ? pt[u][k] : p[u][k], b);
            if (P::OWN) mma_pair(own[0] + 2 * j, p[0][k], b);
            if (!P::DUAL) continue;
            load_b_rows<P::D>(b, x_t, row + 16 * k, col + j);
#pragma unroll
            for (int u = 0; u < P::U; u++) mma_pair(sum[u] + 2 * j, p[u][k], b);
        }
}

/* Scores of pairs that do not see each other become -inf. query: of the stage's row `row`. */
template <class P>
__device__ inline void hide_columns(const TcPass &c, const KeyBlock &k, int query,
                                    float (*m)[P::N][4])
{
#pragma unroll
    for (int j = 0; j < P::N; j++)
#pragma unroll
        for (int i = 0; i < 2; i++) {
            int at = query + 8 * j + sum_col() + i, row = c.a.seen.first + at;
            int from = seen_from(c.a.seen, row);
            if (at >= c.a.M) row = -1;
#pragma unroll
            for (int u = 0; u < P::U; u++)
#pragma unroll
                for (int half = 0; half < 2; half++) {
                    int n = (warp_id() * P::U + u) * 16 + sum_row() + 8 * half, key = k.t.key + n;
                    if (key > row || key < from || n >= k.t.n) m[u][j][2 * half + i] = -INFINITY;
                }
        }
}

/* Whether each of a stage's queries sees each of the block's keys. */
template <class P>
__device__ inline bool stage_is_full(const TcPass &c, const KeyBlock &k, int query)
{
    const Seen &s = c.a.seen;
    return k.t.n == P::KEYS && query + P::T <= c.a.M && k.t.key + k.t.n - 1 <= s.first + query &&
           k.t.key >= seen_from(s, s.first + query + P::T - 1);
}

/* Scores to p and pt, or (dp, dpt) with these to ds and dst. known: of the first query. */
template <class P>
__device__ inline void weigh_columns(const TcPass &c, const float4 *known, float (*m)[P::N][4],
                                     float (*mt)[P::N][4])
{
#pragma unroll
    for (int j = 0; j < P::N; j++)
#pragma unroll
        for (int i = 0; i < 4; i++) {
            float4 k = known[8 * j + sum_col() + i % 2];
#pragma unroll
            for (int u = 0; u < P::U; u++) to_weight_mma<P::DUAL>(&m[u][j][i], &mt[u][j][i], c, k);
        }
}

template <class P>
__device__ inline void differentiate_columns(const float4 *known, float (*dp)[P::N][4],
                                             float (*dpt)[P::N][4], const float (*p)[P::N][4],
                                             const float (*pt)[P::N][4])
{
#pragma unroll
    for (int j = 0; j < P::N; j++)
#pragma unroll
        for (int i = 0; i < 4; i++) {
            float4 k = known[8 * j + sum_col() + i % 2];
#pragma unroll
            for (int u = 0; u < P::U; u++)
                to_gradient_mma<P::DUAL>(&dp[u][j][i], &dpt[u][j][i], p[u][j][i], pt[u][j][i], k);
        }
}

/* dk, dv and, of own keys in a dual pass, those of the value slot. */
template <class P> struct KeySumsMma {
    float dk[P::U][P::COLS / 8][4], dv[P::U][P::COLS / 8][4];
    float own_dk[P::U][P::COLS / 8][4], own_dv[P::U][P::COLS / 8][4];
};

/* QUERIES queries from row `row` of a stage on, the first of which is `query`. */
template <class P>
__device__ inline void keys_step(const TcPass &c, const KeyBlock &k, const Bits *kept,
                                 const Bits *stage, int row, int query, bool full,
                                 KeySumsMma<P> *sums)
{
    const Bits *q = stage, *d_o = q + P::ROWS, *qt = d_o + P::ROWS, *d_ot = qt + P::ROWS;
    const Bits *known_bits = stage + (P::DUAL ? 4 : 2) * P::ROWS;
    const float4 *known = reinterpret_cast<const float4 *>(known_bits) + row;
    float p[P::U][P::N][4], pt[P::U][P::N][4], dp[P::U][P::N][4], dpt[P::U][P::N][4];
    key_dots<P>(p, pt, kept, kept + 2 * P::TILE, q, qt, row);
    if (!full) hide_columns<P>(c, k, query, p);
    weigh_columns<P>(c, known, p, pt);
    key_gather<P>(sums->dv, sums->own_dv, p, pt, d_o, d_ot, row, k.col);
    key_dots<P>(dp, dpt, kept + P::TILE, kept + 3 * P::TILE, d_o, d_ot, row);
    differentiate_columns<P>(known, dp, dpt, p, pt);
    key_gather<P>(sums->dk, sums->own_dk, dp, dpt, q, qt, row, k.col);
}

/* Sums, times `scale`, to rows C apart, = or +=; to: of the block's first key. */
template <class P>
__device__ inline void keys_store(const TcPass &c, const KeyBlock &k, float *to,
                                  const float (*sum)[P::COLS / 8][4], float scale, bool add)
{
#pragma unroll
    for (int u = 0; u < P::U; u++)
#pragma unroll
        for (int half = 0; half < 2; half++) {
            int key = (warp_id() * P::U + u) * 16 + sum_row() + 8 * half;
            if (key >= k.t.n) continue;
            float *row = to + (size_t)key * c.a.C + k.col * 16 + sum_col();
#pragma unroll
            for (int j = 0; j < P::COLS / 8; j++) {
                float2 *at = reinterpret_cast<float2 *>(row + 8 * j);
                float2 x =
                    make_float2(scale * sum[u][j][2 * half], scale * sum[u][j][2 * half + 1]);
                if (add) x.x += at->x, x.y += at->y;
                *at = x;
            }
        }
}

template <class P>
__device__ inline void keys_finish(const TcPass &c, const KeyBlock &k, const KeySumsMma<P> &sums)
{
    const WindowGrad &g = c.a.grad;
    bool inner = c.a.d_o.v && !P::DUAL;
    if (!inner) {
        size_t at = grad_row(c.a, k.b, k.t.key, k.h);
        keys_store<P>(c, k, g.dk + at, sums.dk, c.a.scale, true);
        keys_store<P>(c, k, g.dv + at, sums.dv, 1, true);
    }
    if (!P::OWN && !inner) return;
    size_t at = own_row(c.a, k.b, k.t.key - c.a.seen.first, k.h);
    if (g.own_dk)
        keys_store<P>(c, k, g.own_dk + at, P::OWN ? sums.own_dk : sums.dk, c.a.scale, false);
    if (g.own_dv) keys_store<P>(c, k, g.own_dv + at, P::OWN ? sums.own_dv : sums.dv, 1, false);
}

template <class P> __global__ void __launch_bounds__(TC_BLOCK, 2) tc_keys_kernel(TcPass c, int skip)
{
    Bits *kept = dynamic_shared<Bits>(), *stages = kept + P::KEPT;
    KeyBlock k = key_block<P>(c, skip);
    KeySumsMma<P> sums;
    clear_mma<P::U, P::COLS / 8>(sums.dk);
    clear_mma<P::U, P::COLS / 8>(sums.dv);
    if (P::OWN) clear_mma<P::U, P::COLS / 8>(sums.own_dk);
    if (P::OWN) clear_mma<P::U, P::COLS / 8>(sums.own_dv);
    copy_kept<P>(c, kept, k);
    copy_stage<P>(c, stages, k, k.query);
#pragma unroll 1
    for (int query = k.query, i = 0; query < k.end; query += P::T, i++) {
        cp_async_wait<0>();
        __syncthreads();
        const Bits *stage = stages + i % 2 * P::STAGE;
        if (query + P::T < k.end)
            copy_stage<P>(c, stages + (i + 1) % 2 * P::STAGE, k, query + P::T);
        bool full = stage_is_full<P>(c, k, query);
#pragma unroll 1
        for (int row = 0; row < P::T && query + row < k.end; row += P::QUERIES)
            keys_step<P>(c, k, kept, stage, row, query + row, full, &sums);
    }
    keys_finish<P>(c, k, sums);
}

#endif
