/* Matrix products on the CPU. float: oneDNN where it is built in, else OpenBLAS; double: OpenBLAS.
 * bf16 goes to the CPU's own instructions (gemm_bf16.c); without them both operands are rounded to
 * the nearest bfloat16 and multiplied in float: the same numbers, at float speed. */
#include <cblas.h>
#include <omp.h>
#include <stdint.h>
#include <string.h>

#include "backend/backend.h"
#include "backend/gemm_bf16.h" // defines: gemm_bf16, bf16_round_bits
#include "backend/profile.h"   // defines: profile_begin, profile_end
#ifdef HAVE_DNNL
#include <oneapi/dnnl/dnnl.h>
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

void gemm(Backend *be, Trans ta, Trans tb, int M, int N, int K, real alpha, const real *A, int lda,
          const real *B, int ldb, real beta, real *C, int ldc)
{
    if (M == 0 || N == 0) return;
    double began = profile_begin(be);
    if (be->bf16 && M >= ROUNDED_ROWS && !omp_in_parallel()) {
        if (be->gemm_cache) {
            gemm_bf16(be, ta, tb, M, N, K, alpha, A, lda, B, ldb, beta, C, ldc);
            profile_end(be, PROFILE_GEMM, began);
            return;
        }
        int a_rows = ta ? K : M, a_cols = ta ? M : K, b_rows = tb ? N : K, b_cols = tb ? K : N;
        real *a = backend_work(be, 0, WORK_GEMM_A, (size_t)M * (size_t)K);
        real *b = backend_work(be, 0, WORK_GEMM_B, (size_t)K * (size_t)N);
        A = round_operand(a, A, a_rows, a_cols, lda);
        B = round_operand(b, B, b_rows, b_cols, ldb);
        lda = a_cols;
        ldb = b_cols;
    }
    bool alone = !omp_in_parallel() && 2.0 * M * N * K < SERIAL_FLOPS;
    if (alone) omp_set_num_threads(1);
    multiply(ta, tb, M, N, K, alpha, A, lda, B, ldb, beta, C, ldc);
    if (alone) omp_set_num_threads(be->threads);
    profile_end(be, PROFILE_GEMM, began);
}

void gemm_batch(Backend *be, int count, Trans ta, Trans tb, int M, int N, int K, const real *A,
                size_t step_a, const real *B, size_t step_b, real beta, real *C, size_t step_c)
{
    int lda = ta ? M : K, ldb = tb ? K : N;
    if (count < be->threads || be->threads == 1 || be->bf16) {
        for (int i = 0; i < count; i++)
            gemm(be, ta, tb, M, N, K, 1, A + (size_t)i * step_a, lda, B + (size_t)i * step_b, ldb,
                 beta, C + (size_t)i * step_c, N);
        return;
    }
    /* Not the loop above with an if clause: inside even a serial region the library would make a
     * new team of threads for every product. */
    double began = profile_begin(be);
#pragma omp parallel for schedule(static) num_threads(be->threads)
    for (int i = 0; i < count; i++)
        gemm(be, ta, tb, M, N, K, 1, A + (size_t)i * step_a, lda, B + (size_t)i * step_b, ldb, beta,
             C + (size_t)i * step_c, N);
    profile_end(be, PROFILE_GEMM, began);
}
