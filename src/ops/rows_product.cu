/* y = x W or x W^T (+ y) for a few rows of x: bound by reading W, or its copy in bfloat16, once.
 * Loads of W are packs of WIDE elements; several of them are in flight before the first is used, as
 * a matrix of generation is read in about the time that one load takes. Rows of x come from the
 * first cache.
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
    int R, K, N;
    bool add;
};

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

template <typename T> __device__ inline void put_output(const Product<T> &p, int r, int n, real sum)
{
    if (r >= p.R || n >= p.N) return;
    real *y = p.y + (size_t)r * (size_t)p.N + (size_t)n;
    *y = p.add ? *y + sum : sum;
}

/* ------------------------------------------------------------------------------ W^T, W (N, K) */

/* Lanes share a row's columns with `share` - 1 other warps of the block, share a power of two. */
template <typename T, int W, int ROWS>
static __global__ void __launch_bounds__(BLOCK, 2) dots_kernel(Product<T> p, int share)
{
    enum { WARPS = BLOCK / WARP };
    __shared__ real sums[WARPS][ROWS * SIDE];
    int lane = (int)threadIdx.x % WARP, warp = (int)threadIdx.x / WARP;
    int n = ((int)blockIdx.x * (WARPS / share) + warp / share) * SIDE;
    real sum[ROWS][SIDE] = {{0}};
    for (int k = (warp % share * WARP + lane) * W; k < p.K; k += share * WARP * W) {
        Pack<W> w[SIDE];
        for (int i = 0; i < SIDE; i++)
            w[i] = load_weight<W>(p.w, (size_t)min(n + i, p.N - 1) * (size_t)p.K + (size_t)k);
        for (int r = 0; r < ROWS; r++) {
            Pack<W> x = load<W>(p.x, (size_t)min(r, p.R - 1) * (size_t)p.K + (size_t)k);
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
        put_output(p, output / SIDE, n + output % SIDE, whole);
    }
}

template <typename T, int W, int ROWS> static void dots(Backend *be, const Product<T> &p)
{
    int groups = (p.N + SIDE - 1) / SIDE, share = 1, wanted = cuda_processors(be) * 16;
    while (share < BLOCK / WARP && groups * share < wanted && share * WARP * W < p.K) share *= 2;
    launch(be, dots_kernel<T, W, ROWS>, blocks_for((size_t)groups, (size_t)(BLOCK / WARP / share)),
           BLOCK, 0, p, share);
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
static __global__ void __launch_bounds__(Threads<ROWS>::most, 1) columns_kernel(Product<T> p)
{
    enum { LANES = COLUMNS / W };
    __shared__ real sums[Threads<ROWS>::most / WARP][ROWS][COLUMNS];
    int lane = (int)threadIdx.x % LANES, first = (int)threadIdx.x / LANES;
    int step = (int)blockDim.x / LANES, n = (int)blockIdx.x * COLUMNS + lane * W;
    real sum[ROWS][W] = {{0}};
    for (int k = first; k < p.K && n < p.N; k += FLIGHT * step) {
        Pack<W> w[FLIGHT];
        real x[FLIGHT][ROWS];
        for (int i = 0; i < FLIGHT; i++) {
            int row = k + i * step;
            w[i] =
                row < p.K ? load_weight<W>(p.w, (size_t)row * (size_t)p.N + (size_t)n) : zeros<W>();
            for (int r = 0; r < ROWS; r++)
                x[i][r] = row < p.K ? p.x[(size_t)min(r, p.R - 1) * (size_t)p.K + (size_t)row] : 0;
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
        put_output(p, i / COLUMNS, (int)blockIdx.x * COLUMNS + i % COLUMNS, whole);
    }
}

template <typename T, int W, int ROWS> static void columns(Backend *be, const Product<T> &p)
{
    int blocks = (p.N + COLUMNS - 1) / COLUMNS;
    int most = Threads<ROWS>::most, least = Threads<ROWS>::least;
    int threads = blocks < 2 * cuda_processors(be) ? most : least;
    while (threads > WARP && threads / (COLUMNS / W) / 2 >= p.K) threads /= 2;
    launch(be, columns_kernel<T, W, ROWS>, (unsigned)blocks, (unsigned)threads, 0, p);
}

/* ------------------------------------------------------------------------------ choices */

template <typename T, int W, int ROWS>
static void product_of(Backend *be, const Product<T> &p, bool transposed)
{
    if (transposed)
        dots<T, W, ROWS>(be, p);
    else
        columns<T, W, ROWS>(be, p);
}

template <typename T, int W> static void product_rows(Backend *be, const Product<T> &p, bool t)
{
    if (p.R == 1)
        product_of<T, W, 1>(be, p, t);
    else if (p.R <= MOST_ROWS / 2)
        product_of<T, W, MOST_ROWS / 2>(be, p, t);
    else
        product_of<T, W, MOST_ROWS>(be, p, t);
}

template <typename T>
static void product(Backend *be, Product<T> p, bool transposed, bool packs, int R)
{
    for (int r = 0; r < R; r += MOST_ROWS) {
        p.R = min_int(MOST_ROWS, R - r);
        if (packs)
            product_rows<T, WIDE>(be, p, transposed);
        else
            product_rows<T, 1>(be, p, transposed);
        p.x += (size_t)p.R * (size_t)p.K;
        p.y += (size_t)p.R * (size_t)p.N;
    }
}

void KERNEL(rows_product)(Backend *be, real *y, const real *x, const real *w, bool transposed,
                          int R, int K, int N, bool add)
{
    const uint16_t *half = bf16_copy_find(be, w, (size_t)K * (size_t)N);
    bool packs = aligned(half) && (half || aligned(w));
    packs = packs && (transposed ? aligned(x) && whole_packs(K) : whole_packs(N));
    if (half)
        product(be, Product<uint16_t>{y, x, half, 0, K, N, add}, transposed, packs, R);
    else
        product(be, Product<real>{y, x, w, 0, K, N, add}, transposed, packs, R);
}
