/* Inside of attention_tc.cu: what its kernels share. Operands come in bfloat16 (operands_cuda.cuh):
 * tiles are then copied past the registers, and the many readers of a row read half the bytes. A
 * row of a head is one line of memory or two. */
#ifndef TTT_OPS_ATTENTION_TC_CUH
#define TTT_OPS_ATTENTION_TC_CUH

#include "ops/attention_mma.cuh"
#include "ops/attention_pass.cuh"

/* Operands in bfloat16; [1]: tangents, zeros where there are none. */
typedef struct TcPass {
    AttentionPass a;
    const Bits *q[2], *d_o[2]; /* (B, M, C) */
    const Bits *k[2], *v[2];   /* value (B, , C): row0 of the window and on; tangent as q */
    size_t k_step, v_step;     /* elements from one sequence's values to the next one's */
    int row0;
    float4 *known;  /* (B, H, M): lse / log 2, lse_t, delta, delta_t */
    int parts;      /* that a block's keys are split into */
    float *partial; /* (parts, B, H, M, ...) where there are several */
    float to_log2;  /* of scores: scale / log 2 */
} TcPass;

#define LOG2_E 1.44269504088896340736f
#define LN_2   0.69314718055994530942f

/* Sizes of a kernel by queries: of its queries, value and tangent together, and tiles of keys. */
template <int D_, bool DUAL_> struct QueryPlan {
    static constexpr int D = D_, K = D / 16;
    static constexpr bool DUAL = DUAL_;
    static constexpr int ROWS = 128, T = DUAL ? ROWS / 2 : ROWS; /* of left operands; queries */
    static constexpr int U = 2, V = DUAL ? 1 : 2;                /* blocks of rows; of queries */
    static constexpr int KEYS = 4096 / D, N = KEYS / 8;
    static constexpr int TILE = KEYS * D, STAGE = (DUAL ? 4 : 2) * TILE; /* elements */
};

/* A block's place: its queries, and its part of the tiles of keys that they see. */
struct QueryBlock {
    int b, h, at, n; /* sequence, head, first query, their number */
    int head;        /* b H + h */
    int part;
    int key, past, own;   /* first row seen, tiles of past rows, first row of the others */
    int end, tile, tiles; /* one past the last row seen; this part's tiles */
};

/* grid: (tiles of queries x parts, H, B); parts of the same queries are neighbours, late queries,
 * which see most, come first. */
template <class P> __device__ inline QueryBlock query_block(const TcPass &c)
{
    const Seen &s = c.a.seen;
    QueryBlock q;
    int count = (int)gridDim.x / c.parts, x = (int)blockIdx.x;
    q.part = x % c.parts;
    q.at = (count - 1 - x / c.parts) * P::T;
    q.n = c.a.M - q.at < P::T ? c.a.M - q.at : P::T;
    q.h = (int)blockIdx.y;
    q.b = (int)blockIdx.z;
    q.head = q.b * c.a.H + q.h;
    q.key = seen_from(s, s.first + q.at);
    q.own = q.key > s.first ? q.key : s.first;
    q.end = s.first + q.at + q.n;
    q.past = (q.own - q.key + P::KEYS - 1) / P::KEYS;
    int tiles = q.past + (q.end - q.own + P::KEYS - 1) / P::KEYS;
    q.tile = tiles * q.part / c.parts;
    q.tiles = tiles * (q.part + 1) / c.parts;
    return q;
}

template <class P>
__device__ inline KeyTile tile_of_block(const TcPass &c, const QueryBlock &q, int i)
{
    int key = i < q.past ? q.key + i * P::KEYS : q.own + (i - q.past) * P::KEYS;
    return key_tile_at(c.a.seen, key, q.end, P::KEYS);
}

/* Rows of a left operand, value and tangent, to (ROWS, D): first all values, then all tangents. */
template <class P>
__device__ inline void copy_queries(const TcPass &c, Bits *to, const Bits *const x[2],
                                    const QueryBlock &q)
{
    size_t at = own_row(c.a, q.b, q.at, q.h);
    copy_tile<P::D, P::T>(to, x[0] + at, c.a.C, q.n);
    if (P::DUAL) copy_tile<P::D, P::T>(to + P::T * P::D, x[1] + at, c.a.C, q.n);
}

