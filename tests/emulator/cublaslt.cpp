/* cuBLASLt's product, done plainly: operands widened to the type of the sums, one loop over each.
 * What cuBLASLt asks of its callers (leading dimensions, shapes that fit, pointers as aligned as
 * the preference said) is asked here too. */
#include <cublasLt.h>

#include <algorithm>
#include <vector>

#include "state.h"

struct cublasLtContext {
    int unused;
};
struct EmulatedProduct {
    cublasComputeType_t compute;
    int32_t scale_type, pointer_mode;
    int32_t transposed[2];
};
struct EmulatedLayout {
    uint32_t type;
    int32_t order;
    uint64_t rows, columns;
    int64_t ld;
    int32_t count;
    int64_t step; /* elements from one product's matrix to the next one's */
};
struct EmulatedPreference {
    uint64_t workspace;
    uint32_t alignment[4];
};

namespace
{

template <typename T> cublasStatus_t create(T **out, T value)
{
    *out = new T(value);
    return CUBLAS_STATUS_SUCCESS;
}

template <typename T> cublasStatus_t destroy(T *p)
{
    delete p;
    return CUBLAS_STATUS_SUCCESS;
}

template <typename T> cublasStatus_t set(T *field, const void *value, size_t bytes)
{
    if (!value || bytes != sizeof *field) return CUBLAS_STATUS_INVALID_VALUE;
    memcpy(field, value, bytes);
    return CUBLAS_STATUS_SUCCESS;
}

size_t element_bytes(uint32_t type)
{
    return type == CUDA_R_64F ? 8 : type == CUDA_R_32F ? 4 : 2;
}

double element(const void *p, uint32_t type, size_t i)
{
    if (type == CUDA_R_64F) return static_cast<const double *>(p)[i];
    if (type == CUDA_R_32F) return (double)static_cast<const float *>(p)[i];
    return (double)__uint_as_float((unsigned)static_cast<const unsigned short *>(p)[i] << 16);
}

size_t place(const EmulatedLayout &l, size_t row, size_t column)
{
    return l.order == CUBLASLT_ORDER_ROW ? row * (size_t)l.ld + column
                                         : column * (size_t)l.ld + row;
}

/* Elements from a matrix's first to past its last, over all products. */
size_t extent(const EmulatedLayout &l)
{
    return (size_t)(l.count - 1) * (size_t)l.step + place(l, l.rows - 1, l.columns - 1) + 1;
}

/* One call, with copies of all that was described. */
struct Call {
    EmulatedProduct desc;
    EmulatedLayout a, b, c, d;
    const void *A, *B, *C;
    void *D;
    double alpha, beta;
    size_t M, N, K;
};

template <typename Sum>
std::vector<Sum> widen(const void *p, const EmulatedLayout &l, int product, bool transposed)
{
    size_t rows = transposed ? l.columns : l.rows, columns = transposed ? l.rows : l.columns;
    std::vector<Sum> out(rows * columns);
    size_t base = (size_t)product * (size_t)l.step;
    for (size_t i = 0; i < rows; i++)
        for (size_t j = 0; j < columns; j++)
            out[i * columns + j] =
                (Sum)element(p, l.type, base + (transposed ? place(l, j, i) : place(l, i, j)));
    return out;
}

template <typename Sum> void store(const Call &call, int product, size_t i, const Sum *sums)
{
    size_t base_c = (size_t)product * (size_t)call.c.step;
    size_t base_d = (size_t)product * (size_t)call.d.step;
    for (size_t j = 0; j < call.N; j++) {
        Sum y = (Sum)call.alpha * sums[j];
        if (call.beta != 0)
            y += (Sum)call.beta * (Sum)element(call.C, call.c.type, base_c + place(call.c, i, j));
        size_t at = base_d + place(call.d, i, j);
        if (call.d.type == CUDA_R_64F)
            static_cast<double *>(call.D)[at] = (double)y;
        else
            static_cast<float *>(call.D)[at] = (float)y;
    }
}

template <typename Sum> void multiply(const Call &call)
{
    for (int product = 0; product < call.d.count; product++) {
        auto a = widen<Sum>(call.A, call.a, product, call.desc.transposed[0]);
        auto b = widen<Sum>(call.B, call.b, product, call.desc.transposed[1]);
        std::vector<Sum> sums(call.N);
        for (size_t i = 0; i < call.M; i++) {
            std::fill(sums.begin(), sums.end(), (Sum)0);
            for (size_t k = 0; k < call.K; k++)
                for (size_t j = 0; j < call.N; j++)
                    sums[j] += a[i * call.K + k] * b[k * call.N + j];
            store(call, product, i, sums.data());
        }
    }
}

bool layout_fits(const EmulatedLayout &l)
{
    uint64_t along = l.order == CUBLASLT_ORDER_ROW ? l.columns : l.rows;
    return l.rows > 0 && l.columns > 0 && l.ld >= (int64_t)along && l.count > 0 &&
           (l.type == CUDA_R_32F || l.type == CUDA_R_64F || l.type == CUDA_R_16BF);
}

bool describe(Call *call, const EmulatedProduct *desc, const EmulatedLayout *a,
              const EmulatedLayout *b, const EmulatedLayout *c, const EmulatedLayout *d)
{
    if (!desc || !a || !b || !c || !d) return false;
    *call = {*desc, *a, *b, *c, *d, nullptr, nullptr, nullptr, nullptr, 0, 0, 0, 0, 0};
    for (const EmulatedLayout *l : {a, b, c, d})
        if (!layout_fits(*l) || l->count != d->count) return false;
    call->M = desc->transposed[0] ? a->columns : a->rows;
    call->K = desc->transposed[0] ? a->rows : a->columns;
    call->N = desc->transposed[1] ? b->rows : b->columns;
    bool wide = desc->compute == CUBLAS_COMPUTE_64F || desc->compute == CUBLAS_COMPUTE_64F_PEDANTIC;
    return (desc->transposed[1] ? b->columns : b->rows) == call->K && c->rows == call->M &&
           c->columns == call->N && d->rows == call->M && d->columns == call->N &&
           a->type == b->type && c->type == d->type && d->type != CUDA_R_16BF &&
           wide == (d->type == CUDA_R_64F) && (a->type == CUDA_R_64F) == wide &&
           (desc->scale_type == CUDA_R_64F) == wide;
}

/* An operand as it must be: device memory, long enough, aligned as the algorithm was chosen for. */
void check_operand(const char *name, const void *p, const EmulatedLayout &l, unsigned alignment)
{
    emulator::Place at = emulator::place_of(p);
    if (at.kind == emulator::Kind::HOST)
        emulator::die("cublasLtMatmul: %s at %p is not device memory", name, p);
    if (extent(l) * element_bytes(l.type) > at.left)
        emulator::die("cublasLtMatmul: %s is longer than its memory", name);
    if ((uintptr_t)p % alignment)
        emulator::die("cublasLtMatmul: %s at %p is not %u-byte aligned, as the algorithm expects",
                      name, p, alignment);
}

double scalar(const void *p, int32_t type)
{
    return type == CUDA_R_64F ? *static_cast<const double *>(p)
                              : (double)*static_cast<const float *>(p);
}

} // namespace

