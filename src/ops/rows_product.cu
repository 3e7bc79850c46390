/* y = x W or x W^T (+ y) for a few rows of x: bound by reading W, or its copy in bfloat16, once.
 * All products of a call are one launch, whose blocks are shared out among them: a matrix of
 * generation alone is too small to fill a GPU, and each launch waits for the one before. Loads of W
 * are packs of WIDE elements; several of them are in flight before the first is used, as a matrix
 * of generation is read in about the time that one load takes. Rows of x come from the first cache.
 *
 * W (N, K): SIDE outputs at a time, so that one load of x serves SIDE of W; one warp or, where
 * outputs are few, several share an output's sum. W (K, N): a block takes COLUMNS outputs, its
 * threads all rows of W in turn; they are many where blocks are few; what comes behind them is the
 * last block's (rows_end.cuh). Sums are added in a fixed order. */
#include <string.h>

#include "ops/pack.cuh"     // defines: Pack, load, zeros, aligned, whole_packs
#include "ops/rows_end.cuh" // defines: RowsEnd, rows_end, end_heads, end_sum

extern "C" {
#include "backend/bf16_copy.h" // defines: bf16_copy_find
}

/* Rows of x at a time; outputs of a warp; outputs of a block and packs in flight for W (K, N). */
enum { MOST_ROWS = 8, SIDE = 4, COLUMNS = 16, FLIGHT = 4 };

/* Or two of one input, whose outputs make a third: a block then has the same columns of both. */
template <typename T> struct Product {
    real *y, *y2;
    const real *x;
    const T *w, *w2; /* w2: NULL, or of the second */
    const real *norm;
    real *gated;
    RowsEnd then;
    int N, end; /* the block after its last one */
};

template <typename T> struct Products {
    Product<T> p[MOST_PRODUCTS];
    int n, R, K, row; /* row: of all, the first of these */
    bool add;
    real eps;
    unsigned *done; /* (n): blocks of each */
};
static_assert(sizeof(Products<real>) <= 4096, "what a kernel may be given");

/* A block's product, and which of that product's blocks it is. */
template <typename T> struct Place {
    const Product<T> &p;
    int block;
};

template <typename T> __device__ inline Place<T> place_of(const Products<T> &all)
{
    int i = 0, block = (int)blockIdx.x;
    while (i < all.n - 1 && block >= all.p[i].end) i++;
    return {all.p[i], i > 0 ? block - all.p[i - 1].end : block};
}

/* Shares out blocks: as many for a product as it has groups of `each` outputs. */
template <typename T> static unsigned place_blocks(Products<T> *all, int each)
{
    int end = 0;
    for (int i = 0; i < all->n; i++) all->p[i].end = end += (all->p[i].N + each - 1) / each;
    return (unsigned)end;
}

template <int W> __device__ inline Pack<W> load_weight(const real *w, size_t i)
{
    return load<W>(w, i);
}

template <int W> struct alignas(W * sizeof(uint16_t)) Halves {
    uint16_t at[W];
};

/* bfloat16 is the upper half of a float. */
template <int W> __device__ inline Pack<W> load_weight(const uint16_t *w, size_t i)
{
    Halves<W> half = *reinterpret_cast<const Halves<W> *>(w + i);
    Pack<W> x;
    for (int j = 0; j < W; j++) {
        uint32_t bits = (uint32_t)half.at[j] << 16;
        float one;
        memcpy(&one, &bits, sizeof one);
        x.at[j] = one;
    }
    return x;
}

template <typename T>
__device__ inline void put_output(const Products<T> &all, const Product<T> &p, int r, int n,
                                  real sum)
{
    if (r >= all.R || n >= p.N) return;
    real *y = p.y + (size_t)r * (size_t)p.N + (size_t)n;
    *y = all.add ? *y + sum : sum;
}

/* Threads of a block for W (K, N): more rows of x want more registers, in double most. */
template <int ROWS> struct Threads {
    static constexpr bool few = ROWS * sizeof(real) > MOST_ROWS * sizeof(float);
    static constexpr bool one = ROWS == 1 && sizeof(real) == sizeof(float);
    enum { most = one ? 1024 : few ? 256 : 512, least = 256, warps = most / WARP };
};

