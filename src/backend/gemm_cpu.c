/* Matrix products on the CPU. float: oneDNN where it is built in, else OpenBLAS; double: OpenBLAS.
 * bf16 goes to the CPU's own instructions (gemm_bf16.c); without them both operands are rounded to
 * the nearest bfloat16 and multiplied in float: the same numbers, at float speed. */
#include <omp.h>
#include <stdint.h>
#include <string.h>

#include "backend/gemm_bf16.h" // defines: gemm_bf16, bf16_round_bits, bf16_pack
#include "backend/gemm_cpu.h"
#include "base/mem.h" // defines: mem_need
#ifdef HAVE_DNNL
#include <oneapi/dnnl/dnnl.h>
#endif
#ifdef HAVE_OPENBLAS
#include <cblas.h>
#endif

/* Below this a product is done before a second thread has woken up. */
static const double SERIAL_FLOPS = 2e6;
/* Fewer rows are bound by reading the other operand: rounding it would cost more than it saves. */
enum { ROUNDED_ROWS = 8 };

static float bf16_round(float x)
{
    uint32_t bits = bf16_round_bits(x);
    memcpy(&x, &bits, sizeof x);
    return x;
}

/* A packed copy (rows, cols) of x, rounded. */
static const real *round_operand(real *to, const real *x, int rows, int cols, int ld)
{
    for (int i = 0; i < rows; i++)
        for (int j = 0; j < cols; j++)
            to[(size_t)i * (size_t)cols + (size_t)j] =
                (real)bf16_round((float)x[(size_t)i * (size_t)ld + (size_t)j]);
    return to;
}

#ifdef TTT_FP64
static void multiply(Trans ta, Trans tb, int M, int N, int K, real alpha, const real *A, int lda,
                     const real *B, int ldb, real beta, real *C, int ldc)
{
    cblas_dgemm(CblasRowMajor, ta ? CblasTrans : CblasNoTrans, tb ? CblasTrans : CblasNoTrans, M, N,
                K, alpha, A, lda, B, ldb, beta, C, ldc);
}
#elif defined HAVE_DNNL
static void multiply(Trans ta, Trans tb, int M, int N, int K, real alpha, const real *A, int lda,
                     const real *B, int ldb, real beta, real *C, int ldc)
{
    dnnl_status_t status =
        dnnl_sgemm(ta ? 'T' : 'N', tb ? 'T' : 'N', M, N, K, alpha, A, lda, B, ldb, beta, C, ldc);
    mem_need(status != dnnl_out_of_memory, "a matrix product (%d, %d, %d)", M, N, K);
    CHECK(status == dnnl_success, "matrix product (%d, %d, %d) failed: %d", M, N, K, (int)status);
}
#else
static void multiply(Trans ta, Trans tb, int M, int N, int K, real alpha, const real *A, int lda,
                     const real *B, int ldb, real beta, real *C, int ldc)
{
    cblas_sgemm(CblasRowMajor, ta ? CblasTrans : CblasNoTrans, tb ? CblasTrans : CblasNoTrans, M, N,
                K, alpha, A, lda, B, ldb, beta, C, ldc);
}
#endif

void gemm_cpu_start(void)
{
    enum { N = 16 };
    real a[N * N] = {0}, c[N * N];
    multiply(N_, N_, N, N, N, 1, a, N, a, N, 0, c, N);
}

static void one_product(Backend *be, const Gemm *g)
{
    const real *A = g->A, *B = g->B;
    int lda = g->lda, ldb = g->ldb;
    if (be->bf16 && g->M >= ROUNDED_ROWS && !omp_in_parallel()) {
        bool gaps = g->N == 1 && g->ldc != 1; /* oneDNN 3.7 writes one column as if it had none */
        if (be->gemm_cache && !gaps) {
            gemm_bf16(be, g);
            return;
        }
        real *a = backend_work(be, 0, WORK_GEMM_A, (size_t)g->M * (size_t)g->K);
        real *b = backend_work(be, 0, WORK_GEMM_B, (size_t)g->K * (size_t)g->N);
        lda = g->ta ? g->M : g->K;
        ldb = g->tb ? g->K : g->N;
        A = round_operand(a, A, g->ta ? g->K : g->M, lda, g->lda);
        B = round_operand(b, B, g->tb ? g->N : g->K, ldb, g->ldb);
    }
    bool alone = !omp_in_parallel() && 2.0 * g->M * g->N * g->K < SERIAL_FLOPS;
    if (alone) omp_set_num_threads(1);
    multiply(g->ta, g->tb, g->M, g->N, g->K, g->alpha, A, lda, B, ldb, g->beta, g->C, g->ldc);
    if (alone) omp_set_num_threads(be->threads);
}

static void product_at(Backend *be, const Gemm *g, int i)
{
    Gemm one = *g;
    one.A += (size_t)i * g->step_a;
    one.B += (size_t)i * g->step_b;
    one.C += (size_t)i * g->step_c;
    one_product(be, &one);
}

void gemm_cpu(Backend *be, const Gemm *g)
{
    if (g->count < be->threads || be->threads == 1 || be->bf16) {
        for (int i = 0; i < g->count; i++) product_at(be, g, i);
        return;
    }
    /* Small ones are split over threads whole. Not the loop above with an if clause: inside even a
     * serial region the library would make a new team of threads for every product. */
#pragma omp parallel for schedule(static) num_threads(be->threads)
    for (int i = 0; i < g->count; i++) product_at(be, g, i);
}

/* With the CPU's instruction a block is a row of bf16_pack. */
void round_bf16_cpu(Backend *be, uint16_t *to, const real *x, size_t n)
{
    enum { BLOCK = 4096 };
    int64_t blocks = (int64_t)(n / BLOCK);
    size_t rest = (size_t)blocks * BLOCK;
#ifndef TTT_FP64
    if (be->gemm_cache) {
        bf16_pack(to, x, (int)blocks, BLOCK, BLOCK, 1);
        bf16_pack(to + rest, x + rest, 1, (int)(n - rest), (int)(n - rest), 1);
        return;
    }
#endif
    (void)be;
#pragma omp parallel for schedule(static) if (blocks > 16)
    for (int64_t b = 0; b < blocks; b++)
        for (size_t i = (size_t)b * BLOCK; i < (size_t)(b + 1) * BLOCK; i++)
            to[i] = (uint16_t)(bf16_round_bits((float)x[i]) >> 16);
    for (size_t i = rest; i < n; i++) to[i] = (uint16_t)(bf16_round_bits((float)x[i]) >> 16);
}
