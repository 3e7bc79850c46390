/* Rotary positions, as in rope.c. The table is made in double, one thread a pair; turning is a
 * stream of 8 bytes an element in float, with the row of the table shared by all heads. */
#include "ops/pack.cuh" // defines: Pack, load, store, aligned, whole_packs, threads_for

/* positions: of each row, or NULL: they follow `position`. */
static __global__ void rope_table_kernel(real *table, int64_t position, const int64_t *positions,
                                         size_t n, int half, double theta)
{
    for (size_t at = walk_start(); at < n; at += walk_step()) {
        size_t m = at / (size_t)half, i = at % (size_t)half;
        double frequency = pow(theta, -(double)i / half);
        double angle = (double)(positions ? positions[m] : position + (int64_t)m) * frequency;
        table[2 * at] = (real)cos(angle);
        table[2 * at + 1] = (real)sin(angle);
    }
}

void KERNEL(rope_table)(Backend *be, real *table, int64_t position, int M, int D, double theta)
{
    int half = D / 2;
    size_t n = (size_t)M * (size_t)half;
    launch(be, rope_table_kernel, blocks_walking(be, n), BLOCK, 0, table, position,
           (const int64_t *)NULL, n, half, theta);
}

void KERNEL(rope_table_at)(Backend *be, real *table, const int64_t *positions, int n, int D,
                           double theta)
{
    int half = D / 2;
    size_t pairs = (size_t)n * (size_t)half;
    launch(be, rope_table_kernel, blocks_walking(be, pairs), BLOCK, 0, table, (int64_t)0, positions,
           pairs, half, theta);
}

/* Whole pairs: a pack, or two single elements where W is 1. */
template <int W> struct Pairs {
    enum { n = W > 1 ? W : 2 };
    real at[n];
};

template <int W> __device__ inline Pairs<W> load_pairs(const real *p, size_t i)
{
    Pairs<W> x;
    for (int j = 0; j < x.n; j += W) {
        Pack<W> part = load<W>(p, i + (size_t)j);
        for (int l = 0; l < W; l++) x.at[j + l] = part.at[l];
    }
    return x;
}
template <int W> __device__ inline void store_pairs(real *p, size_t i, Pairs<W> x)
{
    for (int j = 0; j < x.n; j += W) {
        Pack<W> part;
        for (int l = 0; l < W; l++) part.at[l] = x.at[j + l];
        store(p, i + (size_t)j, part);
    }
}

/* A block takes one row of one sequence. */
template <int W>
static __global__ void rope_kernel(real *y, size_t y_step, const real *x, size_t x_step,
                                   const real *table, int M, int C, int D, real sign)
{
    constexpr int N = Pairs<W>::n;
    size_t b = blockIdx.x / (unsigned)M, m = blockIdx.x % (unsigned)M;
    const real *in = x + b * x_step + m * (size_t)C, *turns = table + m * (size_t)D;
    real *out = y + b * y_step + m * (size_t)C;
    for (int c = (int)threadIdx.x * N; c < C; c += (int)blockDim.x * N) {
        Pairs<W> v = load_pairs<W>(in, (size_t)c), cs = load_pairs<W>(turns, (size_t)(c % D));
        for (int j = 0; j < N; j += 2) {
            real x0 = v.at[j], x1 = v.at[j + 1], cosine = cs.at[j], sine = sign * cs.at[j + 1];
            v.at[j] = x0 * cosine - x1 * sine;
            v.at[j + 1] = x0 * sine + x1 * cosine;
        }
        store_pairs(out, (size_t)c, v);
    }
}

void KERNEL(rope_rotate)(Backend *be, real *y, size_t y_step, const real *x, size_t x_step,
                         const real *table, int B, int M, int H, int D, int sign)
{
    int C = H * D;
    bool packs = aligned(x, y, table) && whole_packs(D) && (B == 1 || whole_packs(x_step, y_step));
    launch(be, packs ? rope_kernel<WIDE> : rope_kernel<1>, (unsigned)B * (unsigned)M,
           threads_for((size_t)C / (packs ? WIDE : 2)), 0, y, y_step, x, x_step, table, M, C, D,
           (real)sign);
}
