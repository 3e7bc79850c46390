/* Cross entropy, as in cross_entropy.c. A first kernel reads the logits and leaves the maximum and
 * the sums of each segment of a row; a second merges a row's few parts and writes the gradient over
 * the logits, or in bfloat16 to where products want it. Rows go in groups whose logits the second
 * level cache keeps in between, so that device memory moves each logit in once and out once: 8
 * bytes in float, with tangents 16; 6 and 12 where the gradient is a bfloat16. */
#include "ops/row.cuh"  // defines: RowPart, SEGMENT, segments_of, row_part_kernel, row_merge
#include "ops/sums.cuh" // defines: block_sum

enum { GROUP_BYTES = 24 << 20, MOST_ROWS = 1 << 15 }; /* half of an H100's cache; of a grid */

struct Rows {
    Dual z, seed;
    OutDual dz;
    real *nll;
    const int32_t *target;
    const RowPart *part;
    int V, segments, count;
};

__device__ inline void write_nll(const Rows &k, size_t n, RowPart row)
{
    double at = (double)k.z.v[n * (size_t)k.V + (size_t)k.target[n]];
    k.nll[n] = (real)(log((double)row.sum) + (double)row.top - at);
}

/* Of rows that need no gradient: a warp takes one. */
static __global__ void nll_kernel(Rows k)
{
    size_t n = walk_start() / WARP;
    if (n >= (size_t)k.count) return;
    RowPart row = row_merge(k.part + n * (size_t)k.segments, k.segments);
    if (threadIdx.x % WARP == 0) write_nll(k, n, row);
}

/* dz = s (p - onehot); with tangents dzt = st (p - onehot) + s p (zt - mean). A block takes a
 * segment of a row; the one with the target reads it for the loss before any is overwritten. */
template <int W, bool TANGENT>
static __global__ void __launch_bounds__(BLOCK) softmax_back_kernel(Rows k)
{
    size_t n = blockIdx.y, at = n * (size_t)k.V;
    int target = k.target[n];
    RowPart row = row_merge(k.part + n * (size_t)k.segments, k.segments);
    Pack<W> x[EACH / W], t[EACH / W];
    load_segment(x, k.z.v + at, k.V, (real)-INFINITY);
    if (TANGENT) load_segment(t, k.z.t + at, k.V, 0);
    if (threadIdx.x == 0 && target / SEGMENT == (int)blockIdx.x) write_nll(k, n, row);
    __syncthreads();
    real inverse = 1 / row.sum, mean = row.along * inverse, st = k.seed.t ? k.seed.t[n] : 0;
    real s = k.seed.v ? k.seed.v[n] : TANGENT ? 0 : st;
    for (int i = 0; i < EACH / W; i++) {
        int from = segment_at<W>(i);
        if (from >= k.V) break;
        for (int j = 0; j < W; j++) {
            real p = inverse * exp_of(x[i].at[j] - row.top), hit = from + j == target ? 1 : 0;
            x[i].at[j] = s * (p - hit);
            if (TANGENT) t[i].at[j] = st * (p - hit) + s * p * (t[i].at[j] - mean);
        }
        store(k.dz.v, at + (size_t)from, x[i]);
        if (TANGENT) store(k.dz.t, at + (size_t)from, t[i]);
    }
}

template <int W, bool TANGENT> static void row_group(Backend *be, const Rows &k, RowPart *part)
{
    dim3 grid((unsigned)k.segments, (unsigned)k.count);
    launch(be, row_part_kernel<W, TANGENT>, grid, BLOCK, 0, part, k.z.v, k.z.t, k.V);
    if (TANGENT || k.seed.v || k.seed.t)
        launch(be, softmax_back_kernel<W, TANGENT>, grid, BLOCK, 0, k);
    else
        launch(be, nll_kernel, blocks_for((size_t)k.count, BLOCK / WARP), BLOCK, 0, k);
}

static void group(Backend *be, const Rows &k, RowPart *part)
{
    bool packs = aligned(k.z.v, k.z.t) && whole_packs(k.V);
    if (k.z.t && packs)
        row_group<WIDE, true>(be, k, part);
    else if (k.z.t)
        row_group<1, true>(be, k, part);
    else if (packs)
        row_group<WIDE, false>(be, k, part);
    else
        row_group<1, false>(be, k, part);
}

template <typename T> static T *ahead(T *p, size_t n)
{
    return p ? p + n : NULL;
}

void KERNEL(cross_entropy)(Backend *be, real *nll, Dual z, Dual seed, const int32_t *target, int N,
                           int V)
{
    unsigned segments = segments_of(V);
    size_t bytes = (size_t)V * sizeof(real) * (z.t ? 2 : 1);
    int most = (int)between(1, GROUP_BYTES / bytes, MOST_ROWS);
    RowPart *part = (RowPart *)cuda_scratch(be, (size_t)min_int(N, most) * segments * sizeof *part);
    for (int n = 0; n < N; n += most) {
        size_t row = (size_t)n, at = row * (size_t)V;
        Dual own = {z.v + at, ahead(z.t, at)};
        Rows k = {own,
                  {ahead(seed.v, row), ahead(seed.t, row)},
                  out_of(be, own, (size_t)min_int(most, N - n) * (size_t)V),
                  nll + row,
                  target + row,
                  part,
                  V,
                  (int)segments,
                  min_int(most, N - n)};
        group(be, k, part);
    }
}

/* ------------------------------------------------------------------------------ seeds */

/* A block takes a sequence: counts its targets, then writes. */
static __global__ void seeds_kernel(real *seeds, const int32_t *target, int M, int32_t bos,
                                    double scale)
{
    size_t at = (size_t)blockIdx.x * (size_t)M;
    int count = 0;
    for (int m = (int)threadIdx.x; m < M; m += BLOCK) count += target[at + (size_t)m] != bos;
    count = block_sum(count);
    real each = (real)(count ? scale / count : 0);
    for (int m = (int)threadIdx.x; m < M; m += BLOCK)
        seeds[at + (size_t)m] = target[at + (size_t)m] != bos ? each : 0;
}

void KERNEL(loss_seeds)(Backend *be, real *seeds, const int32_t *target, int B, int M, int32_t bos,
                        double scale)
{
    launch(be, seeds_kernel, (unsigned)B, BLOCK, 0, seeds, target, M, bos, scale);
}
