/* Sums over a block and over an array, in a fixed order. */
#ifndef TTT_OPS_SUMS_CUH
#define TTT_OPS_SUMS_CUH

#include "ops/pack.cuh"

/* N sums over all threads of the block, each thread given them all. Called by the whole block. */
template <int N, typename T> __device__ inline void block_sums(T (&x)[N])
{
    __shared__ T part[N][WARP];
    int warp = (int)threadIdx.x / WARP, lane = (int)threadIdx.x % WARP;
    int warps = (int)blockDim.x / WARP;
    for (int k = 0; k < N; k++) {
        x[k] = warp_sum(x[k]);
        if (lane == 0) part[k][warp] = x[k];
    }
    __syncthreads();
    for (int k = 0; k < N; k++) x[k] = warp_sum(lane < warps ? part[k][lane] : T(0));
    __syncthreads();
}

template <typename T> __device__ inline T block_sum(T x)
{
    T sum[1] = {x};
    block_sums(sum);
    return sum[0];
}

/* A long sum is made by a first kernel, whose blocks leave one part each, and finished by whoever
 * reads the parts. Few enough that a block adds them all at once. */
enum { MOST_PARTS = 512 };

static inline unsigned parts_of(size_t n)
{
    return between(1, (n + (size_t)BLOCK * WIDE - 1) / ((size_t)BLOCK * WIDE), MOST_PARTS);
}

/* The part of <a, b> of this block, one of gridDim.x, in double, with `own` of each thread added.
 * FLIGHT packs of each array are loaded before the first is used, and have a sum each. */
template <int W>
__device__ inline double dot_part(const real *a, const real *b, size_t n, double own = 0)
{
    enum { FLIGHT = 4 };
    double sum[FLIGHT] = {own};
    size_t whole = n / W, step = walk_step();
    for (size_t i = walk_start(); i < whole; i += FLIGHT * step) {
        Pack<W> x[FLIGHT], y[FLIGHT];
        for (int k = 0; k < FLIGHT; k++) {
            size_t at = i + (size_t)k * step;
            x[k] = at < whole ? load<W>(a, at * W) : zeros<W>();
            y[k] = a == b ? x[k] : at < whole ? load<W>(b, at * W) : zeros<W>();
        }
        for (int k = 0; k < FLIGHT; k++)
            for (int j = 0; j < W; j++) sum[k] += (double)x[k].at[j] * (double)y[k].at[j];
    }
    for (size_t i = whole * W + walk_start(); i < n; i += step)
        sum[0] += (double)a[i] * (double)b[i];
    return block_sum((sum[0] + sum[1]) + (sum[2] + sum[3]));
}

/* The sum of n parts, given to every thread of the block. */
__device__ inline double parts_total(const double *part, int n)
{
    double sum = 0;
    for (int i = (int)threadIdx.x; i < n; i += (int)blockDim.x) sum += part[i];
    return block_sum(sum);
}

#endif