/* KEYS rows of keys and of values, the window's, from `key` on. */
template <class P>
__device__ inline void copy_window(const TcPass &c, Bits *to, int b, int h, KeyTile t)
{
    size_t at = (size_t)(t.key - c.row0) * c.a.C + (size_t)(h * P::D);
    copy_tile<P::D, P::KEYS>(to, c.k[0] + ((size_t)b * c.k_step + at), c.a.C, t.n);
    copy_tile<P::D, P::KEYS>(to + P::TILE, c.v[0] + ((size_t)b * c.v_step + at), c.a.C, t.n);
}

/* Their tangents, of the span's own rows. */
template <class P>
__device__ inline void copy_own(const TcPass &c, Bits *to, int b, int h, KeyTile t)
{
    size_t at = own_row(c.a, b, t.key - c.a.seen.first, h);
    copy_tile<P::D, P::KEYS>(to, c.k[1] + at, c.a.C, t.n);
    copy_tile<P::D, P::KEYS>(to + P::TILE, c.v[1] + at, c.a.C, t.n);
}

/* One tile of keys and values to a stage: k, v, and of own keys kt, vt. */
template <class P>
__device__ inline void copy_keys(const TcPass &c, Bits *to, const QueryBlock &q, KeyTile t)
{
    int b = again(q.b), h = again(q.h);
    copy_window<P>(c, to, b, h, t);
    if (P::DUAL && t.own) copy_own<P>(c, to + 2 * P::TILE, b, h, t);
    cp_async_commit();
}

/* First of the warp's 16 rows u in a tile of left operands, and among the block's queries. */
template <class P> __device__ inline int left_row(int u)
{
    return P::DUAL ? u * P::T + warp_id() * 16 : warp_id() * 32 + u * 16;
}
template <class P> __device__ inline int query_row(int u)
{
    return P::DUAL ? warp_id() * 16 : warp_id() * 32 + u * 16;
}

/* Left operands in shared memory. */
template <class P> struct LeftShared {
    const Bits *tile;
    __device__ inline void load(unsigned a[4], int u, int k) const
    {
        load_a<P::D>(a, tile, left_row<P>(u), k);
    }
};

/* Left operands in registers, where there are enough: D 64. */
template <class P> struct LeftHeld {
    unsigned a[2][P::K][4];
    __device__ inline void load(unsigned to[4], int u, int k) const
    {
        for (int i = 0; i < 4; i++) to[i] = a[u][k][i];
    }
};

/* Whether every query of the block sees every key of the tile. */
template <class P>
__device__ inline bool tile_is_full(const TcPass &c, const QueryBlock &q, KeyTile t)
{
    const Seen &s = c.a.seen;
    return q.n == P::T && t.n == P::KEYS && t.key + t.n - 1 <= s.first + q.at &&
           t.key >= seen_from(s, q.end - 1);
}

/* Scores that are not seen become -inf: of N * 8 keys from the tile's row `first` on. */
template <class P, int N>
__device__ inline void hide_scores(const TcPass &c, const QueryBlock &q, KeyTile t, int first,
                                   float (*m)[N][4])
{
#pragma unroll
    for (int u = 0; u < P::V; u++)
#pragma unroll
        for (int half = 0; half < 2; half++) {
            int query = query_row<P>(u) + sum_row() + 8 * half;
            int row = c.a.seen.first + q.at + (query < q.n ? query : q.n - 1);
            int from = seen_from(c.a.seen, row) - t.key - first;
            int to = (row < t.key + t.n ? row + 1 : t.key + t.n) - t.key - first;
#pragma unroll
            for (int j = 0; j < N; j++)
#pragma unroll
                for (int i = 0; i < 2; i++) {
                    int key = 8 * j + sum_col() + i;
                    if (key < from || key >= to) m[u][j][2 * half + i] = -INFINITY;
                }
        }
}

template <class P> __device__ inline Bits *stage_of(Bits *stages, const QueryBlock &q, int i)
{
    return stages + (i - q.tile) % 2 * P::STAGE;
}

/* Waits for tile i of the block's part, whose copy the tile before has begun, and begins that of
 * the next into the other stage, which all threads have left. */
template <class P>
__device__ inline KeyTile tile_arrives(const TcPass &c, const QueryBlock &q, Bits *stages, int i)
{
    cp_async_wait<0>();
    __syncthreads();
    if (i + 1 < q.tiles)
        copy_keys<P>(c, stage_of<P>(stages, q, i + 1), q, tile_of_block<P>(c, q, i + 1));
    return tile_of_block<P>(c, q, i);
}

#endif
