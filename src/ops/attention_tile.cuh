/* Inside of attention.cu: tiles in shared memory and their products on the ordinary units, in
 * `real`. A block is 16 x 16 threads; of a product of T rows and n columns, thread (ty, tx) has
 * rows ty + 16 i and columns tx + 16 j. So the 16 threads of a row are neighbours in one warp, and
 * with rows an odd number of elements apart no two of them meet in a bank. */
#ifndef TTT_OPS_ATTENTION_TILE_CUH
#define TTT_OPS_ATTENTION_TILE_CUH

#include "ops/attention_pass.cuh"

enum { SIDE = 16 };

/* For heads of up to WIDTH: tiles of as many rows as registers and shared memory hold (float, D 64:
 * 100 KB of a multiprocessor's 227; double, D 256: 135 KB). */
template <int WIDTH> struct Plain {
    static constexpr int bytes = WIDTH * (int)sizeof(real);
    static constexpr int T = sizeof(real) == 4 && WIDTH <= 64 ? 64 : bytes <= 512 ? 32 : 16;
    static constexpr int R = T / SIDE, N = WIDTH / SIDE; /* rows and columns of a thread */
    static constexpr int ROW = WIDTH + 1, COL = T + 1;   /* distance of rows in shared memory */
    static constexpr size_t shared = sizeof(real) * (4 * T * ROW + 2 * T * COL);
};

/* Two tiles of rows of queries, two of keys, two of scores; _t for the tangents. */
struct Tiles {
    real *x, *x_t, *y, *y_t, *p, *p_t;
};

template <class P> __device__ inline Tiles tiles_in(real *shared)
{
    constexpr int rows = P::T * P::ROW;
    real *p = shared + 4 * rows;
    return {shared, shared + rows, shared + 2 * rows, shared + 3 * rows, p, p + P::T * P::COL};
}

/* to (T, ROW) = scale n rows of D, step apart; zeros elsewhere up to the width. */
template <class P>
__device__ inline void load_rows(real *to, const real *from, int n, int D, size_t step, real scale)
{
    constexpr int width = P::ROW - 1;
    for (int i = (int)threadIdx.x; i < P::T * width; i += SIDE * SIDE) {
        int row = i / width, d = i % width;
        bool there = row < n && d < D;
        to[row * P::ROW + d] = there ? scale * from[(size_t)row * step + (size_t)d] : (real)0;
    }
}

__device__ inline int thread_row()
{
    return (int)threadIdx.x / SIDE;
}
__device__ inline int thread_col()
{
    return (int)threadIdx.x % SIDE;
}

/* m += x y^T, x and y (T, D) */
template <class P>
__device__ inline void add_dots(real (*m)[P::R], const real *x, const real *y, int D)
{
    x += thread_row() * P::ROW;
    y += thread_col() * P::ROW;
    for (int d = 0; d < D; d++) {
        real a[P::R], b[P::R];
#pragma unroll
        for (int i = 0; i < P::R; i++) a[i] = x[i * SIDE * P::ROW + d];
#pragma unroll
        for (int j = 0; j < P::R; j++) b[j] = y[j * SIDE * P::ROW + d];
#pragma unroll
        for (int i = 0; i < P::R; i++)
#pragma unroll
            for (int j = 0; j < P::R; j++) m[i][j] += a[i] * b[j];
    }
}

/* sum (T, width) += m (T, n) x (n, width) */
template <class P>
__device__ inline void add_weighed(real (*sum)[P::N], const real *m, const real *x, int n)
{
    m += thread_row() * P::COL;
    x += thread_col();
    for (int j = 0; j < n; j++) {
        real a[P::R];
#pragma unroll
        for (int i = 0; i < P::R; i++) a[i] = m[i * SIDE * P::COL + j];
#pragma unroll
        for (int d = 0; d < P::N; d++) {
            real b = x[j * P::ROW + d * SIDE];
#pragma unroll
            for (int i = 0; i < P::R; i++) sum[i][d] += a[i] * b;
        }
    }
}

/* Scores from registers to a tile that all threads read. */
template <class P> __device__ inline void put_scores(real *to, const real (*m)[P::R])
{
    to += thread_row() * P::COL + thread_col();
#pragma unroll
    for (int i = 0; i < P::R; i++)
#pragma unroll
        for (int j = 0; j < P::R; j++) to[i * SIDE * P::COL + j * SIDE] = m[i][j];
}

/* n rows of D, step apart, = or += scale sum */
template <class P>
__device__ inline void store_rows(real *to, const real (*sum)[P::N], int n, int D, size_t step,
                                  real scale, bool add)
{
#pragma unroll
    for (int i = 0; i < P::R; i++) {
        int row = thread_row() + i * SIDE;
        if (row >= n) break;
#pragma unroll
        for (int d = 0; d < P::N; d++) {
            int col = thread_col() + d * SIDE;
            if (col >= D) break;
            real *at = to + (size_t)row * step + (size_t)col;
            *at = add ? *at + scale * sum[i][d] : scale * sum[i][d];
        }
    }
}

/* Over the 16 threads that share rows. */
__device__ inline real row_sum(real x)
{
    for (int lane = SIDE / 2; lane > 0; lane /= 2) x += __shfl_xor_sync(FULL_WARP, x, lane);
    return x;
}
__device__ inline real row_max(real x)
{
    for (int lane = SIDE / 2; lane > 0; lane /= 2) {
        real other = __shfl_xor_sync(FULL_WARP, x, lane);
        x = x > other ? x : other;
    }
    return x;
}

#endif
