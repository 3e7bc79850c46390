/* Kernels of test_race.cu: each races in one way, or nearly does. */
#ifndef EMULATOR_RACE_KERNELS_CUH
#define EMULATOR_RACE_KERNELS_CUH

#include "ops/kernel.cuh"
#include "ops/mma.cuh"

enum { BLOCKS = 3, THREADS = 64, N = BLOCKS * THREADS, SHARED = 4096 };

__device__ inline int me()
{
    return (int)threadIdx.x;
}
__device__ inline int all() /* of the grid */
{
    return (int)(blockIdx.x * blockDim.x + threadIdx.x);
}

/* ------------------------------------------------------------------------------ within a block */

__global__ void no_barrier(float *out, const float *)
{
    __shared__ float x[THREADS];
    x[me()] = 1;
    out[all()] = x[(me() + 32) % THREADS];
}
__global__ void barrier(float *out, const float *)
{
    __shared__ float x[THREADS];
    x[me()] = 1;
    __syncthreads();
    out[all()] = x[(me() + 32) % THREADS];
}
__global__ void read_before_write(float *out, const float *)
{
    __shared__ float x[THREADS];
    x[me()] = 1;
    __syncthreads();
    out[all()] = x[(me() + 32) % THREADS];
    x[me()] = 2;
}
/* Of many readers only two are remembered: it must be two that matter. */
__global__ void last_reader(float *out, const float *)
{
    float *x = dynamic_shared<float>();
    if (me() == 0) x[0] = 1;
    __syncthreads();
    out[all()] = x[0];
    __syncwarp();
    if (me() == 40) x[0] = 2;
}
__global__ void same_value(float *, const float *)
{
    dynamic_shared<float>()[5] = 1;
}
__global__ void barrier_by_count(float *out, const float *)
{
    float *x = dynamic_shared<float>();
    for (int round = 0; round < 3; round++) {
        x[me()] = (float)round;
        int n = round == 0   ? __syncthreads_count(1)
                : round == 1 ? __syncthreads_or(0)
                             : __syncthreads_and(1);
        out[all()] = x[THREADS - 1 - me()] + (float)n;
        __syncthreads();
    }
}
/* Neighbours in one word, and in one vector, are no race. */
__global__ void parts_of_words(float *out, const float *)
{
    auto *halves = dynamic_shared<unsigned short>();
    auto *bytes = reinterpret_cast<unsigned char *>(out);
    auto *vectors = reinterpret_cast<float4 *>(halves + 2 * THREADS);
    halves[me()] = (unsigned short)me();
    vectors[me()] = make_float4(1, 2, 3, 4);
    for (int i = 0; i < 4; i++) bytes[i * N + all()] = 1;
}
__global__ void one_half_of_a_word(float *out, const float *)
{
    auto *halves = dynamic_shared<unsigned short>();
    halves[me()] = 1;
    if (me() == 40) halves[3] = 2;
    out[all()] = 0;
}
__global__ void within_a_vector(float *out, const float *)
{
    auto *vectors = dynamic_shared<float4>();
    vectors[me()] = make_float4(1, 2, 3, 4);
    out[all()] = reinterpret_cast<float *>(vectors)[me()];
}
struct Three {
    float x, y, z;
};
__global__ void structures(float *out, const float *)
{
    __shared__ Three x[THREADS];
    x[me()] = {1, 2, 3};
    Three other = x[THREADS - 1 - me()];
    out[all()] = other.z;
}
/* A call's structure, written where it is to be (EMULATOR_INLINES). */
__device__ inline Three three_of(int n)
{
    Three t = {0, 1, 2};
    for (int i = 0; i < n; i++) t.x += t.y * (float)i;
    return t;
}
__global__ void returned(float *out, const float *)
{
    auto *x = reinterpret_cast<Three *>(dynamic_shared<float>());
    x[me()] = three_of(me());
    x[THREADS - 1 - me()] = three_of(me() + 1);
    out[all()] = 0;
}
__global__ void copied(float *out, const float *in)
{
    float *x = dynamic_shared<float>();
    memcpy(x + me(), in + all(), (size_t)(blockDim.x / 16));
    out[all()] = x[(me() + 40) % THREADS];
}
__global__ void cleared(float *out, const float *)
{
    float *x = dynamic_shared<float>();
    if (me() == 0) memset(x, 0, THREADS * sizeof *x);
    out[all()] = x[me()];
}
/* The place is used again by the next block, which is no race. */
__global__ void block_after_block(float *out, const float *)
{
    __shared__ float x;
    if (me() == 0) x = (float)blockIdx.x;
    __syncthreads();
    out[all()] = x;
}

/* ------------------------------------------------------------------------------ within a warp */

