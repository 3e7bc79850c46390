/* log sum exp(z) of a long row: blocks leave the maximum and sum of a segment each; a warp of the
 * last one merges them in double. 4 bytes an element in float. */
#include "ops/row.cuh" // defines: RowPart, segments_of, row_part, safe_top

__device__ inline void put_log_sum(double *out, const RowPart *part, int n)
{
    double top = -INFINITY, total = 0;
    for (int i = (int)threadIdx.x; i < n; i += WARP)
        top = (double)part[i].top > top ? (double)part[i].top : top;
    top = warp_max(top);
    for (int i = (int)threadIdx.x; i < n; i += WARP)
        total += exp((double)part[i].top - safe_top(top)) * (double)part[i].sum;
    total = warp_sum(total);
    if (threadIdx.x == 0) *out = top + log(total);
}

template <int W>
static __global__ void __launch_bounds__(BLOCK, 2)
    log_sum_kernel(double *out, RowPart *part, const real *z, int V, unsigned *done)
{
    row_part<W, false>(part, z, NULL, V);
    if (last_block(done, (int)gridDim.x) && threadIdx.x < WARP)
        put_log_sum(out, part, (int)gridDim.x);
}

void KERNEL(log_sum_exp)(Backend *be, double *out, const real *z, int V)
{
    unsigned segments = segments_of(V);
    RowPart *part = (RowPart *)cuda_scratch(be, segments * sizeof *part);
    bool packs = aligned(z) && whole_packs(V);
    launch(be, packs ? log_sum_kernel<WIDE> : log_sum_kernel<1>, segments, BLOCK, 0, out, part, z,
           V, cuda_counters(be));
}
