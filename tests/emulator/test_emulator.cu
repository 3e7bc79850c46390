/* The emulator itself: kernels with barriers and exchanges give what a GPU gives, and mistakes that
 * a GPU would make felt somewhere else end the program at once, with their place. */
#include <cstdio>
#include <memory>
#include <string>

#include <cublasLt.h>

#include "bare_backend.cuh"
#include "ops/mma.cuh"

static Backend *const be = nullptr;

enum { MAX_WARPS = 32 };

template <typename T> struct Device {
    T *p = nullptr;
    size_t n;
    explicit Device(size_t n_) : n(n_) { assert_int_equal(cudaMalloc(&p, n * sizeof(T)), 0); }
    Device(const T *from, size_t n_) : Device(n_)
    {
        assert_int_equal(cudaMemcpy(p, from, n * sizeof(T), cudaMemcpyHostToDevice), 0);
    }
    ~Device() { cudaFree(p); }
    std::unique_ptr<T[]> host() const
    {
        std::unique_ptr<T[]> out(new T[n]);
        assert_int_equal(cudaMemcpy(out.get(), p, n * sizeof(T), cudaMemcpyDeviceToHost), 0);
        return out;
    }
};

/* --- what must be right --- */

/* Sums rows of n; a block is one row. Within a warp by exchange, between warps by shared memory. */
__global__ void row_sums(float *sums, const float *x, int n)
{
    __shared__ float of_warp[MAX_WARPS];
    int warp = threadIdx.x / WARP, lane = threadIdx.x % WARP;
    float sum = 0;
    for (int i = threadIdx.x; i < n; i += blockDim.x) sum += x[(size_t)blockIdx.x * n + i];
    sum = warp_sum(sum);
    if (lane == 0) of_warp[warp] = sum;
    __syncthreads();
    if (warp == 0) {
        sum = warp_sum(lane < (int)blockDim.x / WARP ? of_warp[lane] : 0.f);
        if (lane == 0) sums[blockIdx.x] = sum;
    }
}

static void test_reduction(void **)
{
    enum { ROWS = 5, N = 1003 };
    float x[ROWS * N];
    for (int i = 0; i < ROWS * N; i++) x[i] = (float)(i % 17);
    Device<float> device(x, ROWS * N), sums(ROWS);
    launch(be, row_sums, dim3(ROWS), dim3(BLOCK), 0, sums.p, device.p, N);
    auto got = sums.host();
    for (int r = 0; r < ROWS; r++) {
        float want = 0;
        for (int i = 0; i < N; i++) want += x[r * N + i];
        assert_true(got[r] == want);
    }
}

/* Every exchange, of 4 and of 8 bytes. */
__global__ void exchanges(double *out)
{
    int lane = threadIdx.x;
    double x = lane;
    out[lane] = __shfl_sync(FULL_WARP, x, 35) + 100 * __shfl_xor_sync(FULL_WARP, lane, 5);
    out[32 + lane] = __shfl_down_sync(FULL_WARP, x, 3, 8);
    out[64 + lane] = __shfl_up_sync(FULL_WARP, (float)x, 20);
    out[96 + lane] = __ballot_sync(FULL_WARP, lane % 3 == 0);
    out[128 + lane] = __syncthreads_count(lane < 7);
}

static void test_exchanges(void **)
{
    Device<double> out(160);
    launch(be, exchanges, dim3(1), dim3(WARP), 0, out.p);
    auto got = out.host();
    for (int i = 0; i < WARP; i++) {
        assert_true(got[i] == 3 + 100 * (i ^ 5));
        assert_true(got[32 + i] == (i % 8 + 3 < 8 ? i + 3 : i));
        assert_true(got[64 + i] == (i < 20 ? i : i - 20));
        assert_true(got[96 + i] == 0x49249249);
        assert_true(got[128 + i] == 7);
    }
}

/* One tile by tensor cores: a (16, 16) row-major, b (16, 8) row-major, d (16, 8), through shared
 * memory, cp.async and ldmatrix. */