const char *cublasLtGetStatusName(cublasStatus_t status)
{
    switch (status) {
    case CUBLAS_STATUS_SUCCESS:
        return "CUBLAS_STATUS_SUCCESS";
    case CUBLAS_STATUS_NOT_INITIALIZED:
        return "CUBLAS_STATUS_NOT_INITIALIZED";
    case CUBLAS_STATUS_ALLOC_FAILED:
        return "CUBLAS_STATUS_ALLOC_FAILED";
    case CUBLAS_STATUS_INVALID_VALUE:
        return "CUBLAS_STATUS_INVALID_VALUE";
    case CUBLAS_STATUS_EXECUTION_FAILED:
        return "CUBLAS_STATUS_EXECUTION_FAILED";
    case CUBLAS_STATUS_NOT_SUPPORTED:
        return "CUBLAS_STATUS_NOT_SUPPORTED";
    default:
        return "CUBLAS_STATUS_INTERNAL_ERROR";
    }
}

const char *cublasLtGetStatusString(cublasStatus_t status)
{
    return cublasLtGetStatusName(status);
}

size_t cublasLtGetVersion()
{
    return 120804;
}

cublasStatus_t cublasLtCreate(cublasLtHandle_t *handle)
{
    int count;
    if (cudaGetDeviceCount(&count) != cudaSuccess) return CUBLAS_STATUS_NOT_INITIALIZED;
    return create(handle, cublasLtContext{0});
}