/* ------------------------------------------------------------------------------ W^T, W (N, K) */

/* Lanes share a row's columns with `share` - 1 other warps of the block, share a power of two. */
template <typename T, int W, int ROWS>
static __global__ void __launch_bounds__(BLOCK, Threads<ROWS>::few ? 1 : 2)
    dots_kernel(const __grid_constant__ Products<T> all, int share)
{
    enum { WARPS = BLOCK / WARP };
    __shared__ real sums[WARPS][ROWS * SIDE];
    auto [p, block] = place_of(all);
    int lane = (int)threadIdx.x % WARP, warp = (int)threadIdx.x / WARP, K = all.K;
    wait_for_earlier();
    int n = (block * (WARPS / share) + warp / share) * SIDE;
    real sum[ROWS][SIDE] = {{0}};
    for (int k = (warp % share * WARP + lane) * W; k < K; k += share * WARP * W) {
        Pack<W> w[SIDE];
        for (int i = 0; i < SIDE; i++)
            w[i] = load_weight<W>(p.w, (size_t)min(n + i, p.N - 1) * (size_t)K + (size_t)k);
        for (int r = 0; r < ROWS; r++) {
            Pack<W> x = load<W>(p.x, (size_t)min(r, all.R - 1) * (size_t)K + (size_t)k);
            for (int i = 0; i < SIDE; i++)
                for (int j = 0; j < W; j++) sum[r][i] += x.at[j] * w[i].at[j];
        }
    }
    for (int r = 0; r < ROWS; r++)
        for (int i = 0; i < SIDE; i++) {
            real whole = warp_sum(sum[r][i]);
            if (lane == 0) sums[warp][r * SIDE + i] = whole;
        }
    __syncthreads();
    int output = warp % share * WARP + lane; /* one a lane, if there are as many */
    for (; output < ROWS * SIDE; output += share * WARP) {
        real whole = 0;
        for (int i = 0; i < share; i++) whole += sums[warp / share * share + i][output];
        put_output(all, p, output / SIDE, n + output % SIDE, whole);
    }
}

template <typename T, int W, int ROWS> static void dots(Backend *be, Products<T> *all)
{
    int groups = (int)place_blocks(all, SIDE), share = 1, wanted = cuda_processors(be) * 16;
    while (share < BLOCK / WARP && groups * share < wanted && share * WARP * W < all->K) share *= 2;
    unsigned blocks = place_blocks(all, BLOCK / WARP / share * SIDE);
    launch_early(be, dots_kernel<T, W, ROWS>, blocks, BLOCK, 0, *all, share);
}

/* ------------------------------------------------------------------------------ W (K, N) */

/* What the warps of a block have summed: outputs, of a second matrix too, and squares of x. */
template <int ROWS> struct ColumnSums {
    real y[Threads<ROWS>::warps][ROWS][2 * COLUMNS], square[Threads<ROWS>::warps][ROWS];
};

/* Sums of a warp's threads that have the same columns, `lanes` of them side by side. */
__device__ inline real column_sum(real x, int lanes)
{
    for (int lane = lanes; lane < WARP; lane *= 2) x += __shfl_xor_sync(FULL_WARP, x, lane);
    return x;
}

template <typename S> __device__ inline real over_warps(const S &of_warp)
{
    real sum = 0;
    for (int warp = 0; warp < (int)blockDim.x / WARP; warp++) sum += of_warp(warp);
    return sum;
}

/* Row r of the block's outputs. Its norm is a factor of all: y = sum_k x_k r g_k W_kn. */
template <typename T, int ROWS>
__device__ inline void put_column(const Products<T> &all, const Product<T> &p,
                                  const ColumnSums<ROWS> &sums, int r, int column, int n)
{
    real y = over_warps([&](int warp) { return sums.y[warp][r][column]; });
    real scale = 1;
    if (p.norm) {
        real squares = over_warps([&](int warp) { return sums.square[warp][r]; });
        scale = 1 / sqrt_of(squares / (real)all.K + all.eps);
    }
    if (!p.w2) {
        put_output(all, p, r, n, scale * y);
        return;
    }
    if (r >= all.R || n >= p.N) return;
    real y2 = scale * over_warps([&](int warp) { return sums.y[warp][r][COLUMNS + column]; });
    size_t at = (size_t)r * (size_t)p.N + (size_t)n;
    y *= scale;
    p.y[at] = y;
    p.y2[at] = y2;
    p.gated[at] = y / (1 + exp_of(-y)) * y2;
}