__global__ void tile_product(float *d, const uint4 *a, const uint4 *b)
{
    uint4 *tile = dynamic_shared<uint4>(); /* a: rows of two uint4; then b: rows of one */
    int lane = threadIdx.x, g = lane / 4, t = lane % 4;
    cp_async16(tile + lane, a + lane);
    cp_async16(tile + 32 + lane % 16, b + lane % 16, lane < 16);
    cp_async_commit();
    cp_async_wait<0>();
    __syncwarp();
    if (lane < 16) tile[48 + lane] = b[lane];
    __syncwarp();
    unsigned fa[4], fb[4];
    float sums[4] = {0, 0, 0, 0};
    ldmatrix_x4(fa, tile + lane % 16 * 2 + lane / 16);
    ldmatrix_x4_trans(fb, tile + 48 + lane % 16);
    mma_m16n8k16_bf16(sums, fa, fb);
    for (int i = 0; i < 4; i++) d[(g + i / 2 * 8) * 8 + 2 * t + i % 2] = sums[i];
}

static void test_tensor_cores(void **)
{
    __nv_bfloat16 a[256], b[128];
    for (int i = 0; i < 256; i++) a[i] = __float2bfloat16((float)(i * 7 % 23) - 11);
    for (int i = 0; i < 128; i++) b[i] = __float2bfloat16((float)(i * 5 % 19) / 4);
    Device<uint4> da(reinterpret_cast<uint4 *>(a), 32), db(reinterpret_cast<uint4 *>(b), 16);
    Device<float> d(128);
    launch(be, tile_product, dim3(1), dim3(WARP), 64 * sizeof(uint4), d.p, da.p, db.p);
    auto got = d.host();
    for (int i = 0; i < 16; i++)
        for (int j = 0; j < 8; j++) {
            float want = 0;
            for (int k = 0; k < 16; k++)
                want += __bfloat162float(a[i * 16 + k]) * __bfloat162float(b[k * 8 + j]);
            assert_true(got[i * 8 + j] == want);
        }
}

static void test_rounding(void **)
{
    const struct {
        float x;
        unsigned bits;
    } cases[] = {{1, 0x3f80},           {1.00390625f, 0x3f80},
                 {1.01171875f, 0x3f82}, {-1.00390637f, 0xbf81},
                 {INFINITY, 0x7f80},    {3.4e38f, 0x7f80}};
    for (const auto &c : cases)
        assert_int_equal(__bfloat16_as_ushort(__float2bfloat16(c.x)), c.bits);
    assert_true(isnan(__bfloat162float(__float2bfloat16(NAN))));
}

/* Work is done when somebody waits, and a graph does its work as often as it is launched. */
__global__ void count_up(int *n)
{
    if (threadIdx.x == 0) (*n)++;
}

static void test_queue(void **)
{
    int *n, *pinned;
    assert_int_equal(cudaMallocManaged(&n, sizeof *n), 0);
    assert_int_equal(cudaMallocHost(&pinned, sizeof *pinned), 0);
    *n = 0;
    *pinned = -1;
    launch(be, count_up, dim3(1), dim3(WARP), 0, n);
    cudaMemcpyAsync(pinned, n, sizeof *n, cudaMemcpyDefault);
    assert_int_equal(*n, 0);
    assert_int_equal(*pinned, -1);
    assert_int_equal(cudaDeviceSynchronize(), 0);
    assert_int_equal(*n, 1);
    assert_int_equal(*pinned, 1);

    cudaStream_t stream;
    cudaGraph_t graph;
    cudaGraphExec_t exec;
    cudaStreamCreate(&stream);
    assert_int_equal(cudaStreamBeginCapture(stream, cudaStreamCaptureModeRelaxed), 0);
    cudaMemsetAsync(pinned, 0, sizeof *pinned, stream);
    emulator::launch_kernel({"be, count_up", __FILE__, __LINE__, 1, WARP, 0, [=] { count_up(n); }},
                            stream);
    assert_int_equal(cudaStreamSynchronize(stream), cudaErrorStreamCaptureUnsupported);
    assert_int_equal(cudaGetLastError(), cudaErrorStreamCaptureUnsupported);
    assert_int_equal(cudaMemsetAsync(pinned, 0, sizeof *pinned, stream),
                     cudaErrorStreamCaptureInvalidated);
    assert_int_equal(cudaStreamEndCapture(stream, &graph), cudaErrorStreamCaptureInvalidated);
    assert_null(graph);
    assert_int_equal(cudaStreamBeginCapture(stream, cudaStreamCaptureModeRelaxed), 0);
    cudaMemsetAsync(pinned, 0, sizeof *pinned, stream);
    emulator::launch_kernel({"be, count_up", __FILE__, __LINE__, 1, WARP, 0, [=] { count_up(n); }},
                            stream);
    assert_int_equal(cudaStreamEndCapture(stream, &graph), 0);
    assert_int_equal(cudaGraphInstantiate(&exec, graph, 0), 0);
    for (int i = 0; i < 3; i++) assert_int_equal(cudaGraphLaunch(exec, stream), 0);
    assert_int_equal(*n, 1);
    assert_int_equal(cudaStreamSynchronize(stream), 0);
    assert_int_equal(*n, 4);
    assert_int_equal(*pinned, 0);
    cudaGraphExecDestroy(exec);
    cudaGraphDestroy(graph);
    cudaStreamDestroy(stream);
    cudaFree(n);
    cudaFreeHost(pinned);
}

