/* Sum of squares, and the factor of clipping by it: the global norm never leaves the device.
 * sum_squares reads its array once; 512 blocks leave a part each, a last block adds them. */
#include "ops/sums.cuh" // defines: dot_part, parts_of, parts_total

template <int W>
static __global__ void __launch_bounds__(BLOCK, 2)
    squares_kernel(double *part, const real *x, size_t n)
{
    double sum = dot_part<W>(x, x, n);
    if (threadIdx.x == 0) part[blockIdx.x] = sum;
}

static __global__ void total_kernel(double *out, const double *part, int n)
{
    double sum = parts_total(part, n);
    if (threadIdx.x == 0) *out = sum;
}

void KERNEL(sum_squares)(Backend *be, double *out, const real *x, size_t n)
{
    unsigned parts = parts_of(n);
    double *part = (double *)cuda_scratch(be, parts * sizeof *part);
    launch(be, aligned(x) ? squares_kernel<WIDE> : squares_kernel<1>, parts, BLOCK, 0, part, x, n);
    launch(be, total_kernel, 1, BLOCK, 0, out, part, (int)parts);
}

static __global__ void clip_scale_kernel(double *scale, double *norm, const double *sums, int n,
                                         double clip)
{
    double length = sqrt(parts_total(sums, n));
    if (threadIdx.x != 0) return;
    *norm = length;
    *scale = !isfinite(length) ? length - length : clip > 0 && length >= clip ? clip / length : 1;
}

void KERNEL(clip_scale)(Backend *be, double *scale, double *norm, const double *sums, int n,
                        double clip)
{
    launch(be, clip_scale_kernel, 1, WARP, 0, scale, norm, sums, n, clip);
}
