/* One thread makes one element of C, with nothing asked of sizes, rows or alignment. Neighbours in
 * a row of C read neighbours of B, or one row of it each. Many times slower than the library, for
 * the few products that it refuses. */
#include "backend/gemm_plain.cuh"

#include <cuda_bf16.h>

#include "backend/launch.cuh"

enum { BLOCK = 256, MOST_COUNT = 65535 };

static __device__ inline real widen(real x)
{
    return x;
}
static __device__ inline real widen(__nv_bfloat16 x)
{
    return (real)__bfloat162float(x);
}

/* grid: (elements of C, products) */
template <typename T> static __global__ void plain_kernel(Gemm g, const T *A, const T *B)
{
    size_t i = (size_t)blockIdx.x * BLOCK + threadIdx.x, N = (size_t)g.N;
    if (i >= (size_t)g.M * N) return;
    size_t m = i / N, n = i % N, lda = (size_t)g.lda, ldb = (size_t)g.ldb;
    size_t next_a = g.ta ? lda : 1, next_b = g.tb ? 1 : ldb;
    const T *a = A + blockIdx.y * g.step_a + (g.ta ? m : m * lda);
    const T *b = B + blockIdx.y * g.step_b + (g.tb ? n * ldb : n);
    real sum = 0;
    for (int k = 0; k < g.K; k++, a += next_a, b += next_b) sum += widen(*a) * widen(*b);
    real *c = g.C + blockIdx.y * g.step_c + m * (size_t)g.ldc + n;
    *c = g.alpha * sum + (g.beta != 0 ? g.beta * *c : 0);
}

void cuda_gemm_plain(Backend *be, const Gemm *g, bool half)
{
    CHECK(g->count <= MOST_COUNT, "%d products at once", g->count);
    size_t n = (size_t)g->M * (size_t)g->N;
    dim3 grid((unsigned)((n + BLOCK - 1) / BLOCK), (unsigned)g->count);
    if (half)
        launch(be, plain_kernel<__nv_bfloat16>, grid, BLOCK, 0, *g,
               reinterpret_cast<const __nv_bfloat16 *>(g->A),
               reinterpret_cast<const __nv_bfloat16 *>(g->B));
    else
        launch(be, plain_kernel<real>, grid, BLOCK, 0, *g, g->A, g->B);
}