/* D = 2 A B + 3 D in each type, row-major and by batches, as products of the product are made. */
template <typename T, typename In>
static void check_product(cudaDataType in, cudaDataType type, cublasComputeType_t compute)
{
    enum { M = 3, N = 5, K = 4, COUNT = 2 };
    In a[COUNT * K * M], b[COUNT * K * N];
    T d[COUNT * M * N], alpha = 2, beta = 3;
    for (int i = 0; i < COUNT * K * M; i++) a[i] = (In)(float)(i % 7 - 3);
    for (int i = 0; i < COUNT * K * N; i++) b[i] = (In)(float)(i % 5 - 2);
    for (int i = 0; i < COUNT * M * N; i++) d[i] = (T)i;
    Device<In> da(a, COUNT * K * M), db(b, COUNT * K * N);
    Device<T> dd(d, COUNT * M * N);
    cublasLtHandle_t handle;
    cublasLtMatmulDesc_t desc;
    cublasLtMatrixLayout_t la, lb, ld;
    cublasLtMatmulPreference_t preference;
    cublasLtMatmulHeuristicResult_t chosen;
    int32_t row_major = CUBLASLT_ORDER_ROW, count = COUNT, transposed = CUBLAS_OP_T, found;
    cublasLtCreate(&handle);
    cublasLtMatmulDescCreate(&desc, compute, type);
    cublasLtMatmulDescSetAttribute(desc, CUBLASLT_MATMUL_DESC_TRANSA, &transposed, sizeof(int32_t));
    cublasLtMatrixLayoutCreate(&la, in, K, M, M);
    cublasLtMatrixLayoutCreate(&lb, in, K, N, N);
    cublasLtMatrixLayoutCreate(&ld, type, M, N, N);
    const struct {
        cublasLtMatrixLayout_t layout;
        int64_t step;
    } layouts[] = {{la, K * M}, {lb, K * N}, {ld, M * N}};
    for (const auto &l : layouts) {
        cublasLtMatrixLayoutSetAttribute(l.layout, CUBLASLT_MATRIX_LAYOUT_ORDER, &row_major, 4);
        cublasLtMatrixLayoutSetAttribute(l.layout, CUBLASLT_MATRIX_LAYOUT_BATCH_COUNT, &count, 4);
        cublasLtMatrixLayoutSetAttribute(l.layout, CUBLASLT_MATRIX_LAYOUT_STRIDED_BATCH_OFFSET,
                                         &l.step, 8);
    }
    cublasLtMatmulPreferenceCreate(&preference);
    assert_int_equal(cublasLtMatmulAlgoGetHeuristic(handle, desc, la, lb, ld, ld, preference, 1,
                                                    &chosen, &found),
                     0);
    assert_int_equal(found, 1);
    assert_int_equal(cublasLtMatmul(handle, desc, &alpha, da.p, la, db.p, lb, &beta, dd.p, ld, dd.p,
                                    ld, &chosen.algo, nullptr, 0, nullptr),
                     0);
    auto got = dd.host();
    for (int c = 0; c < COUNT; c++)
        for (int i = 0; i < M; i++)
            for (int j = 0; j < N; j++) {
                T want = beta * d[c * M * N + i * N + j];
                for (int k = 0; k < K; k++)
                    want += alpha * (T)a[c * K * M + k * M + i] * (T)b[c * K * N + k * N + j];
                assert_true(got[c * M * N + i * N + j] == want);
            }
    for (const auto &l : layouts) cublasLtMatrixLayoutDestroy(l.layout);
    cublasLtMatmulPreferenceDestroy(preference);
    cublasLtMatmulDescDestroy(desc);
    cublasLtDestroy(handle);
}

