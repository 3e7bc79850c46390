/* Embedding: x[n] = w[token n]; gradient: dw[token n] += dx[n], rows of a token that comes several
 * times added in their order.
 *
 * The gradient first sorts positions by token: the rank of (token, n) is counted, N^2 comparisons
 * of integers that live in registers and shared memory (0.01 ms for 8,192 tokens, 0.4 ms for
 * 65,536, where a step takes half a second), which needs neither atomics nor the size of the
 * vocabulary. Then a block takes RUN sorted rows and adds those of one token in registers, so that
 * the work of blocks is the same whether tokens are all different or all one; dx is read once and a
 * row of dw read and written once for each different token. Sums of tokens that go on beyond a
 * block's rows wait in scratch for a last kernel. */
#include "ops/pack.cuh" // defines: Pack, load, store, zeros, aligned, whole_packs, threads_for

template <int W>
static __global__ void embed_kernel(real *x, const int32_t *tokens, const real *w, int C)
{
    real *to = x + (size_t)blockIdx.x * (size_t)C;
    const real *from = w + (size_t)tokens[blockIdx.x] * (size_t)C;
    for (int c = (int)threadIdx.x * W; c < C; c += (int)blockDim.x * W)
        store(to, (size_t)c, load<W>(from, (size_t)c));
}

void KERNEL(embed_forward)(Backend *be, real *x, const int32_t *tokens, const real *w, int N, int C)
{
    bool packs = aligned(x, w) && whole_packs(C);
    launch(be, packs ? embed_kernel<WIDE> : embed_kernel<1>, (unsigned)N,
           threads_for((size_t)C / (packs ? WIDE : 1)), 0, x, tokens, w, C);
}

/* ------------------------------------------------------------------------------ sorting */

enum { TILE = 4 * BLOCK, RUN = 32 };

typedef struct Sorted { /* (N) each: positions in order of (token, position), and their tokens */
    int32_t *order, *token;
} Sorted;

struct alignas(16) Quad {
    int32_t at[4];
};

/* Tokens of a tile at or below what a position's own tile, and tiles on either side, ask for. */
__device__ inline int tile_count(const Quad *tile, int own_token, int place)
{
    int count = 0;
    for (int q = 0; q < TILE / 4; q++) {
        Quad four = tile[q];
        for (int j = 0; j < 4; j++)
            count += four.at[j] < own_token || (four.at[j] == own_token && 4 * q + j < place);
    }
    return count;
}

/* counts[part][n]: how many of a part of the tokens stand before position n. A thread has one
 * position; the tokens of a part pass through shared memory. */
static __global__ void count_kernel(int32_t *counts, const int32_t *tokens, int N, int part)
{
    __shared__ Quad tile[TILE / 4];
    int n = (int)blockIdx.x * BLOCK + (int)threadIdx.x, own = n < N ? tokens[n] : 0, count = 0;
    int from = (int)blockIdx.y * part, to = min(N, from + part);
    for (int start = from; start < to; start += TILE) {
        __syncthreads();
        for (int i = (int)threadIdx.x; i < TILE; i += BLOCK)
            tile[i / 4].at[i % 4] = start + i < to ? tokens[start + i] : INT32_MAX;
        __syncthreads();
        int place = n - start; /* a block's positions are in one tile together */
        if (place >= 0 && place < TILE)
            count += tile_count(tile, own, place);
        else
            count += tile_count(tile, place < 0 ? own : own + 1, 0);
    }
    if (n < N) counts[(size_t)blockIdx.y * (size_t)N + (size_t)n] = count;
}

static __global__ void place_kernel(Sorted s, const int32_t *counts, int parts,
                                    const int32_t *tokens, int N)
{
    int n = (int)walk_start(), rank = 0;
    if (n >= N) return;
    for (int p = 0; p < parts; p++) rank += counts[(size_t)p * (size_t)N + (size_t)n];
    s.order[rank] = n;
    s.token[rank] = tokens[n];
}

/* ------------------------------------------------------------------------------ sums */

/* Sorted positions of one block, those before and after them included; -1 beyond the ends. */
struct Run {
    int32_t order[RUN + 2], token[RUN + 2];
};

/* edges: (blocks, 2, C), the sums of a token that came from before, and of one that goes on. */
template <int W>
__device__ inline void sum_column(real *dw, real *edges, const real *dx, const Run &run, int count,
                                  size_t C, size_t c)
{
    enum { BATCH = 4 }; /* rows in flight */
    int32_t before = run.token[0], after = run.token[count + 1];
    Pack<W> sum = zeros<W>(), row[BATCH], old[BATCH];
    for (int e = 1; e <= count; e += BATCH) {
        for (int i = 0; i < BATCH; i++) {
            int at = min(e + i, count);
            int32_t token = run.token[at];
            bool fresh = token != run.token[at - 1] && token != after;
            row[i] = load<W>(dx, (size_t)run.order[at] * C + c);
            old[i] = fresh ? load<W>(dw, (size_t)token * C + c) : zeros<W>();
        }
        for (int i = 0; i < BATCH && e + i <= count; i++) {
            int32_t token = run.token[e + i];
            if (e + i == 1 || token != run.token[e + i - 1]) sum = old[i];
            for (int j = 0; j < W; j++) sum.at[j] += row[i].at[j];
            if (e + i < count && token == run.token[e + i + 1]) continue;
            if (token == before || token == after)
                store(edges, (2 * (size_t)blockIdx.x + (token == before ? 0 : 1)) * C + c, sum);
            else
                store(dw, (size_t)token * C + c, sum);
        }
    }
}

