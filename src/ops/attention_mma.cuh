/* Inside of attention_tc.cu: tiles of bfloat16 in shared memory, and products of them by one warp.
 *
 * A tile has rows of D elements without padding; the 16-byte chunks of row r are stored in the
 * order c ^ (r % 8), so that the eight rows that ldmatrix reads of one chunk, and the eight chunks
 * that a copy writes of one row, lie in different banks.
 *
 * A warp has two blocks of 16 rows (u = 0, 1) of its left operands, so that what it reads of a
 * right operand serves two products: shared memory gives 128 bytes a cycle, one product alone would
 * ask for about 160 at the rate of mma. Without tangents they are 32 neighbouring rows; with
 * tangents the value and the tangent of the same 16. */
#ifndef TTT_OPS_ATTENTION_MMA_CUH
#define TTT_OPS_ATTENTION_MMA_CUH

#include "ops/kernel.cuh"
#include "ops/mma.cuh"

enum { TC_BLOCK = 128, TC_WARPS = TC_BLOCK / WARP };

typedef unsigned short Bits; /* a bfloat16 */

__device__ inline int lane_id()
{
    return (int)threadIdx.x % WARP;
}
__device__ inline int warp_id()
{
    return (int)threadIdx.x / WARP;
}

/* Of a fragment of sums: this thread's row (and 8 below), its column (and the next). */
__device__ inline int sum_row()
{
    return lane_id() / 4;
}
__device__ inline int sum_col()
{
    return lane_id() % 4 * 2;
}

/* x, of which the compiler knows nothing: what follows from it is computed where it is used, not
 * kept in registers from outside of the loop. */
__device__ inline int again(int x)
{
    asm volatile("" : "+r"(x));
    return x;
}

/* to (ROWS, D) = n rows, `step` apart; zeros below. All threads of the block, each one chunk of
 * every STEP-th row; the caller commits and waits. */
template <int D, int ROWS>
__device__ inline void copy_tile(Bits *to, const Bits *from, size_t step, int n)
{
    constexpr int CHUNKS = D / 8, STEP = TC_BLOCK / CHUNKS;
    static_assert(STEP % 8 == 0 && ROWS % STEP == 0, "rows of a thread have one order of chunks");
    int row = (int)threadIdx.x / CHUNKS, chunk = (int)threadIdx.x % CHUNKS;
    to += again(row * D + ((chunk ^ (row & 7)) << 3));
    from += (size_t)row * step + (size_t)(chunk * 8);
#pragma unroll
    for (int i = 0; i < ROWS; i += STEP)
        cp_async16(to + i * D, from + (size_t)i * step, row + i < n);
}

/* Where this lane points in a block of 16 rows: at row `r` of it, chunk 2 k + c with c 0 or 1. Rows
 * of tiles begin at multiples of 8, so that r alone decides the order of chunks. */
template <int D> __device__ inline int lane_at(int r, int c, int k)
{
    return again(r * D + ((c ^ (r & 7)) << 3)) ^ (k << 4);
}

/* a: rows row..row+15, columns 16 k.. of a tile */
template <int D> __device__ inline void load_a(unsigned a[4], const Bits *tile, int row, int k)
{
    int lane = lane_id();
    ldmatrix_x4(a, tile + row * D + lane_at<D>(lane % 16, lane / 16, k));
}

/* b of a transposed tile: columns are its rows row..row+15 (two fragments), rows its columns 16 k..
 */
template <int D> __device__ inline void load_b(unsigned b[4], const Bits *tile, int row, int k)
{
    int lane = lane_id();
    ldmatrix_x4(b, tile + row * D + lane_at<D>(lane / 16 * 8 + lane % 8, lane / 8 % 2, k));
}

/* b of a tile as it lies: rows are its rows row..row+15, columns its columns 16 j.. (two fragments)
 */
template <int D> __device__ inline void load_b_rows(unsigned b[4], const Bits *tile, int row, int j)
{
    int lane = lane_id();
    ldmatrix_x4_trans(b, tile + row * D + lane_at<D>(lane % 16, lane / 16, j));
}

/* d (16, 16) += a b */
__device__ inline void mma_pair(float (*d)[4], const unsigned a[4], const unsigned b[4])
{
    mma_m16n8k16_bf16(d[0], a, b);
    mma_m16n8k16_bf16(d[1], a, b + 2);
}

/* m[u] (16, 8 N) += a[u] tile^T over rows `row`.. of the tile; a: fragments (D / 16) of each u */
template <int D, int U, int N, class Left>
__device__ inline void add_dots_mma(float (*m)[N][4], const Left &left, const Bits *tile, int row)
{
#pragma unroll
    for (int k = 0; k < D / 16; k++) {
        unsigned a[U][4], b[4];
#pragma unroll
        for (int u = 0; u < U; u++) left.load(a[u], u, k);
#pragma unroll
        for (int j = 0; j < N / 2; j++) {
            load_b<D>(b, tile, row + 16 * j, k);
#pragma unroll
            for (int u = 0; u < U; u++) mma_pair(m[u] + 2 * j, a[u], b);
        }
    }
}

/* Sums of scores, rounded, as left operands: (16, 8 N) to N / 2 fragments. */
template <int N> __device__ inline void round_sums(unsigned (*to)[4], const float (*m)[4])
{
#pragma unroll
    for (int j = 0; j < N / 2; j++)
#pragma unroll
        for (int i = 0; i < 4; i++) {
            const float *pair = m[2 * j + i / 2] + i % 2 * 2;
            to[j][i] = pack_bf16(pair[0], pair[1]);
        }
}

/* sum[u] (16, COLS) += p[u] (16, 8 N) times rows `row`.. of the tile, its columns from 16 col on */
template <int D, int COLS, int U, int N>
__device__ inline void add_rows_mma(float (*sum)[COLS / 8][4], const unsigned (*p)[N / 2][4],
                                    const Bits *tile, int row, int col)
{
#pragma unroll
    for (int k = 0; k < N / 2; k++)
#pragma unroll
        for (int j = 0; j < COLS / 16; j++) {
            unsigned b[4];
            load_b_rows<D>(b, tile, row + 16 * k, col + j);
#pragma unroll
            for (int u = 0; u < U; u++) mma_pair(sum[u] + 2 * j, p[u][k], b);
        }
}

template <int U, int N> __device__ inline void clear_mma(float (*m)[N][4])
{
#pragma unroll
    for (int u = 0; u < U; u++)
#pragma unroll
        for (int j = 0; j < N; j++)
#pragma unroll
            for (int i = 0; i < 4; i++) m[u][j][i] = 0;
}

/* Over the four threads that share a row of sums. */
__device__ inline float quad_sum(float x)
{
    x += __shfl_xor_sync(FULL_WARP, x, 1);
    return x + __shfl_xor_sync(FULL_WARP, x, 2);
}
__device__ inline float quad_max(float x)
{
    x = fmaxf(x, __shfl_xor_sync(FULL_WARP, x, 1));
    return fmaxf(x, __shfl_xor_sync(FULL_WARP, x, 2));
}

#endif
