/* y = x W or x W^T (+ y) for a few rows of x: bound by reading W, or its copy in bfloat16, once.
 * All products of a call are one launch, whose blocks are shared out among them: a matrix of
 * generation alone is too small to fill a GPU, and each launch waits for the one before. Loads of W
 * are packs of WIDE elements; several of them are in flight before the first is used, as a matrix
 * of generation is read in about the time that one load takes. Rows of x come from the first cache.
 *
 * W (N, K): SIDE outputs at a time, so that one load of x serves SIDE of W; one warp or, where
 * outputs are few, several share an output's sum. W (K, N): a block takes COLUMNS outputs, its
 * threads all rows of W in turn; they are many where blocks are few. Sums are added in a fixed
 * order. */
#include <string.h>

#include "ops/pack.cuh" // defines: Pack, load, zeros, aligned, whole_packs

extern "C" {
#include "backend/bf16_copy.h" // defines: bf16_copy_find
}

/* Rows of x at a time; outputs of a warp; outputs of a block and packs in flight for W (K, N). */
enum { MOST_ROWS = 8, SIDE = 4, COLUMNS = 16, FLIGHT = 4 };

template <typename T> struct Product {
    real *y;
    const real *x;
    const T *w;
    int N, end; /* the block after its last one */
};

template <typename T> struct Products {
    Product<T> p[MOST_PRODUCTS];
    int n, R, K;
    bool add;
};

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

/* ------------------------------------------------------------------------------ W^T, W (N, K) */

/* Lanes share a row's columns with `share` - 1 other warps of the block, share a power of two. */
template <typename T, int W, int ROWS>
static __global__ void __launch_bounds__(BLOCK, 2)
    dots_kernel(const __grid_constant__ Products<T> all, int share)
{
    enum { WARPS = BLOCK / WARP };
    __shared__ real sums[WARPS][ROWS * SIDE];
    auto [p, block] = place_of(all);
    int lane = (int)threadIdx.x % WARP, warp = (int)threadIdx.x / WARP, K = all.K;
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
    launch(be, dots_kernel<T, W, ROWS>, blocks, BLOCK, 0, *all, share);
}

/* ------------------------------------------------------------------------------ W (K, N) */

/* Threads of a block: more rows of x want more registers. */
template <int ROWS> struct Threads {
    enum { most = ROWS == 1 ? 1024 : 512, least = 256 };
};

/* Sums of a warp's threads that have the same columns. */
template <int LANES> __device__ inline real column_sum(real x)
{
    for (int lane = LANES; lane < WARP; lane *= 2) x += __shfl_xor_sync(FULL_WARP, x, lane);
    return x;
}

template <typename T, int W, int ROWS>
static __global__ void __launch_bounds__(Threads<ROWS>::most, 1)
    columns_kernel(const __grid_constant__ Products<T> all)
{
    enum { LANES = COLUMNS / W };
    __shared__ real sums[Threads<ROWS>::most / WARP][ROWS][COLUMNS];
    auto [p, block] = place_of(all);
    int lane = (int)threadIdx.x % LANES, first = (int)threadIdx.x / LANES, K = all.K;
    int step = (int)blockDim.x / LANES, n = block * COLUMNS + lane * W;
    real sum[ROWS][W] = {{0}};
    for (int k = first; k < K && n < p.N; k += FLIGHT * step) {
        Pack<W> w[FLIGHT];
        real x[FLIGHT][ROWS];
        for (int i = 0; i < FLIGHT; i++) {
            int row = k + i * step;
            w[i] =
                row < K ? load_weight<W>(p.w, (size_t)row * (size_t)p.N + (size_t)n) : zeros<W>();
            for (int r = 0; r < ROWS; r++)
                x[i][r] = row < K ? p.x[(size_t)min(r, all.R - 1) * (size_t)K + (size_t)row] : 0;
        }
        for (int i = 0; i < FLIGHT; i++)
            for (int r = 0; r < ROWS; r++)
                for (int j = 0; j < W; j++) sum[r][j] += x[i][r] * w[i].at[j];
    }
    for (int r = 0; r < ROWS; r++)
        for (int j = 0; j < W; j++) {
            real whole = column_sum<LANES>(sum[r][j]);
            if (threadIdx.x % WARP < LANES)
                sums[threadIdx.x / WARP][r][threadIdx.x % WARP * W + (unsigned)j] = whole;
        }
    __syncthreads();
    for (int i = (int)threadIdx.x; i < ROWS * COLUMNS; i += (int)blockDim.x) {
        real whole = 0;
        for (int warp = 0; warp < (int)blockDim.x / WARP; warp++)
            whole += sums[warp][i / COLUMNS][i % COLUMNS];
        put_output(all, p, i / COLUMNS, block * COLUMNS + i % COLUMNS, whole);
    }
}

template <typename T, int W, int ROWS> static void columns(Backend *be, Products<T> *all)
{
    unsigned blocks = place_blocks(all, COLUMNS);
    int most = Threads<ROWS>::most, least = Threads<ROWS>::least;
    int threads = (int)blocks < 2 * cuda_processors(be) ? most : least;
    while (threads > WARP && threads / (COLUMNS / W) / 2 >= all->K) threads /= 2;
    launch(be, columns_kernel<T, W, ROWS>, blocks, (unsigned)threads, 0, *all);
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
        packs = packs && aligned(p.w);
        packs = packs && (transposed ? aligned(p.x) && whole_packs(all.K) : whole_packs(p.N));
    }
    return packs;
}

template <typename T> static void products(Backend *be, Products<T> all, bool transposed, int R)
{
    bool packs = in_packs(all, transposed);
    for (int r = 0; r < R && all.n > 0; r += MOST_ROWS) {
        all.R = min_int(MOST_ROWS, R - r);
        if (packs)
            products_rows<T, WIDE>(be, &all, transposed);
        else
            products_rows<T, 1>(be, &all, transposed);
        for (int i = 0; i < all.n; i++) {
            all.p[i].x += (size_t)all.R * (size_t)all.K;
            all.p[i].y += (size_t)all.R * (size_t)all.p[i].N;
        }
    }
}

void KERNEL(rows_products)(Backend *be, const RowsProduct *p, int n, bool transposed, int R, int K,
                           bool add)
{
    CHECK(n <= MOST_PRODUCTS, "%d products at once", n);
    Products<uint16_t> halves = {{}, 0, 0, K, add}; /* those whose matrices have copies */
    Products<real> wholes = {{}, 0, 0, K, add};
    for (int i = 0; i < n; i++) {
        const uint16_t *half = bf16_copy_find(be, p[i].w, (size_t)K * (size_t)p[i].N);
        if (half)
            halves.p[halves.n++] = {p[i].y, p[i].x, half, p[i].N, 0};
        else
            wholes.p[wholes.n++] = {p[i].y, p[i].x, p[i].w, p[i].N, 0};
    }
    products(be, halves, transposed, R);
    products(be, wholes, transposed, R);
}