/* The block's columns of W, while the kernel before this one ends. */
template <typename T> __device__ inline void ask_for_columns(const T *w, int n, int N, int K)
{
    constexpr int each = 32 / sizeof(T);
    for (int k = (int)threadIdx.x; k < K; k += (int)blockDim.x)
        for (int i = n; i < min(n + COLUMNS, N); i += each)
            ask_for(w + (size_t)k * (size_t)N + (size_t)i);
}

/* What comes behind, if this block is its product's last. room: (warps), shared */
template <typename T>
__device__ inline void finish_rows(const Products<T> &all, const Product<T> &p, real *room)
{
    int product = (int)(&p - all.p), blocks = p.end - (product > 0 ? all.p[product - 1].end : 0);
    if (!last_block(all.done + product, blocks)) return;
    if (p.then.plus)
        end_sum(p.then, p.y, all.row, all.R, p.N, room);
    else
        end_heads(p.then, p.y, all.row, all.R);
}

template <typename T, int W, int ROWS>
static __global__ void __launch_bounds__(Threads<ROWS>::most, 1)
    columns_kernel(const __grid_constant__ Products<T> all)
{
    __shared__ ColumnSums<ROWS> sums;
    auto [p, block] = place_of(all);
    int lanes = COLUMNS / W * (p.w2 ? 2 : 1), lane = (int)threadIdx.x % lanes, K = all.K;
    int first = (int)threadIdx.x / lanes, step = (int)blockDim.x / lanes;
    int n = block * COLUMNS + lane * W % COLUMNS;
    const T *weight = lane * W < COLUMNS ? p.w : p.w2;
    real sum[ROWS][W] = {{0}}, square[ROWS] = {0};
    ask_for_columns(p.w, block * COLUMNS, p.N, K);
    if (p.w2) ask_for_columns(p.w2, block * COLUMNS, p.N, K);
    wait_for_earlier();
    for (int k = first; k < K && n < p.N; k += FLIGHT * step) {
        Pack<W> w[FLIGHT];
        real x[FLIGHT][ROWS], g[FLIGHT];
        for (int i = 0; i < FLIGHT; i++) {
            int row = k + i * step;
            w[i] = row < K ? load_weight<W>(weight, (size_t)row * (size_t)p.N + (size_t)n)
                           : zeros<W>();
            g[i] = row < K && p.norm ? p.norm[row] : 1;
            for (int r = 0; r < ROWS; r++)
                x[i][r] = row < K ? p.x[(size_t)min(r, all.R - 1) * (size_t)K + (size_t)row] : 0;
        }
        for (int i = 0; i < FLIGHT; i++)
            for (int r = 0; r < ROWS; r++) {
                square[r] += x[i][r] * x[i][r];
                for (int j = 0; j < W; j++) sum[r][j] += x[i][r] * g[i] * w[i].at[j];
            }
    }
    int warp = (int)threadIdx.x / WARP, here = (int)threadIdx.x % WARP;
    for (int r = 0; r < ROWS; r++) {
        real squares = column_sum(square[r], lanes);
        if (here == 0) sums.square[warp][r] = squares;
        for (int j = 0; j < W; j++) {
            real whole = column_sum(sum[r][j], lanes);
            if (here < lanes) sums.y[warp][r][here * W + j] = whole;
        }
    }
    __syncthreads();
    for (int i = (int)threadIdx.x; i < ROWS * COLUMNS; i += (int)blockDim.x)
        put_column(all, p, sums, i / COLUMNS, i % COLUMNS, block * COLUMNS + i % COLUMNS);
    if (p.then.to) finish_rows(all, p, &sums.square[0][0]);
}

template <typename T, int W, int ROWS> static void columns(Backend *be, Products<T> *all)
{
    unsigned blocks = place_blocks(all, COLUMNS);
    int least = Threads<ROWS>::least, at_once = (int)blocks / cuda_processors(be) + 1;
    int threads = max_int(Threads<ROWS>::most / at_once / least * least, least);
    while (threads > WARP && threads / (2 * COLUMNS / W) / 2 >= all->K) threads /= 2;
    launch_early(be, columns_kernel<T, W, ROWS>, blocks, (unsigned)threads, 0, *all);
}