cublasStatus_t cublasLtDestroy(cublasLtHandle_t handle)
{
    return destroy(handle);
}

cublasStatus_t cublasLtMatmulDescCreate(cublasLtMatmulDesc_t *desc, cublasComputeType_t compute,
                                        cudaDataType_t scale)
{
    return create(desc, EmulatedProduct{compute, scale, CUBLASLT_POINTER_MODE_HOST, {0, 0}});
}

cublasStatus_t cublasLtMatmulDescDestroy(cublasLtMatmulDesc_t desc)
{
    return destroy(desc);
}

cublasStatus_t cublasLtMatmulDescSetAttribute(cublasLtMatmulDesc_t desc,
                                              cublasLtMatmulDescAttributes_t attribute,
                                              const void *value, size_t bytes)
{
    int32_t epilogue = 0;
    switch (attribute) {
    case CUBLASLT_MATMUL_DESC_POINTER_MODE:
        return set(&desc->pointer_mode, value, bytes);
    case CUBLASLT_MATMUL_DESC_SCALE_TYPE:
        return set(&desc->scale_type, value, bytes);
    case CUBLASLT_MATMUL_DESC_TRANSA:
        return set(&desc->transposed[0], value, bytes);
    case CUBLASLT_MATMUL_DESC_TRANSB:
        return set(&desc->transposed[1], value, bytes);
    case CUBLASLT_MATMUL_DESC_EPILOGUE:
        set(&epilogue, value, bytes);
        return epilogue == CUBLASLT_EPILOGUE_DEFAULT ? CUBLAS_STATUS_SUCCESS
                                                     : CUBLAS_STATUS_NOT_SUPPORTED;
    default:
        return CUBLAS_STATUS_NOT_SUPPORTED;
    }
}

cublasStatus_t cublasLtMatrixLayoutCreate(cublasLtMatrixLayout_t *layout, cudaDataType type,
                                          uint64_t rows, uint64_t columns, int64_t ld)
{
    return create(layout,
                  EmulatedLayout{(uint32_t)type, CUBLASLT_ORDER_COL, rows, columns, ld, 1, 0});
}

cublasStatus_t cublasLtMatrixLayoutDestroy(cublasLtMatrixLayout_t layout)
{
    return destroy(layout);
}

cublasStatus_t cublasLtMatrixLayoutSetAttribute(cublasLtMatrixLayout_t layout,
                                                cublasLtMatrixLayoutAttribute_t attribute,
                                                const void *value, size_t bytes)
{
    switch (attribute) {
    case CUBLASLT_MATRIX_LAYOUT_TYPE:
        return set(&layout->type, value, bytes);
    case CUBLASLT_MATRIX_LAYOUT_ORDER:
        return set(&layout->order, value, bytes);
    case CUBLASLT_MATRIX_LAYOUT_ROWS:
        return set(&layout->rows, value, bytes);
    case CUBLASLT_MATRIX_LAYOUT_COLS:
        return set(&layout->columns, value, bytes);
    case CUBLASLT_MATRIX_LAYOUT_LD:
        return set(&layout->ld, value, bytes);
    case CUBLASLT_MATRIX_LAYOUT_BATCH_COUNT:
        return set(&layout->count, value, bytes);
    case CUBLASLT_MATRIX_LAYOUT_STRIDED_BATCH_OFFSET:
        return set(&layout->step, value, bytes);
    default:
        return CUBLAS_STATUS_NOT_SUPPORTED;
    }
}

