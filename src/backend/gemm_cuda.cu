/* Products by cuBLASLt, which is column-major: it is asked for C^T = op(B)^T op(A)^T, whose
 * operands are ours as they lie in memory. What it needs to know of a product, and the algorithm it
 * picks, is kept per shape, so that after a first step nothing is searched for.
 * What is multiplied in bfloat16 comes from operands_cuda.cu. */
#include "backend/gemm_cuda.cuh"

#include <cublasLt.h>
#include <stdlib.h>
#include <string.h>

#include "backend/gemm_plain.cuh"    // defines: cuda_gemm_plain
#include "backend/operands_cuda.cuh" // defines: Matrices, cuda_operands_round

extern "C" {
#include "base/mem.h"
}

enum { CAPACITY = 1024, FULL = 768, ALIGNED = 256, WORKSPACE = 32 << 20 };

#ifdef TTT_FP64
#define REAL_TYPE    CUDA_R_64F
#define COMPUTE_TYPE CUBLAS_COMPUTE_64F
#else
#define REAL_TYPE    CUDA_R_32F
#define COMPUTE_TYPE CUBLAS_COMPUTE_32F
#endif

/* All that an algorithm depends on; compared as bytes. */
typedef struct Shape {
    int64_t step_a, step_b, step_c;
    int ta, tb, M, N, K, lda, ldb, ldc, count, add, half;
    int align_a, align_b, align_c; /* of the pointers, in bytes, 256 at most */
} Shape;

typedef struct Plan {
    Shape shape;
    bool used, found; /* found: the library has an algorithm */
    cublasLtMatmulDesc_t product;
    cublasLtMatrixLayout_t a, b, c;
    cublasLtMatmulAlgo_t algo;
} Plan;

struct CudaGemm {
    cublasLtHandle_t handle;
    void *workspace;
    int count;
    Plan plan[CAPACITY];
};

int cuda_gemm_open(CudaGemm **out, Err *err)
{
    CudaGemm *c = (CudaGemm *)calloc(1, sizeof *c);
    mem_need(c, "products on a GPU");
    *out = c;
    cublasStatus_t status = cublasLtCreate(&c->handle);
    if (status != CUBLAS_STATUS_SUCCESS)
        return err_set(err, "cuBLASLt cannot be used: %s; check the CUDA installation",
                       cublasLtGetStatusString(status));
    cudaError_t memory = cudaMalloc(&c->workspace, WORKSPACE);
    if (memory == cudaSuccess) return 0;
    return err_set(err, "the GPU has no %d MB free: %s; end what else uses it (`nvidia-smi`)",
                   WORKSPACE >> 20, cudaGetErrorString(memory));
}

static void plan_free(Plan *p)
{
    if (p->product) cublasLtMatmulDescDestroy(p->product);
    if (p->a) cublasLtMatrixLayoutDestroy(p->a);
    if (p->b) cublasLtMatrixLayoutDestroy(p->b);
    if (p->c) cublasLtMatrixLayoutDestroy(p->c);
    memset(p, 0, sizeof *p);
}

static void plans_clear(CudaGemm *c)
{
    for (int i = 0; i < CAPACITY; i++) plan_free(&c->plan[i]);
    c->count = 0;
}

void cuda_gemm_close(CudaGemm *c)
{
    if (!c) return;
    plans_clear(c);
    if (c->workspace) cudaFree(c->workspace);
    if (c->handle) cublasLtDestroy(c->handle);
    free(c);
}

/* ------------------------------------------------------------------------------ plans */

static bool noted(Backend *be, const char *what, cublasStatus_t status)
{
    if (status != CUBLAS_STATUS_SUCCESS) cuda_fail(be, what, cublasLtGetStatusString(status));
    return status == CUBLAS_STATUS_SUCCESS;
}

/* One operand, column-major (rows, columns). */
static cublasLtMatrixLayout_t layout(Backend *be, cudaDataType_t type, int rows, int columns,
                                     int ld, int count, int64_t step)
{
    cublasLtMatrixLayout_t m = NULL;
    noted(be, "matrix layout",
          cublasLtMatrixLayoutCreate(&m, type, (uint64_t)rows, (uint64_t)columns, ld));
    if (!m || count == 1) return m;
    noted(be, "matrix layout",
          cublasLtMatrixLayoutSetAttribute(m, CUBLASLT_MATRIX_LAYOUT_BATCH_COUNT, &count,
                                           sizeof count));
    noted(be, "matrix layout",
          cublasLtMatrixLayoutSetAttribute(m, CUBLASLT_MATRIX_LAYOUT_STRIDED_BATCH_OFFSET, &step,
                                           sizeof step));
    return m;
}

static void prefer(Backend *be, cublasLtMatmulPreference_t p,
                   cublasLtMatmulPreferenceAttributes_t what, const void *value, size_t size)
{
    noted(be, "preference", cublasLtMatmulPreferenceSetAttribute(p, what, value, size));
}

/* The library's first choice for these operands, if it has one. */
static void choose_algorithm(Backend *be, CudaGemm *c, Plan *p)
{
    const Shape *s = &p->shape;
    uint64_t workspace = WORKSPACE;
    uint32_t a = (uint32_t)s->align_b, b = (uint32_t)s->align_a, d = (uint32_t)s->align_c;
    cublasLtMatmulPreference_t wish = NULL;
    if (!noted(be, "preference", cublasLtMatmulPreferenceCreate(&wish))) return;
    prefer(be, wish, CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES, &workspace, sizeof workspace);
    prefer(be, wish, CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES, &a, sizeof a);
    prefer(be, wish, CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_B_BYTES, &b, sizeof b);
    prefer(be, wish, CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_C_BYTES, &d, sizeof d);
    prefer(be, wish, CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_D_BYTES, &d, sizeof d);
    cublasLtMatmulHeuristicResult_t first = {};
    int n = 0;
    cublasStatus_t status = cublasLtMatmulAlgoGetHeuristic(c->handle, p->product, p->a, p->b, p->c,
                                                           p->c, wish, 1, &first, &n);
    p->found = status == CUBLAS_STATUS_SUCCESS && n > 0 && first.state == CUBLAS_STATUS_SUCCESS;
    p->algo = first.algo;
    cublasLtMatmulPreferenceDestroy(wish);
}