__global__ void shuffle_is_no_barrier(float *out, const float *)
{
    float *x = dynamic_shared<float>();
    x[me()] = 1;
    float sum = warp_sum(x[me()]);
    out[all()] = x[me() ^ 1] + sum;
}
__global__ void ballot_is_no_barrier(float *out, const float *)
{
    float *x = dynamic_shared<float>();
    x[me()] = 1;
    out[all()] = x[me() ^ 1] + (float)__ballot_sync(FULL_WARP, 1);
    x[me()] = 2;
}
__global__ void mma_is_no_barrier(float *out, const float *)
{
    float *x = dynamic_shared<float>(), d[4] = {};
    unsigned a[4] = {}, b[2] = {};
    x[me()] = 1;
    mma_m16n8k16_bf16(d, a, b);
    out[all()] = x[me() ^ 1] + d[0];
}
__global__ void warp_barrier(float *out, const float *)
{
    float *x = dynamic_shared<float>();
    for (int round = 0; round < 2; round++) {
        x[me()] = 1;
        __syncwarp();
        out[all()] = x[me() ^ 1];
        __syncwarp();
    }
}
__global__ void other_warp(float *out, const float *)
{
    float *x = dynamic_shared<float>();
    x[me()] = 1;
    __syncwarp();
    out[all()] = x[me() ^ 32];
}

/* ------------------------------------------------------------------------------ of a grid */

__global__ void one_place(float *out, const float *)
{
    if (me() == 0) out[7] = 1;
}
__global__ void next_block(float *out, const float *)
{
    out[all()] = out[(all() + THREADS) % N];
}
/* Reads of every block, then a write by one that has passed barriers of its own. */
__global__ void written_at_last(float *out, const float *in)
{
    out[all()] = in[0];
    __syncthreads();
    if (all() == N - 1) const_cast<float *>(in)[0] = 2;
}
__global__ void in_place(float *out, const float *)
{
    for (int i = all(); i < 4 * N; i += N) out[i] += 1;
}
__global__ void within_global(float *out, const float *)
{
    out[all()] = 1;
    __syncthreads();
    out[(int)blockIdx.x * THREADS + THREADS - 1 - me()] += 1;
}
__global__ void within_global_no_barrier(float *out, const float *)
{
    out[all()] = 1;
    out[(int)blockIdx.x * THREADS + THREADS - 1 - me()] += 1;
}

/* ------------------------------------------------------------------------------ atomics */

__global__ void counted(float *out, const float *)
{
    atomicAdd(reinterpret_cast<int *>(out), 1);
}
__global__ void counted_and_read(float *out, const float *)
{
    int *count = reinterpret_cast<int *>(out);
    atomicAdd(count, 1);
    if (all() == 70) out[9] = (float)*count;
}
/* The last block to come reads what all have written. */
template <bool BEFORE, bool AFTER> __device__ inline void last_block(float *out)
{
    __shared__ bool last;
    auto *count = reinterpret_cast<unsigned *>(out) + N;
    out[all()] = 1;
    __syncthreads();
    if (me() == 0) {
        if (BEFORE) __threadfence();
        last = atomicInc(count, BLOCKS - 1) == BLOCKS - 1;
        if (AFTER) __threadfence();
    }
    __syncthreads();
    if (!last) return;
    float sum = 0;
    for (int i = me(); i < N; i += THREADS) sum += out[i];
    out[N + 1 + me()] = sum;
    __syncthreads();
    for (int i = me(); i < N; i += THREADS) out[i] = 0;
}
__global__ void published(float *out, const float *)
{
    last_block<true, true>(out);
}
__global__ void unpublished(float *out, const float *)
{
    last_block<false, true>(out);
}
__global__ void unseen(float *out, const float *)
{
    last_block<true, false>(out);
}
/* A fence of each thread, the atomic of one. */
__global__ void published_by_all(float *out, const float *)
{
    auto *count = reinterpret_cast<unsigned *>(out) + N;
    out[all()] = 1;
    __threadfence();
    __syncthreads();
    unsigned before = me() == 40 ? atomicAdd(count, 1u) : 0;
    __threadfence();
    __syncthreads();
    if (before == BLOCKS - 1) out[0] += out[N - 1] + out[THREADS];
}
__global__ void written_after_the_fence(float *out, const float *)
{
    auto *count = reinterpret_cast<unsigned *>(out) + N;
    if (me() > 0) return;
    __threadfence();
    out[all()] = 1;
    unsigned before = atomicAdd(count, 1u);
    __threadfence();
    if (before == BLOCKS - 1) out[0] += out[THREADS];
}

/* ------------------------------------------------------------------------------ cp.async */

