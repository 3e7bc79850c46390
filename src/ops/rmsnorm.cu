/* RMSNorm, as derived in rmsnorm.c. All sums that a row needs are made in one pass over it, those
 * of the tangent as sums over x, g and their tangents (mean(gt h + g ht) = r mean(gt x + g xt) +
 * rt mean(g x)); a second pass finds the row in the first cache and writes. Device memory moves
 * 8 bytes an element in float forward, with tangents 16; backward 12, with tangents 24.
 *
 * A block takes a row, or, for rows as short as those of heads, a warp does. For the weight's
 * gradient a block adds its rows in shared memory, each thread the columns that are its own, and
 * leaves a part in scratch; a second kernel adds the parts in order. */
#include "ops/sums.cuh" // defines: block_sums, Pack, load, load_or_zero, store, aligned

enum { SHORT_ROW = 256, WARPS = BLOCK / WARP };
enum { MOST_SHIFTS = 32 }; /* sequences of one launch that have places of their own */

/* Param for a kernel: shifts by value. */
struct Weight {
    const real *v, *t;
    size_t step;
    bool shifted;
    ptrdiff_t shift[MOST_SHIFTS];
};

/* Where the threads that share a row begin, and how far apart they go on. */
template <bool BLOCK_ROW> struct Lanes {
    int first, count;
    __device__ Lanes()
        : first((int)threadIdx.x % (BLOCK_ROW ? BLOCK : WARP)), count(BLOCK_ROW ? BLOCK : WARP)
    {
    }
};

template <bool BLOCK_ROW, int N> __device__ inline void row_sums(real (&x)[N])
{
    if (BLOCK_ROW)
        block_sums(x);
    else
        for (int k = 0; k < N; k++) x[k] = warp_sum(x[k]);
}

struct Forward {
    Dual y, x;
    Weight w;
    int rows, R, C;
    real eps;
};

template <int W, bool BLOCK_ROW> __device__ inline void forward_row(const Forward &k, size_t n)
{
    Lanes<BLOCK_ROW> lane;
    size_t at = n * (size_t)k.C, b = n / (size_t)k.R;
    const real *x = k.x.v + at, *xt = k.y.t && k.x.t ? k.x.t + at : NULL;
    const real *w = k.w.v + (k.w.shifted ? k.w.shift[b] : (ptrdiff_t)(b * k.w.step));
    const real *wt = k.y.t && k.w.t ? k.w.t + b * k.w.step : NULL;
    real sum[2] = {0, 0};
#pragma unroll 1
    for (int c = lane.first * W; c < k.C; c += lane.count * W) {
        Pack<W> xc = load<W>(x, (size_t)c), xtc = load_or_zero<W>(xt, (size_t)c);
        for (int j = 0; j < W; j++) {
            sum[0] += xc.at[j] * xc.at[j];
            sum[1] += xc.at[j] * xtc.at[j];
        }
    }
    row_sums<BLOCK_ROW>(sum);
    real r = 1 / sqrt_of(sum[0] / (real)k.C + k.eps), rt = -r * r * r * sum[1] / (real)k.C;
#pragma unroll 1
    for (int c = lane.first * W; c < k.C; c += lane.count * W) {
        Pack<W> xc = load<W>(x, (size_t)c), xtc = load_or_zero<W>(xt, (size_t)c), y, yt;
        Pack<W> wc = load<W>(w, (size_t)c), wtc = load_or_zero<W>(wt, (size_t)c);
        for (int j = 0; j < W; j++) {
            real h = xc.at[j] * r, ht = xtc.at[j] * r + xc.at[j] * rt;
            y.at[j] = h * wc.at[j];
            yt.at[j] = ht * wc.at[j] + h * wtc.at[j];
        }
        store(k.y.v, at + (size_t)c, y);
        if (k.y.t) store(k.y.t, at + (size_t)c, yt);
    }
}

template <int W, bool BLOCK_ROW>
static __global__ void __launch_bounds__(BLOCK) norm_kernel(const __grid_constant__ Forward k)
{
    if (BLOCK_ROW) {
        forward_row<W, true>(k, blockIdx.x);
    } else {
        size_t n = (size_t)blockIdx.x * WARPS + threadIdx.x / WARP;
        if (n < (size_t)k.rows) forward_row<W, false>(k, n);
    }
}

