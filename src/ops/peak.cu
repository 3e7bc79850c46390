/* What this GPU attains at best: products in registers, and streams of memory too long for its
 * caches. Results are written only if they are what they cannot be, so that the work is not left
 * out and `out` may be of any size. */
#include "ops/pack.cuh" // defines: Pack, WIDE, load, store, walk_start, walk_step

/* Chains x = x m + c of a thread that depend on nothing but themselves: with 2048 threads of a
 * multiprocessor, far more than its units times their latency. */
enum { CHAINS = 8, BLOCKS_EACH = 8, STREAMS_EACH = 16 };

static __global__ void __launch_bounds__(BLOCK)
    chains_kernel(real *out, int64_t rounds, real m, real c)
{
    real x[CHAINS], sum = 0;
    for (int i = 0; i < CHAINS; i++) x[i] = c * (real)(i + (int)threadIdx.x);
#pragma unroll 4
    for (int64_t round = 0; round < rounds; round++)
        for (int i = 0; i < CHAINS; i++) x[i] = x[i] * m + c;
    for (int i = 0; i < CHAINS; i++) sum += x[i];
    if (sum == (real)-1) *out = sum;
}

void KERNEL(peak_products)(Backend *be, double *flops, real *out, int64_t rounds)
{
    unsigned blocks = (unsigned)cuda_processors(be) * BLOCKS_EACH;
    *flops = 2.0 * CHAINS * (double)rounds * blocks * BLOCK;
    launch(be, chains_kernel, blocks, BLOCK, 0, out, rounds, (real)0.999, (real)0.001);
}

static __global__ void read_kernel(real *out, const real *b, size_t packs)
{
    real sum = 0;
#pragma unroll 4
    for (size_t i = walk_start(); i < packs; i += walk_step()) {
        Pack<WIDE> x = load<WIDE>(b, i * WIDE);
        for (int j = 0; j < WIDE; j++) sum += x.at[j];
    }
    if (sum == (real)-1e30) *out = sum;
}

static __global__ void copy_kernel(real *a, const real *b, size_t packs)
{
    for (size_t i = walk_start(); i < packs; i += walk_step())
        store(a, i * WIDE, load<WIDE>(b, i * WIDE));
}

static __global__ void triad_kernel(real *a, const real *b, const real *c, size_t packs)
{
    for (size_t i = walk_start(); i < packs; i += walk_step()) {
        Pack<WIDE> x = load<WIDE>(b, i * WIDE), y = load<WIDE>(c, i * WIDE);
        for (int j = 0; j < WIDE; j++) x.at[j] += (real)0.5 * y.at[j];
        store(a, i * WIDE, x);
    }
}

void KERNEL(peak_memory)(Backend *be, double *bytes, real *out, PeakMemory kind, real *a,
                         const real *b, const real *c, size_t n)
{
    size_t packs = n / PEAK_ALIGN * PEAK_ALIGN / WIDE;
    unsigned grid = (unsigned)cuda_processors(be) * STREAMS_EACH;
    *bytes = (double)packs * PACK_BYTES * (kind == PEAK_READ ? 1 : kind == PEAK_COPY ? 2 : 3);
    if (kind == PEAK_READ)
        launch(be, read_kernel, grid, BLOCK, 0, out, b, packs);
    else if (kind == PEAK_COPY)
        launch(be, copy_kernel, grid, BLOCK, 0, a, b, packs);
    else
        launch(be, triad_kernel, grid, BLOCK, 0, a, b, c, packs);
}