__global__ void copy_waited(float *out, const float *in)
{
    float *x = dynamic_shared<float>();
    for (int round = 0; round < 2; round++) {
        if (me() < 16) cp_async16(x + 4 * me(), in + 4 * me(), me() < 9);
        cp_async_commit();
        cp_async_wait<0>();
        __syncthreads();
        out[all()] = x[me()];
        __syncthreads();
    }
}
/* Two stages, the next one on its way while this one is read. */
__global__ void copy_stages(float *out, const float *in)
{
    float *x = dynamic_shared<float>();
    cp_async16(x + 4 * me(), in + 4 * me());
    cp_async_commit();
    for (int i = 0; i < 4; i++) {
        cp_async_wait<0>();
        __syncthreads();
        if (i < 3) cp_async16(x + (i + 1) % 2 * 256 + 4 * me(), in + 4 * me());
        cp_async_commit();
        out[all()] = x[i % 2 * 256 + me()];
    }
}
__global__ void copy_without_barrier(float *out, const float *in)
{
    float *x = dynamic_shared<float>();
    cp_async16(x + 4 * me(), in + 4 * me());
    cp_async_commit();
    cp_async_wait<0>();
    out[all()] = x[(4 * me() + 128) % 256];
}
__global__ void copy_not_waited(float *out, const float *in)
{
    float *x = dynamic_shared<float>();
    cp_async16(x + 4 * me(), in + 4 * me());
    cp_async_commit();
    __syncthreads();
    out[all()] = x[me()];
}
/* Not even by the thread itself. */
__global__ void copy_of_its_own(float *out, const float *in)
{
    float *x = dynamic_shared<float>();
    cp_async16(x + 4 * me(), in + 4 * me());
    cp_async_commit();
    cp_async16(x + 512 + 4 * me(), in + 4 * me());
    cp_async_commit();
    cp_async_wait<1>();
    out[all()] = x[4 * me()] + x[512 + 4 * me()];
}
__global__ void copy_waited_by_another(float *out, const float *in)
{
    float *x = dynamic_shared<float>();
    if (me() == 0) cp_async16(x, in);
    cp_async_commit();
    if (me() != 0) cp_async_wait<0>();
    __syncthreads();
    out[all()] = x[me() % 4];
}
__global__ void copy_over_readers(float *out, const float *in)
{
    float *x = dynamic_shared<float>();
    x[me()] = 1;
    __syncthreads();
    out[all()] = x[(me() + 32) % THREADS];
    if (me() < 16) cp_async16(x + 4 * me(), in);
    cp_async_commit();
    cp_async_wait<0>();
}
__global__ void copy_twice(float *, const float *in)
{
    float *x = dynamic_shared<float>();
    if (me() == 0) cp_async16(x, in);
    if (me() == 0) cp_async16(x, in + 4);
    cp_async_commit();
    cp_async_wait<0>();
}
__global__ void copy_of_what_changes(float *out, const float *)
{
    float *x = dynamic_shared<float>();
    if (me() == 0) cp_async16(x, out + 4 * (int)blockIdx.x);
    cp_async_commit();
    __syncthreads();
    if (me() == 40) out[4 * (int)blockIdx.x] = 1;
    cp_async_wait<0>();
}

/* ------------------------------------------------------------------------------ ldmatrix */

/* Each lane writes the row that it points at, and others read it. */
template <bool SYNC> __device__ inline void rows_of_lanes(float *out, bool transposed)
{
    uint4 *x = dynamic_shared<uint4>() + me() / WARP * WARP;
    int lane = me() % WARP;
    unsigned r[4];
    x[lane] = make_uint4(1, 2, 3, 4);
    if (SYNC) __syncwarp();
    if (transposed)
        ldmatrix_x4_trans(r, x + lane);
    else
        ldmatrix_x4(r, x + lane);
    out[all()] = (float)r[0];
    if (SYNC) __syncwarp();
    x[lane] = make_uint4(0, 0, 0, 0);
}
__global__ void matrix_synced(float *out, const float *)
{
    rows_of_lanes<true>(out, false);
    __syncwarp();
    rows_of_lanes<true>(out, true);
}
__global__ void matrix_not_synced(float *out, const float *)
{
    rows_of_lanes<false>(out, false);
}
__global__ void matrix_not_synced_trans(float *out, const float *)
{
    rows_of_lanes<false>(out, true);
}
__global__ void matrix_overwritten(float *out, const float *)
{
    uint4 *x = dynamic_shared<uint4>();
    unsigned r[4];
    x[me()] = make_uint4(1, 2, 3, 4);
    __syncthreads();
    ldmatrix_x4(r, x + me() % WARP);
    x[me()] = make_uint4(0, 0, 0, 0);
    out[all()] = (float)r[0];
}

#endif