static void forward_rows(Backend *be, const Forward &k, bool packs)
{
    if (k.C > SHORT_ROW)
        launch(be, packs ? norm_kernel<WIDE, true> : norm_kernel<1, true>, (unsigned)k.rows, BLOCK,
               0, k);
    else
        launch(be, packs ? norm_kernel<WIDE, false> : norm_kernel<1, false>,
               blocks_for((size_t)k.rows, WARPS), BLOCK, 0, k);
}

/* MOST_SHIFTS sequences from b on, each with its own place of the weight. */
static void forward_shifted(Backend *be, Forward k, const ptrdiff_t *shift, int b, int B,
                            bool packs)
{
    size_t at = (size_t)b * (size_t)k.R * (size_t)k.C;
    int count = min_int(MOST_SHIFTS, B - b);
    k.x.v += at;
    k.y.v += at;
    k.rows = count * k.R;
    k.w.shifted = true;
    for (int i = 0; i < count; i++) {
        k.w.shift[i] = shift[b + i];
        packs = packs && whole_packs(shift[b + i]);
    }
    forward_rows(be, k, packs);
}

void KERNEL(rmsnorm_forward)(Backend *be, Dual y, Dual x, Param w, int B, int R, int C, double eps)
{
    Forward k = {y, x, {w.v, w.t, w.step, false, {0}}, B * R, R, C, (real)eps};
    bool packs = aligned(y.v, y.t, x.v, x.t, w.v, w.t) && whole_packs(C) && whole_packs(w.step);
    if (!w.shift) {
        forward_rows(be, k, packs);
        return;
    }
    for (int b = 0; b < B; b += MOST_SHIFTS) forward_shifted(be, k, w.shift, b, B, packs);
}

/* ------------------------------------------------------------------------------ gradient */

/* One call: groups of rows that share a copy of the weight and of its gradient. A group's rows are
 * split over gridDim.x blocks. */
struct Backward {
    Dual dx, dy, x;
    const real *w, *wt;
    size_t w_step;
    real *parts; /* (groups, gridDim.x, 2, C), value and tangent of dw; or NULL */
    bool dw, dwt, add;
    int rows, C; /* of a group */
    real eps;
};

/* What a thread has of a row's inputs: x, dy, w and their tangents. */
template <int W> struct Inputs {
    Pack<W> x, xt, g, gt, dy, dyt;

    template <bool DUAL>
    __device__ static Inputs read(const Backward &k, size_t at, size_t group, size_t c)
    {
        Inputs in;
        Pack<W> w = load<W>(k.w, group * k.w_step + c);
        in.x = load<W>(k.x.v, at + c);
        in.dy = load_or_zero<W>(k.dy.v, at + c);
        for (int j = 0; j < W; j++) in.g.at[j] = in.dy.at[j] * w.at[j];
        if (!DUAL) return in;
        in.xt = load_or_zero<W>(k.x.t, at + c);
        in.dyt = load_or_zero<W>(k.dy.t, at + c);
        Pack<W> wt = load_or_zero<W>(k.wt, group * k.w_step + c);
        for (int j = 0; j < W; j++) in.gt.at[j] = in.dyt.at[j] * w.at[j] + in.dy.at[j] * wt.at[j];
        return in;
    }
};

/* y (n) = or += d */
template <int W> __device__ inline void put(real *y, bool add, size_t i, Pack<W> d)
{
    if (add) {
        Pack<W> old = load<W>(y, i);
        for (int j = 0; j < W; j++) d.at[j] += old.at[j];
    }
    store(y, i, d);
}

/* Sums over a row, and what follows from them. */
struct RowScale {
    real r, rt, a, at;
};

