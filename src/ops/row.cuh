/* Softmax sums of long rows, cut into segments that blocks take: each segment's maximum and its sum
 * of exponentials against that, merged in order by whoever reads them. A thread holds its elements
 * of a segment in registers, so that they are read once. */
#ifndef TTT_OPS_ROW_CUH
#define TTT_OPS_ROW_CUH

#include "ops/pack.cuh" // defines: Pack, load, exp_of

enum { EACH = 16, SEGMENT = BLOCK * EACH }; /* elements of a thread, of a block */

static inline unsigned segments_of(int V)
{
    return blocks_for((size_t)V, SEGMENT);
}

/* Of a segment or a row: max z, sum exp(z - max), and sum exp(z - max) zt. */
struct RowPart {
    real top, sum, along;
};

/* A maximum to subtract: where all of a part is -inf, its exponentials shall be 0, not NaN. */
template <typename T> __device__ inline T safe_top(T top)
{
    return top == (T)-INFINITY ? T(0) : top;
}

__device__ inline RowPart warp_merge(RowPart x)
{
    real top = warp_max(x.top), factor = exp_of(x.top - safe_top(top));
    return {top, warp_sum(x.sum * factor), warp_sum(x.along * factor)};
}

/* Element of a segment that pack `i` of this thread begins with. */
template <int W> __device__ inline int segment_at(int i)
{
    return (int)blockIdx.x * SEGMENT + (i * BLOCK + (int)threadIdx.x) * W;
}

/* This thread's elements of row z; `beyond` past its end. */
template <int W>
__device__ inline void load_segment(Pack<W> (&x)[EACH / W], const real *z, int V, real beyond)
{
    for (int i = 0; i < EACH / W; i++) {
        int at = segment_at<W>(i);
        if (at < V)
            x[i] = load<W>(z, (size_t)at);
        else
            for (int j = 0; j < W; j++) x[i].at[j] = beyond;
    }
}

/* part (gridDim.y, gridDim.x): of segment blockIdx.x of row blockIdx.y, by a block. */
template <int W, bool TANGENT>
__device__ inline void row_part(RowPart *part, const real *z, const real *zt, int V)
{
    __shared__ RowPart warps[BLOCK / WARP];
    int lane = (int)threadIdx.x % WARP, warp = (int)threadIdx.x / WARP;
    size_t row = (size_t)blockIdx.y * (size_t)V;
    Pack<W> x[EACH / W], t[EACH / W];
    load_segment(x, z + row, V, (real)-INFINITY);
    if (TANGENT) load_segment(t, zt + row, V, 0);
    RowPart own = {(real)-INFINITY, 0, 0};
    for (int i = 0; i < EACH / W; i++)
        for (int j = 0; j < W; j++) own.top = x[i].at[j] > own.top ? x[i].at[j] : own.top;
    for (int i = 0; i < EACH / W; i++)
        for (int j = 0; j < W; j++) {
            real e = exp_of(x[i].at[j] - safe_top(own.top));
            own.sum += e;
            if (TANGENT) own.along += e * t[i].at[j];
        }
    own = warp_merge(own);
    if (lane == 0) warps[warp] = own;
    __syncthreads();
    if (warp == 0) {
        RowPart none = {(real)-INFINITY, 0, 0};
        own = warp_merge(lane < BLOCK / WARP ? warps[lane] : none);
        if (lane == 0) part[(size_t)blockIdx.y * gridDim.x + blockIdx.x] = own;
    }
}

template <int W, bool TANGENT>
static __global__ void __launch_bounds__(BLOCK, 2)
    row_part_kernel(RowPart *part, const real *z, const real *zt, int V)
{
    row_part<W, TANGENT>(part, z, zt, V);
}

/* A row's parts, merged by each warp for itself; every lane has the result. */
__device__ inline RowPart row_merge(const RowPart *part, int n)
{
    int lane = (int)threadIdx.x % WARP;
    RowPart row = {(real)-INFINITY, 0, 0};
    for (int i = lane; i < n; i += WARP) {
        RowPart x = part[i];
        real top = x.top > row.top ? x.top : row.top;
        real keep = exp_of(row.top - safe_top(top)), factor = exp_of(x.top - safe_top(top));
        row = {top, row.sum * keep + x.sum * factor, row.along * keep + x.along * factor};
    }
    return warp_merge(row);
}

#endif