static void test_products(void **)
{
    check_product<float, float>(CUDA_R_32F, CUDA_R_32F, CUBLAS_COMPUTE_32F);
    check_product<double, double>(CUDA_R_64F, CUDA_R_64F, CUBLAS_COMPUTE_64F);
    check_product<float, __nv_bfloat16>(CUDA_R_16BF, CUDA_R_32F, CUBLAS_COMPUTE_32F);
}

/* --- what must not go unseen --- */

/* Runs f in a process of its own, which must die and say so in these words. */
static void dies(const char *words, void (*f)())
{
    auto run = [=] {
        f();
        cudaDeviceSynchronize();
    };
    int status;
    std::string said = said_by(run, &status);
    if (status == 0 || said.find(words) == std::string::npos)
        fail_msg("status %x, no '%s' in: %s", status, words, said.c_str());
}

__global__ void half_a_barrier(int *)
{
    if (threadIdx.x < 32) __syncthreads();
}
__global__ void two_barriers(int *)
{
    if (threadIdx.x < 32)
        __syncthreads();
    else
        __syncthreads();
}
__global__ void half_a_warp(int *)
{
    if (threadIdx.x % 2) __syncwarp();
}
__global__ void early_return(int *out)
{
    if (threadIdx.x == 5) return;
    *out = __shfl_sync(FULL_WARP, *out, 0);
}
__global__ void two_meetings(int *out)
{
    if (threadIdx.x % 2)
        __syncwarp();
    else
        *out = __shfl_sync(FULL_WARP, *out, 0);
}
__global__ void write_at(int *out, int i)
{
    if (threadIdx.x == 0) out[i] = 1;
}
__global__ void misaligned(float *x)
{
    *reinterpret_cast<float4 *>(x + 1) = make_float4(0, 0, 0, 0);
}
__global__ void shared_at(int *out, int i)
{
    __shared__ int x[64];
    x[threadIdx.x] = 0;
    out[0] = x[i];
}
__global__ void dynamic_at(int *out, int i)
{
    out[0] = dynamic_shared<int>()[i];
}
__global__ void unmatched_copy(float *out)
{
    float *tile = dynamic_shared<float>();
    if (threadIdx.x == 0) cp_async16(tile, out);
    cp_async_commit();
    cp_async_wait<1>(); /* one too many */
    __syncthreads();
    out[threadIdx.x] = tile[0];
    cp_async_wait<0>();
}
__global__ void copy_left(float *out)
{
    cp_async16(dynamic_shared<float>(), out);
    cp_async_commit();
}

static void on_one(void (*kernel)(int *), int threads)
{
    Device<int> x(64);
    launch(be, kernel, dim3(2), dim3(threads), 0, x.p);
    cudaDeviceSynchronize();
}

static void test_meetings(void **)
{
    dies("kernel kernel", [] { on_one(half_a_barrier, 64); });
    dies("not all threads of a block come together: thread 0 waits at __syncthreads",
         [] { on_one(half_a_barrier, 64); });
    dies("not all threads of a block come together", [] { on_one(two_barriers, 64); });
    dies("not all lanes of a warp come together", [] { on_one(half_a_warp, 32); });
    dies("thread 5 has ended", [] { on_one(early_return, 32); });
    dies("lanes of one warp meet at", [] { on_one(two_meetings, 32); });
}

static void write_to(int i)
{
    Device<int> x(100);
    launch(be, write_at, dim3(1), dim3(32), 0, x.p, i);
    cudaDeviceSynchronize();
}

static void test_memory(void **)
{
    dies("host code, which device memory is no business of", [] {
        Device<int> x(100);
        printf("%d", x.p[3]);
    });
    dies("at byte 12 of 400 bytes", [] {
        Device<int> x(100);
        x.p[3] = 1;
    });
    dies("kernel write_at", [] { write_to(100); });
    dies("write_at wrote past the end of 400 bytes", [] { write_to(100); });
    dies("write_at wrote in front of 400 bytes", [] { write_to(-1); });
    dies("past the end of 400 bytes", [] { write_to(128); });
    dies("misaligned", [] {
        Device<float> x(100);
        launch(be, misaligned, dim3(1), dim3(32), 0, x.p);
    });
    dies("out of bounds", [] {
        Device<int> x(1);
        launch(be, shared_at, dim3(1), dim3(32), 0, x.p, 64);
    });
    dies("a thread has ended before its copies", [] {
        Device<float> x(64);
        launch(be, copy_left, dim3(1), dim3(32), 256, x.p);
    });
    dies("past the end of dynamic shared memory", [] {
        Device<int> x(1);
        launch(be, dynamic_at, dim3(1), dim3(32), 128, x.p, 32);
    });
}