template <int W, bool BLOCK_ROW, bool DUAL>
__device__ inline RowScale row_scale(const Backward &k, size_t at, size_t group)
{
    enum { XX, GX, XXT, GTX, GXT, SUMS = DUAL ? GXT + 1 : GX + 1 };
    Lanes<BLOCK_ROW> lane;
    real sum[SUMS];
    for (int i = 0; i < SUMS; i++) sum[i] = 0;
#pragma unroll 1
    for (int c = lane.first * W; c < k.C; c += lane.count * W) {
        auto in = Inputs<W>::template read<DUAL>(k, at, group, (size_t)c);
        for (int j = 0; j < W; j++) {
            sum[XX] += in.x.at[j] * in.x.at[j];
            sum[GX] += in.g.at[j] * in.x.at[j];
            if (!DUAL) continue;
            sum[XXT % SUMS] += in.x.at[j] * in.xt.at[j];
            sum[GTX % SUMS] += in.gt.at[j] * in.x.at[j];
            sum[GXT % SUMS] += in.g.at[j] * in.xt.at[j];
        }
    }
    row_sums<BLOCK_ROW>(sum);
    real C = (real)k.C, r = 1 / sqrt_of(sum[XX] / C + k.eps);
    RowScale s = {r, 0, r * sum[GX] / C, 0};
    if (!DUAL) return s;
    s.rt = -r * r * r * sum[XXT % SUMS] / C;
    s.at = (r * (sum[GTX % SUMS] + sum[GXT % SUMS]) + s.rt * sum[GX]) / C;
    return s;
}

/* One row; dw: this block's or warp's sums in shared memory, (2, C). */
template <int W, bool BLOCK_ROW, bool DUAL>
__device__ inline void backward_row(const Backward &k, size_t at, size_t group, real *dw)
{
    Lanes<BLOCK_ROW> lane;
    RowScale s = row_scale<W, BLOCK_ROW, DUAL>(k, at, group);
#pragma unroll 1
    for (int c = lane.first * W; c < k.C; c += lane.count * W) {
        auto in = Inputs<W>::template read<DUAL>(k, at, group, (size_t)c);
        Pack<W> dx, dxt, wv, wt;
        for (int j = 0; j < W; j++) {
            real h = in.x.at[j] * s.r, along = in.g.at[j] - h * s.a;
            dx.at[j] = s.r * along;
            wv.at[j] = in.dy.at[j] * h;
            if (!DUAL) continue;
            real ht = in.xt.at[j] * s.r + in.x.at[j] * s.rt;
            dxt.at[j] = s.rt * along + s.r * (in.gt.at[j] - ht * s.a - h * s.at);
            wt.at[j] = in.dyt.at[j] * h + in.dy.at[j] * ht;
        }
        if (k.dx.v) put(k.dx.v, k.add, at + (size_t)c, dx);
        if (DUAL && k.dx.t) put(k.dx.t, k.add, at + (size_t)c, dxt);
        if (k.dw) put(dw, true, (size_t)c, wv);
        if (DUAL && k.dwt) put(dw, true, (size_t)(k.C + c), wt);
    }
}

/* The part of this block: its warps' sums, where there are several, added in order. */
template <bool BLOCK_ROW> __device__ inline void leave_part(const Backward &k, const real *dw)
{
    size_t width = 2 * (size_t)k.C;
    real *part = k.parts + ((size_t)blockIdx.y * gridDim.x + blockIdx.x) * width;
    __syncthreads();
    for (size_t c = threadIdx.x; c < width; c += BLOCK) {
        real sum = 0;
        for (size_t i = 0; i < (BLOCK_ROW ? 1 : WARPS); i++) sum += dw[i * width + c];
        part[c] = sum;
    }
}

template <int W, bool BLOCK_ROW, bool DUAL>
static __global__ void __launch_bounds__(BLOCK) norm_back_kernel(const __grid_constant__ Backward k)
{
    size_t group = blockIdx.y, warp = BLOCK_ROW ? 0 : threadIdx.x / WARP;
    size_t width = 2 * (size_t)k.C, step = BLOCK_ROW ? 1 : WARPS;
    Lanes<BLOCK_ROW> lane;
    real *dw = dynamic_shared<real>() + warp * width;
    for (int c = lane.first * W; k.parts && c < k.C; c += lane.count * W)
        for (size_t half = 0; half < width; half += (size_t)k.C)
            store(dw, half + (size_t)c, zeros<W>()); /* its own columns, which no other adds to */
    size_t from = (size_t)k.rows * blockIdx.x / gridDim.x;
    size_t to = (size_t)k.rows * (blockIdx.x + 1) / gridDim.x;
    for (size_t n = from + warp; n < to; n += step)
        backward_row<W, BLOCK_ROW, DUAL>(k, (group * (size_t)k.rows + n) * (size_t)k.C, group, dw);
    if (k.parts) leave_part<BLOCK_ROW>(k, dynamic_shared<real>());
}

/* dw += its parts, in their order. A block takes 32 columns of a group, its warps take the parts in
 * turn. blockIdx.z: value, tangent. */
