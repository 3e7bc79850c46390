/* What every CUDA kernel file starts with: the table's prototypes under the suffix cuda, the way to
 * start a kernel, and sums over a block. */
#ifndef TTT_OPS_KERNEL_CUH
#define TTT_OPS_KERNEL_CUH

#include "backend/launch.cuh"

extern "C" {
#include "ops/kernel.h"
}

enum { WARP = 32, BLOCK = 256 };
#define FULL_WARP 0xffffffffu

/* Blocks for n elements, per of them a block. */
static inline unsigned blocks_for(size_t n, size_t per)
{
    return (unsigned)((n + per - 1) / per);
}

/* Blocks of a kernel that walks over n elements with a stride of its whole grid. */
static inline unsigned blocks_walking(const Backend *be, size_t n)
{
    size_t wanted = (n + BLOCK - 1) / BLOCK, most = (size_t)cuda_processors(be) * 16;
    return (unsigned)(wanted < most ? wanted : most);
}

__device__ inline size_t walk_start()
{
    return (size_t)blockIdx.x * blockDim.x + threadIdx.x;
}
__device__ inline size_t walk_step()
{
    return (size_t)gridDim.x * blockDim.x;
}

/* Whether this block is the last of `count` to call, and sees what all of them wrote before. done:
 * one of cuda_counters. */
__device__ inline bool last_block(unsigned *done, int count)
{
    __shared__ bool last;
    __threadfence();
    __syncthreads();
    if (threadIdx.x == 0) {
        last = atomicInc(done, (unsigned)count - 1) == (unsigned)count - 1;
        __threadfence(); /* before the barrier, so that it holds for all threads */
    }
    __syncthreads();
    return last;
}

template <typename T> __device__ inline T warp_sum(T x)
{
    for (int lane = WARP / 2; lane > 0; lane /= 2) x += __shfl_xor_sync(FULL_WARP, x, lane);
    return x;
}
template <typename T> __device__ inline T warp_max(T x)
{
    for (int lane = WARP / 2; lane > 0; lane /= 2) {
        T other = __shfl_xor_sync(FULL_WARP, x, lane);
        x = x > other ? x : other;
    }
    return x;
}

#endif