static void test_poison(void **)
{
    Device<float> x(64);
    assert_true(isnan(x.host()[63]));
    cudaMemset(x.p, 0, 64 * sizeof(float));
    launch(be, unmatched_copy, dim3(1), dim3(32), 256, x.p);
    assert_true(isnan(x.host()[0]));
    Device<int> y(1);
    launch(be, shared_at, dim3(1), dim3(32), 0, y.p, 63);
    assert_int_equal(y.host()[0], -1);
}

static void launch_as(dim3 grid, dim3 block, size_t shared)
{
    Device<int> x(1);
    launch(be, count_up, grid, block, shared, x.p);
}

static void test_launches(void **)
{
    dies("launch of count_up", [] { launch_as(1, 2048, 0); });
    dies("at most 64 along z", [] { launch_as(1, dim3(32, 1, 65), 0); });
    dies("whole warps", [] { launch_as(1, 48, 0); });
    dies("65535 along y and z", [] { launch_as(dim3(1, 65536), 32, 0); });
    dies("227 KB", [] { launch_as(1, 32, (227 << 10) + 1); });
}

static void test_faults(void **)
{
    void *p;
    int count;
    setenv("TTT_EMULATOR_FAIL", "driver", 1);
    assert_int_equal(cudaGetDeviceCount(&count), cudaErrorInsufficientDriver);
    setenv("TTT_EMULATOR_FAIL", "device", 1);
    assert_int_equal(cudaGetDeviceCount(&count), cudaErrorNoDevice);
    assert_int_equal(count, 0);
    setenv("TTT_EMULATOR_FAIL", "memory:1", 1);
    assert_int_equal(cudaMalloc(&p, 2 << 20), cudaErrorMemoryAllocation);
    setenv("TTT_EMULATOR_FAIL", "malloc:1", 1);
    assert_int_equal(cudaMalloc(&p, 1), cudaErrorMemoryAllocation);
    setenv("TTT_EMULATOR_FAIL", "", 1);
    assert_int_equal(cudaGetLastError(), cudaErrorMemoryAllocation);
    assert_int_equal(cudaGetLastError(), cudaSuccess);
    int host = 0;
    assert_int_equal(cudaMalloc(&p, sizeof host), 0);
    assert_int_equal(cudaMemcpy(&host, p, sizeof host, cudaMemcpyHostToDevice),
                     cudaErrorInvalidMemcpyDirection);
    assert_int_equal(cudaMemcpy(&host, p, 5, cudaMemcpyDeviceToHost), cudaErrorInvalidValue);
    assert_int_equal(cudaFree(p), 0);
    assert_int_equal(cudaFree(&host), cudaErrorInvalidValue);
}

/* Kernels that may begin before the one before has ended: every thread waits for it. */
__global__ void waits(int *n, int threads)
{
    ask_for(n);
    if ((int)threadIdx.x < threads) wait_for_earlier();
    __syncthreads();
    if (threadIdx.x == 0) (*n)++;
}

static void start_early(int threads)
{
    Device<int> x(1);
    cudaMemset(x.p, 0, sizeof(int));
    launch_early(be, waits, dim3(2), dim3(64), 0, x.p, threads);
    launch_early(be, waits, dim3(2), dim3(64), 0, x.p, threads);
    assert_int_equal(x.host()[0], 4);
}

static void test_early(void **)
{
    start_early(64);
    dies("a thread has not called wait_for_earlier", [] { start_early(63); });
    dies("a prefetch at", [] {
        launch(be, waits, dim3(1), dim3(32), 0, (int *)&be, 32);
        cudaDeviceSynchronize();
    });
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_reduction),    cmocka_unit_test(test_exchanges),
        cmocka_unit_test(test_tensor_cores), cmocka_unit_test(test_rounding),
        cmocka_unit_test(test_queue),        cmocka_unit_test(test_products),
        cmocka_unit_test(test_meetings),     cmocka_unit_test(test_memory),
        cmocka_unit_test(test_poison),       cmocka_unit_test(test_launches),
        cmocka_unit_test(test_faults),       cmocka_unit_test(test_early),
    };
    return cmocka_run_group_tests(tests, nullptr, nullptr);
}
