/* Products by cuBLASLt, which is column-major: it is asked for C^T = op(B)^T op(A)^T, whose
 * operands are ours as they lie in memory. What it needs to know of a product, and the algorithm it
 * picks, is kept per shape, so that after a first step nothing is searched for.
 *
 * In bfloat16 an operand is its kept copy (bf16_copy.h) or is rounded into a room of its own before
 * the product: 6 bytes an element more to move, where a product of K columns does 2 K operations
 * with it; at 3 TB/s and 600 TFLOP/s that is a tenth of the time at K = 6,000 and half of it at
 * 1,200. So within a group of products each is rounded once. */
#include "backend/gemm_cuda.cuh"

#include <cublasLt.h>
#include <cuda_bf16.h>
#include <stdlib.h>
#include <string.h>

#include "backend/launch.cuh"

extern "C" {
#include "backend/bf16_copy.h"
}

enum { CAPACITY = 1024, FULL = 768, ALIGNED = 256, WORKSPACE = 32 << 20, BLOCK = 256 };
enum { GROUP_OPERANDS = 16 };

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
    bool used;
    cublasLtMatmulDesc_t product;
    cublasLtMatrixLayout_t a, b, c;
    cublasLtMatmulAlgo_t algo;
} Plan;

/* Matrices in bfloat16, for as long as their group lasts. */
typedef struct Rounded {
    const real *of;
    int64_t rows, step;
    int cols, ld, count;
    size_t at; /* bytes from the room's beginning */
} Rounded;

struct CudaGemm {
    cublasLtHandle_t handle;
    void *workspace;
    int depth; /* of nested groups */
    int n_rounded;
    Rounded rounded[GROUP_OPERANDS];
    size_t room_used;
    char *room; /* of what is rounded; grows as scratch does */
    size_t room_bytes;
    size_t true_bytes; /* of the room that there is, in a rehearsal */
    int count;
    Plan plan[CAPACITY];
};