/* Column-major, B's rows come first: "a" of the library is our B. */
static void plan_make(Backend *be, CudaGemm *c, Plan *p)
{
    const Shape *s = &p->shape;
    cudaDataType_t type = s->half ? CUDA_R_16BF : REAL_TYPE;
    cublasOperation_t op_a = s->tb ? CUBLAS_OP_T : CUBLAS_OP_N;
    cublasOperation_t op_b = s->ta ? CUBLAS_OP_T : CUBLAS_OP_N;
    p->used = true;
    if (!noted(be, "matrix product",
               cublasLtMatmulDescCreate(&p->product, COMPUTE_TYPE, REAL_TYPE)))
        return;
    noted(be, "matrix product",
          cublasLtMatmulDescSetAttribute(p->product, CUBLASLT_MATMUL_DESC_TRANSA, &op_a,
                                         sizeof op_a));
    noted(be, "matrix product",
          cublasLtMatmulDescSetAttribute(p->product, CUBLASLT_MATMUL_DESC_TRANSB, &op_b,
                                         sizeof op_b));
    p->a = layout(be, type, s->tb ? s->K : s->N, s->tb ? s->N : s->K, s->ldb, s->count, s->step_b);
    p->b = layout(be, type, s->ta ? s->M : s->K, s->ta ? s->K : s->M, s->lda, s->count, s->step_a);
    p->c = layout(be, REAL_TYPE, s->N, s->M, s->ldc, s->count, s->step_c);
    if (!cuda_failed(be)) choose_algorithm(be, c, p);
}

static size_t shape_hash(const Shape *s)
{
    const unsigned char *bytes = (const unsigned char *)s;
    uint64_t h = 1469598103934665603u;
    for (size_t i = 0; i < sizeof *s; i++) h = (h ^ bytes[i]) * 1099511628211u;
    return (size_t)(h >> 20) % CAPACITY;
}

static Plan *plan_for(Backend *be, CudaGemm *c, const Shape *shape)
{
    size_t i = shape_hash(shape);
    for (; c->plan[i].used; i = (i + 1) % CAPACITY)
        if (memcmp(&c->plan[i].shape, shape, sizeof *shape) == 0) return &c->plan[i];
    if (c->count == FULL) {
        plans_clear(c);
        i = shape_hash(shape);
    }
    c->count++;
    c->plan[i].shape = *shape;
    plan_make(be, c, &c->plan[i]);
    return &c->plan[i];
}

static int alignment(const void *p)
{
    uintptr_t at = (uintptr_t)p;
    return at % ALIGNED ? (int)(at & (~at + 1)) % ALIGNED : ALIGNED;
}

/* ------------------------------------------------------------------------------ the product */

static void multiply_plain(Backend *be, const Gemm *g, const Matrices *a, const Matrices *b,
                           bool half)
{
    Gemm own = *g;
    own.A = (const real *)a->data, own.lda = (int)a->ld, own.step_a = (size_t)a->step;
    own.B = (const real *)b->data, own.ldb = (int)b->ld, own.step_b = (size_t)b->step;
    cuda_gemm_plain(be, &own, half);
}

static void multiply(Backend *be, CudaGemm *c, const Gemm *g, const Matrices *a, const Matrices *b,
                     bool half)
{
    Shape s;
    memset(&s, 0, sizeof s);
    s.step_a = a->step;
    s.step_b = b->step;
    s.step_c = (int64_t)g->step_c;
    s.ta = (int)g->ta;
    s.tb = (int)g->tb;
    s.M = g->M;
    s.N = g->N;
    s.K = g->K;
    s.lda = (int)a->ld;
    s.ldb = (int)b->ld;
    s.ldc = g->ldc;
    s.count = g->count;
    s.add = g->beta != 0;
    s.half = half;
    s.align_a = alignment(a->data);
    s.align_b = alignment(b->data);
    s.align_c = alignment(g->C);
    Plan *p = plan_for(be, c, &s);
    if (cuda_failed(be)) return;
    if (!p->found) {
        multiply_plain(be, g, a, b, half);
        return;
    }
    noted(be, "matrix product",
          cublasLtMatmul(c->handle, p->product, &g->alpha, b->data, p->a, a->data, p->b, &g->beta,
                         g->C, p->c, g->C, p->c, &p->algo, c->workspace, WORKSPACE,
                         cuda_stream(be)));
}

void cuda_gemm(Backend *be, CudaGemm *c, const Gemm *g)
{
    Matrices ab[] = {
        {g->A, g->ta ? g->K : g->M, g->ta ? g->M : g->K, g->lda, (int64_t)g->step_a, g->count},
        {g->B, g->tb ? g->N : g->K, g->tb ? g->K : g->N, g->ldb, (int64_t)g->step_b, g->count}};
    bool half = backend_rounds(be);
    CudaOperands *operands = cuda_operands(be);
    cuda_operands_group(be, operands, true);
    if (half) cuda_operands_round(be, operands, ab, 2);
    if (!cuda_failed(be)) multiply(be, c, g, &ab[0], &ab[1], half);
    cuda_operands_forget(operands, g->C,
                         (size_t)(g->count - 1) * g->step_c + (size_t)g->M * (size_t)g->ldc);
    cuda_operands_group(be, operands, false);
}