/* ------------------------------------------------------------------------------ choices */

template <typename T, int W, int ROWS>
static void products_of(Backend *be, Products<T> *all, bool transposed)
{
    if (transposed)
        dots<T, W, ROWS>(be, all);
    else
        columns<T, W, ROWS>(be, all);
}

template <typename T, int W> static void products_rows(Backend *be, Products<T> *all, bool t)
{
    if (all->R == 1)
        products_of<T, W, 1>(be, all, t);
    else if (all->R <= MOST_ROWS / 2)
        products_of<T, W, MOST_ROWS / 2>(be, all, t);
    else
        products_of<T, W, MOST_ROWS>(be, all, t);
}

template <typename T> static bool in_packs(const Products<T> &all, bool transposed)
{
    bool packs = true;
    for (int i = 0; i < all.n; i++) {
        const Product<T> &p = all.p[i];
        packs = packs && aligned(p.w, p.w2);
        packs = packs && (transposed ? aligned(p.x) && whole_packs(all.K) : whole_packs(p.N));
    }
    return packs;
}

/* The next rows of x and of what they make. */
template <typename T> static void go_on(Products<T> *all, size_t rows)
{
    for (int i = 0; i < all->n; i++) {
        Product<T> *p = &all->p[i];
        size_t out = rows * (size_t)p->N;
        p->x += rows * (size_t)all->K;
        p->y += out;
        if (p->w2) p->y2 += out, p->gated += out;
    }
}

template <typename T> static void products(Backend *be, Products<T> all, bool transposed, int R)
{
    bool packs = in_packs(all, transposed);
    for (int r = 0; r < R; r += MOST_ROWS) {
        all.R = min_int(MOST_ROWS, R - r);
        if (packs)
            products_rows<T, WIDE>(be, &all, transposed);
        else
            products_rows<T, 1>(be, &all, transposed);
        go_on(&all, (size_t)all.R);
        all.row += all.R;
    }
}

template <typename T> static Products<T> products_none(Backend *be, int K, bool add, double eps)
{
    Products<T> all = {};
    all.K = K;
    all.add = add;
    all.eps = (real)eps;
    all.done = cuda_counters(be);
    return all;
}

static const uint16_t *weight_of(Backend *be, const RowsProduct *p, int K, const uint16_t *)
{
    return bf16_copy_find(be, p->w, (size_t)K * (size_t)p->N);
}
static const real *weight_of(Backend *, const RowsProduct *p, int, const real *)
{
    return p->w;
}

template <typename T>
static void products_from(Backend *be, const RowsProduct *p, int n, Products<T> all,
                          bool transposed, int R)
{
    for (int i = 0; i < n; i++) {
        const T *w = weight_of(be, &p[i], all.K, (const T *)NULL);
        Product<T> one = {p[i].y, NULL,      p[i].x,     w,
                          NULL,   p[i].norm, p[i].gated, rows_end(p[i], all.eps),
                          p[i].N, 0};
        if (p[i].gated) {
            i++;
            one.y2 = p[i].y;
            one.w2 = weight_of(be, &p[i], all.K, (const T *)NULL);
        }
        all.p[all.n++] = one;
    }
    products(be, all, transposed, R);
}

/* Copies are read where all of a call's matrices have one. */
void KERNEL(rows_products)(Backend *be, const RowsProduct *p, int n, bool transposed, int R, int K,
                           bool add, double eps)
{
    CHECK(n <= MOST_PRODUCTS, "%d products at once", n);
    bool copies = true;
    for (int i = 0; i < n; i++) {
        copies = copies && weight_of(be, &p[i], K, (const uint16_t *)NULL);
        bool plain = !p[i].norm && !p[i].gated && !p[i].heads && !p[i].sum;
        CHECK(plain || !(transposed || add), "what is besides a product is besides x W");
    }
    if (copies)
        products_from(be, p, n, products_none<uint16_t>(be, K, add, eps), transposed, R);
    else
        products_from(be, p, n, products_none<real>(be, K, add, eps), transposed, R);
}