cublasStatus_t cublasLtMatmulPreferenceCreate(cublasLtMatmulPreference_t *preference)
{
    return create(preference, EmulatedPreference{0, {256, 256, 256, 256}});
}

cublasStatus_t cublasLtMatmulPreferenceDestroy(cublasLtMatmulPreference_t preference)
{
    return destroy(preference);
}

cublasStatus_t cublasLtMatmulPreferenceSetAttribute(cublasLtMatmulPreference_t preference,
                                                    cublasLtMatmulPreferenceAttributes_t attribute,
                                                    const void *value, size_t bytes)
{
    if (attribute == CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES)
        return set(&preference->workspace, value, bytes);
    int operand = attribute - CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES;
    if (operand >= 0 && operand < 4) return set(&preference->alignment[operand], value, bytes);
    return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t cublasLtMatmulAlgoGetHeuristic(cublasLtHandle_t, cublasLtMatmulDesc_t desc,
                                              cublasLtMatrixLayout_t a, cublasLtMatrixLayout_t b,
                                              cublasLtMatrixLayout_t c, cublasLtMatrixLayout_t d,
                                              cublasLtMatmulPreference_t preference, int wanted,
                                              cublasLtMatmulHeuristicResult_t *results, int *found)
{
    Call call;
    *found = 0;
    if (!describe(&call, desc, a, b, c, d) || wanted < 1) return CUBLAS_STATUS_INVALID_VALUE;
    *results = {};
    memcpy(results->algo.alignment, preference->alignment, sizeof preference->alignment);
    results->algo.workspace = results->workspaceSize =
        std::min<size_t>(preference->workspace, 4096);
    *found = 1;
    return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t cublasLtMatmul(cublasLtHandle_t handle, cublasLtMatmulDesc_t desc, const void *alpha,
                              const void *a, cublasLtMatrixLayout_t a_layout, const void *b,
                              cublasLtMatrixLayout_t b_layout, const void *beta, const void *c,
                              cublasLtMatrixLayout_t c_layout, void *d,
                              cublasLtMatrixLayout_t d_layout, const cublasLtMatmulAlgo_t *algo,
                              void *workspace, size_t workspace_bytes, cudaStream_t stream)
{
    Call call;
    if (!handle || !describe(&call, desc, a_layout, b_layout, c_layout, d_layout) ||
        desc->pointer_mode != CUBLASLT_POINTER_MODE_HOST)
        return CUBLAS_STATUS_INVALID_VALUE;
    static const cublasLtMatmulAlgo_t any = {{1, 1, 1, 1}, 0};
    if (!algo) algo = &any;
    if (algo->workspace > workspace_bytes || (workspace_bytes && !workspace))
        return CUBLAS_STATUS_INVALID_VALUE;
    call.A = a;
    call.B = b;
    call.C = c;
    call.D = d;
    call.alpha = scalar(alpha, desc->scale_type);
    call.beta = scalar(beta, desc->scale_type);
    check_operand("A", a, call.a, algo->alignment[0]);
    check_operand("B", b, call.b, algo->alignment[1]);
    if (call.beta != 0) check_operand("C", c, call.c, algo->alignment[2]);
    check_operand("D", d, call.d, algo->alignment[3]);
    if (emulator::traced("product\t%zu\t%zu\t%zu\t%d\t%zu", call.M, call.N, call.K, call.d.count,
                         element_bytes(call.a.type)))
        return CUBLAS_STATUS_SUCCESS;
    cudaError_t status = emulator::enqueue(stream, [call, workspace, algo_bytes = algo->workspace] {
        if (algo_bytes) memset(workspace, 0xff, algo_bytes);
        if (call.d.type == CUDA_R_64F)
            multiply<double>(call);
        else
            multiply<float>(call);
        emulator::check_edges("cublasLtMatmul");
    });
    return status == cudaSuccess ? CUBLAS_STATUS_SUCCESS : CUBLAS_STATUS_EXECUTION_FAILED;
}
