/* Sums and strided copies of rows: streams, 12 and 8 bytes an element in float. */
#include "ops/pack.cuh" // defines: Pack, load, store, walk, aligned, launch_walk

template <int W> static __global__ void add_kernel(real *y, const real *a, const real *b, size_t n)
{
    walk<W>(n, [=](auto w, size_t i) {
        auto x = load<w.n>(a, i), z = load<w.n>(b, i);
        for (int j = 0; j < w.n; j++) x.at[j] += z.at[j];
        store(y, i, x);
    });
}

void KERNEL(add)(Backend *be, real *y, const real *a, const real *b, size_t n)
{
    launch_walk(be, aligned(y, a, b), n, add_kernel<WIDE>, add_kernel<1>, y, a, b, n);
}

/* The rows of one sequence follow one another on both sides: n elements, by the blocks of one
 * blockIdx.y. */
template <int W>
static __global__ void copy_rows_kernel(real *y, size_t y_step, const real *x, size_t x_step, int B,
                                        size_t n)
{
    for (size_t b = blockIdx.y; b < (size_t)B; b += gridDim.y) {
        real *to = y + b * y_step;
        const real *from = x + b * x_step;
        walk<W>(n, [=](auto w, size_t i) { store(to, i, load<w.n>(from, i)); });
    }
}

void KERNEL(copy_rows)(Backend *be, real *y, size_t y_step, const real *x, size_t x_step, int B,
                       int R, int C)
{
    size_t n = (size_t)R * (size_t)C;
    bool packs = aligned(x, y) && (B == 1 || whole_packs(x_step, y_step));
    dim3 grid(blocks_walking(be, packs ? (n + WIDE - 1) / WIDE : n), (unsigned)min_int(B, 1024));
    launch(be, packs ? copy_rows_kernel<WIDE> : copy_rows_kernel<1>, grid, BLOCK, 0, y, y_step, x,
           x_step, B, n);
}