int cuda_gemm_open(CudaGemm **out, Err *err)
{
    CudaGemm *c = (CudaGemm *)calloc(1, sizeof *c);
    CHECK(c, "out of memory");
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
    if (c->room) cudaFree(c->room);
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

/* The library's first choice for these operands. */
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
    cublasLtMatmulHeuristicResult_t found;
    int n = 0;
    bool asked = noted(be, "search for an algorithm",
                       cublasLtMatmulAlgoGetHeuristic(c->handle, p->product, p->a, p->b, p->c, p->c,
                                                      wish, 1, &found, &n));
    if (asked && n == 0) cuda_fail(be, "matrix product", "cuBLASLt has no algorithm for its shape");
    if (asked && n > 0) p->algo = found.algo;
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

/* ------------------------------------------------------------------------------ operands */

/* Eight neighbours of a row: two loads of 16 bytes of float, one store of 16. */
enum { EIGHT = 8 };
struct alignas(EIGHT / 2 * sizeof(real)) Half {
    real x[EIGHT / 2];
};
struct alignas(EIGHT * sizeof(__nv_bfloat16)) Rounding {
    __nv_bfloat16 x[EIGHT];
};

/* Matrices of (rows, cols), rows ld and matrices step apart, packed; grid: (, matrices). A thread
 * takes `EACH` neighbours of a row, EIGHT as above or one. */
template <int EACH>
static __global__ void round_rows(__nv_bfloat16 *to, const real *x, int64_t rows, int cols, int ld,
                                  int64_t step)
{
    int64_t groups = cols / EACH, i = (int64_t)blockIdx.x * blockDim.x + threadIdx.x;
    if (i >= rows * groups) return;
    int64_t row = i / groups, col = i % groups * EACH;
    const real *from = x + (int64_t)blockIdx.y * step + row * ld + col;
    __nv_bfloat16 *out = to + ((int64_t)blockIdx.y * rows + row) * cols + col;
    if (EACH == 1) {
        *out = __float2bfloat16_rn((float)*from);
        return;
    }
    Half low = reinterpret_cast<const Half *>(from)[0],
         high = reinterpret_cast<const Half *>(from)[1];
    Rounding r;
    for (int j = 0; j < EIGHT / 2; j++) {
        r.x[j] = __float2bfloat16_rn((float)low.x[j]);
        r.x[EIGHT / 2 + j] = __float2bfloat16_rn((float)high.x[j]);
    }
    *reinterpret_cast<Rounding *>(out) = r;
}

static bool whole_eights(const void *to, const real *x, int cols, int ld, int64_t step)
{
    return cols % EIGHT == 0 && ld % (EIGHT / 2) == 0 && step % (EIGHT / 2) == 0 &&
           (uintptr_t)to % alignof(Rounding) == 0 && (uintptr_t)x % alignof(Half) == 0;
}

static void round_matrices(Backend *be, uint16_t *to, const real *x, int64_t rows, int cols, int ld,
                           int64_t step, int count)
{
    bool eights = whole_eights(to, x, cols, ld, step);
    int64_t threads = rows * (eights ? cols / EIGHT : cols);
    launch(be, eights ? round_rows<EIGHT> : round_rows<1>,
           dim3((unsigned)((threads + BLOCK - 1) / BLOCK), (unsigned)count), dim3(BLOCK), 0,
           (__nv_bfloat16 *)to, x, rows, cols, ld, step);
}

/* As one matrix of long rows. */
void cuda_round_bf16(Backend *be, uint16_t *to, const real *x, size_t n)
{
    enum { COLUMNS = 1 << 20 };
    int64_t rows = (int64_t)(n / COLUMNS);
    size_t done = (size_t)rows * COLUMNS, eights = (n - done) / EIGHT * EIGHT;
    int rest = (int)(n - done - eights);
    if (rows) round_matrices(be, to, x, rows, COLUMNS, COLUMNS, 0, 1);
    if (eights) round_matrices(be, to + done, x + done, 1, (int)eights, (int)eights, 0, 1);
    done += eights;
    if (rest) round_matrices(be, to + done, x + done, 1, rest, rest, 0, 1);
}

typedef struct Operand {
    const void *data;
    int ld;
    int64_t step;
} Operand;

static void room_empty(CudaGemm *c)
{
    c->n_rounded = 0;
    c->room_used = 0;
}

void cuda_gemm_group(CudaGemm *c, bool begins)
{
    if (c->depth == 0) room_empty(c);
    c->depth += begins ? 1 : -1;
}

size_t cuda_gemm_rehearse(CudaGemm *c, bool begins)
{
    size_t bytes = c->room_bytes;
    if (begins) c->true_bytes = bytes;
    c->room_bytes = begins ? 0 : c->true_bytes;
    room_empty(c);
    return bytes;
}

/* Room for this many bytes more. What is in use is overwritten only by what comes later on the
 * stream, so an overflow costs no more than rounding again; in a first step the room grows instead.
 */
static void room_ensure(Backend *be, CudaGemm *c, size_t bytes)
{
    if (c->depth == 0 || c->n_rounded + 2 > GROUP_OPERANDS) room_empty(c);
    size_t wanted = c->room_used + bytes;
    if (wanted <= c->room_bytes) return;
    room_empty(c);
    c->room = (char *)cuda_grow(be, c->room, &c->room_bytes, wanted);
}

static size_t rounded_bytes(int rows, int cols, int64_t step, int count)
{
    size_t bytes = (size_t)rows * (size_t)cols * (size_t)(step ? count : 1) * sizeof(uint16_t);
    return (bytes + ALIGNED - 1) / ALIGNED * ALIGNED;
}

/* That of this operand in the room, or NULL. */
static const Rounded *rounded_before(const CudaGemm *c, const Rounded *r)
{
    for (int i = 0; i < c->n_rounded; i++) {
        const Rounded *x = &c->rounded[i];
        if (x->of == r->of && x->rows == r->rows && x->cols == r->cols && x->ld == r->ld &&
            x->step == r->step && x->count == r->count)
            return x;
    }
    return NULL;
}

/* `count` matrices (rows, cols) in bfloat16: the copy kept of them, or rounded into the room. */
static Operand rounded(Backend *be, CudaGemm *c, const real *x, int rows, int cols, int ld,
                       size_t step, int count)
{
    size_t span = (size_t)(count - 1) * step + (size_t)rows * (size_t)cols;
    const uint16_t *kept = ld == cols ? bf16_copy_find(be, x, span) : NULL;
    if (kept) return (Operand){kept, ld, (int64_t)step};
    Rounded wanted = {x, rows, (int64_t)step, cols, ld, step ? count : 1, c->room_used};
    const Rounded *r = rounded_before(c, &wanted);
    if (!r) {
        round_matrices(be, (uint16_t *)(c->room + wanted.at), x, rows, cols, ld, wanted.step,
                       wanted.count);
        c->rounded[c->n_rounded] = wanted;
        r = &c->rounded[c->n_rounded++];
        c->room_used += rounded_bytes(rows, cols, wanted.step, count);
    }
    return (Operand){c->room + r->at, cols, step ? (int64_t)rows * cols : 0};
}

static int alignment(const void *p)
{
    uintptr_t at = (uintptr_t)p;
    return at % ALIGNED ? (int)(at & (~at + 1)) % ALIGNED : ALIGNED;
}

/* ------------------------------------------------------------------------------ the product */

static void multiply(Backend *be, CudaGemm *c, const Gemm *g, Operand a, Operand b, bool half)
{
    Shape s;
    if (cuda_failed(be)) return;
    memset(&s, 0, sizeof s);
    s.step_a = a.step;
    s.step_b = b.step;
    s.step_c = (int64_t)g->step_c;
    s.ta = (int)g->ta;
    s.tb = (int)g->tb;
    s.M = g->M;
    s.N = g->N;
    s.K = g->K;
    s.lda = a.ld;
    s.ldb = b.ld;
    s.ldc = g->ldc;
    s.count = g->count;
    s.add = g->beta != 0;
    s.half = half;
    s.align_a = alignment(a.data);
    s.align_b = alignment(b.data);
    s.align_c = alignment(g->C);
    Plan *p = plan_for(be, c, &s);
    if (cuda_failed(be)) return;
    noted(be, "matrix product",
          cublasLtMatmul(c->handle, p->product, &g->alpha, b.data, p->a, a.data, p->b, &g->beta,
                         g->C, p->c, g->C, p->c, &p->algo, c->workspace, WORKSPACE,
                         cuda_stream(be)));
}

void cuda_gemm(Backend *be, CudaGemm *c, const Gemm *g)
{
    Operand a = {g->A, g->lda, (int64_t)g->step_a}, b = {g->B, g->ldb, (int64_t)g->step_b};
    bool half = be->bf16 && sizeof(real) == sizeof(float);
    if (half) {
        int a_rows = g->ta ? g->K : g->M, a_cols = g->ta ? g->M : g->K;
        int b_rows = g->tb ? g->N : g->K, b_cols = g->tb ? g->K : g->N;
        room_ensure(be, c,
                    rounded_bytes(a_rows, a_cols, a.step, g->count) +
                        rounded_bytes(b_rows, b_cols, b.step, g->count));
        a = rounded(be, c, g->A, a_rows, a_cols, g->lda, g->step_a, g->count);
        b = rounded(be, c, g->B, b_rows, b_cols, g->ldb, g->step_b, g->count);
    }
    multiply(be, c, g, a, b, half);
}