static __global__ void gather_kernel(Param dw, const real *parts, int count, int C)
{
    enum { SIDE = 16 };
    __shared__ real sums[SIDE][WARP];
    int lane = (int)threadIdx.x % WARP, side = (int)threadIdx.x / WARP;
    int c = (int)blockIdx.x * WARP + lane;
    size_t width = 2 * (size_t)C, column = blockIdx.z * (size_t)C + (size_t)c;
    const real *from = parts + (size_t)blockIdx.y * (size_t)count * width + column;
    real *to = blockIdx.z ? dw.t : dw.v, sum = 0;
    if (to && c < C)
        for (int p = side; p < count; p += SIDE) sum += from[(size_t)p * width];
    sums[side][lane] = sum;
    __syncthreads();
    if (side > 0 || !to || c >= C) return;
    to += (size_t)blockIdx.y * dw.step + (size_t)c;
    for (int i = 1; i < SIDE; i++) sum += sums[i][lane];
    *to += sum;
}

template <bool BLOCK_ROW, bool DUAL>
static void backward_rows(Backend *be, const Backward &k, bool packs, dim3 grid, size_t shared)
{
    launch(be,
           packs ? norm_back_kernel<WIDE, BLOCK_ROW, DUAL> : norm_back_kernel<1, BLOCK_ROW, DUAL>,
           grid, BLOCK, shared, k);
}

static void backward_grid(Backend *be, const Backward &k, bool packs, dim3 grid)
{
    bool dual = k.dx.t || k.dwt;
    size_t sums = !k.parts ? 0 : k.C > SHORT_ROW ? 1 : WARPS;
    size_t shared = sums * 2 * (size_t)k.C * sizeof *k.parts;
    if (k.C > SHORT_ROW && dual)
        backward_rows<true, true>(be, k, packs, grid, shared);
    else if (k.C > SHORT_ROW)
        backward_rows<true, false>(be, k, packs, grid, shared);
    else if (dual)
        backward_rows<false, true>(be, k, packs, grid, shared);
    else
        backward_rows<false, false>(be, k, packs, grid, shared);
}

/* Blocks of one group: for dw few, each with several rows, as each leaves a part. */
static unsigned blocks_of_group(const Backend *be, const Backward &k, int groups)
{
    size_t step = k.C > SHORT_ROW ? 1 : WARPS, all = ((size_t)k.rows + step - 1) / step;
    if (!k.dw && !k.dwt) return (unsigned)all;
    size_t wanted = (size_t)cuda_processors(be) * (k.C > SHORT_ROW ? 2 : 4) / (size_t)groups;
    return between(1, wanted, all);
}

void KERNEL(rmsnorm_backward)(Backend *be, Dual dx, bool add, Param dw, Dual dy, Dual x, Param w,
                              int B, int R, int C, double eps)
{
    if (plain_in_tangent_slot(dy) && !x.t && !w.t) {
        dx = {dx.t, NULL};
        dw = {dw.t, NULL, dw.step, NULL};
        dy = {dy.t, NULL};
    }
    bool copies = w.step || dw.step, dual = dx.t || dw.t;
    int groups = copies ? B : 1;
    Backward k = {dx,
                  dy,
                  x,
                  w.v,
                  w.t,
                  w.step,
                  NULL,
                  dw.v != NULL,
                  dw.t != NULL,
                  add,
                  copies ? R : B * R,
                  C,
                  (real)eps};
    if (!dual) k.dy.t = k.x.t = NULL;
    unsigned blocks = blocks_of_group(be, k, groups);
    size_t parts = (size_t)groups * blocks;
    if (k.dw || k.dwt) k.parts = (real *)cuda_scratch(be, parts * 2 * (size_t)C * sizeof(real));
    bool packs = aligned(dx.v, dx.t, dy.v, dy.t, x.v, x.t, w.v, w.t) && whole_packs(C) &&
                 whole_packs(w.step);
    backward_grid(be, k, packs, dim3(blocks, (unsigned)groups));
    if (!k.parts) return;
    if (!dw.step) { /* all groups add to one gradient */
        blocks *= (unsigned)groups;
        groups = 1;
    }
    launch(be, gather_kernel, dim3(blocks_for((size_t)C, WARP), (unsigned)groups, dw.t ? 2 : 1),
           16 * WARP, 0, dw, k.parts, (int)blocks, C);
}