template <int W>
static __global__ void sum_kernel(real *dw, real *edges, Sorted s, const real *dx, int N, int C)
{
    __shared__ Run run;
    int from = (int)blockIdx.x * RUN, count = min((int)RUN, N - from);
    for (int i = (int)threadIdx.x; i < RUN + 2; i += (int)blockDim.x) {
        int at = from + i - 1;
        run.order[i] = at >= 0 && at < N ? s.order[at] : -1;
        run.token[i] = at >= 0 && at < N ? s.token[at] : -1;
    }
    __syncthreads();
    for (int c = (int)threadIdx.x * W; c < C; c += (int)blockDim.x * W)
        sum_column<W>(dw, edges, dx, run, count, (size_t)C, (size_t)c);
}

/* First of the blocks after `from` that does not begin with the token: they are sorted. */
__device__ inline int last_block(const Sorted &s, int32_t token, int from, int blocks)
{
    int low = from + 1, high = blocks;
    while (low < high) {
        int middle = (low + high) / 2;
        if (s.token[(size_t)middle * RUN] == token)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

/* The block of a token that begins in this run and goes on beyond it adds its parts. */
template <int W>
static __global__ void edges_kernel(real *dw, const real *edges, Sorted s, int N, int C, int blocks)
{
    int block = (int)blockIdx.x, next = (block + 1) * RUN;
    if (next >= N) return;
    int32_t token = s.token[next];
    if (s.token[next - 1] != token || (block > 0 && s.token[block * RUN - 1] == token)) return;
    int end = last_block(s, token, block, blocks);
    for (int c = (int)threadIdx.x * W; c < C; c += (int)blockDim.x * W) {
        size_t to = (size_t)token * (size_t)C + (size_t)c, from = (size_t)c;
        Pack<W> sum = load<W>(dw, to);
#pragma unroll 4
        for (int k = block; k < end; k++) {
            size_t part = 2 * (size_t)k + (k == block ? 1 : 0);
            Pack<W> x = load<W>(edges, part * (size_t)C + from);
            for (int j = 0; j < W; j++) sum.at[j] += x.at[j];
        }
        store(dw, to, sum);
    }
}

static void sort_tokens(Backend *be, Sorted s, int32_t *counts, int parts, int part,
                        const int32_t *tokens, int N)
{
    unsigned blocks = blocks_for((size_t)N, BLOCK);
    launch(be, count_kernel, dim3(blocks, (unsigned)parts), BLOCK, 0, counts, tokens, N, part);
    launch(be, place_kernel, blocks, BLOCK, 0, s, counts, parts, tokens, N);
}

void KERNEL(embed_backward)(Backend *be, real *dw, const int32_t *tokens, const real *dx, int N,
                            int C)
{
    if (N <= 0) return;
    int blocks = (N + RUN - 1) / RUN, tiles = (N + TILE - 1) / TILE;
    int wanted = (4 * cuda_processors(be) * BLOCK + N - 1) / N; /* parts that fill the device */
    int part = (tiles + min_int(wanted, tiles) - 1) / min_int(wanted, tiles) * TILE;
    int parts = (N + part - 1) / part;
    size_t edge_bytes = 2 * (size_t)blocks * (size_t)C * sizeof *dw;
    char *scratch =
        (char *)cuda_scratch(be, edge_bytes + (size_t)(parts + 2) * (size_t)N * sizeof *tokens);
    real *edges = (real *)scratch;
    int32_t *counts = (int32_t *)(scratch + edge_bytes);
    Sorted s = {counts + (size_t)parts * (size_t)N, counts + (size_t)(parts + 1) * (size_t)N};
    sort_tokens(be, s, counts, parts, part, tokens, N);
    bool packs = aligned(dw, dx) && whole_packs(C);
    unsigned threads = threads_for((size_t)C / (packs ? WIDE : 1));
    launch(be, packs ? sum_kernel<WIDE> : sum_kernel<1>, (unsigned)blocks, threads, 0, dw, edges, s,
           dx, N, C);
    launch(be, packs ? edges_kernel<WIDE> : edges_kernel<1>, (unsigned)blocks, threads, 0, dw,
           edges, s, N, C, blocks);
}
