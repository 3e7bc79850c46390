/* log sum exp(z) of a long row: blocks leave the maximum and sum of a segment each, one warp merges
 * them in double. 4 bytes an element in float. */
#include "ops/row.cuh" // defines: RowPart, segments_of, row_part_kernel, safe_top

static __global__ void log_sum_kernel(double *out, const RowPart *part, int n)
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

void KERNEL(log_sum_exp)(Backend *be, double *out, const real *z, int V)
{
    unsigned segments = segments_of(V);
    RowPart *part = (RowPart *)cuda_scratch(be, segments * sizeof *part);
    const real *none = NULL;
    bool packs = aligned(z) && whole_packs(V);
    launch(be, packs ? row_part_kernel<WIDE, false> : row_part_kernel<1, false>, segments, BLOCK, 0,
           part, z, none, V);
    launch(be, log_sum_kernel, 1, WARP, 0, out, part, (int)segments);
}
