/* Tensor cores and copies past the registers: what CUDA C++ has no words for. Each of the first
 * three is a collective of one warp. Fragments are those of the PTX manual: with g = lane / 4 and
 * t = lane % 4,
 *   a (16, 16) bf16   a[0], a[1]: rows g, g + 8, columns 2t, 2t + 1; a[2], a[3]: columns 8 further
 *   b (16, 8)  bf16   b[0]: rows 2t, 2t + 1 of column g; b[1]: rows 8 further
 *   d (16, 8)  float  d[0], d[1]: row g, columns 2t, 2t + 1; d[2], d[3]: row g + 8
 * so that two neighbouring d, rounded, are an a. The lower half of a pair comes first. */
#ifndef TTT_OPS_MMA_CUH
#define TTT_OPS_MMA_CUH

#include <cuda_runtime.h>

/* d += a b */
__device__ inline void mma_m16n8k16_bf16(float d[4], const unsigned a[4], const unsigned b[2])
{
    asm volatile("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 "
                 "{%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};"
                 : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
                 : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
}

__device__ inline unsigned shared_address(const void *shared)
{
    return (unsigned)__cvta_generic_to_shared(shared);
}

/* Four 8x8 matrices of 16-bit elements: lane 8 i + j points at row j (16 bytes) of matrix i; r[i]
 * becomes elements 2t, 2t + 1 of row g of matrix i. */
__device__ inline void ldmatrix_x4(unsigned r[4], const void *shared)
{
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0, %1, %2, %3}, [%4];"
                 : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
                 : "r"(shared_address(shared))
                 : "memory");
}

/* The same of the transposed matrices: r[i] becomes elements of column g, rows 2t, 2t + 1. */
__device__ inline void ldmatrix_x4_trans(unsigned r[4], const void *shared)
{
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0, %1, %2, %3}, [%4];"
                 : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
                 : "r"(shared_address(shared))
                 : "memory");
}

/* 16 bytes from global to shared memory, both 16-byte aligned; zeros where `there` is false, and
 * then nothing is read. Seen by this thread after cp_async_wait, by others after a barrier too. */
__device__ inline void cp_async16(void *shared, const void *global, bool there = true)
{
    asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(shared_address(shared)),
                 "l"(global), "r"(there ? 16 : 0)
                 : "memory");
}

/* Closes a group of this thread's copies. */
__device__ inline void cp_async_commit()
{
    asm volatile("cp.async.commit_group;" ::: "memory");
}

/* Waits until at most N of this thread's latest groups are still on their way. */
template <int N> __device__ inline void cp_async_wait()
{
    asm volatile("cp.async.wait_group %0;" ::"n"(N) : "memory");
}

/* Two floats rounded to bfloat16, to nearest even; `low` in the lower half. */
__device__ inline unsigned pack_bf16(float low, float high)
{
    unsigned pair;
    asm("cvt.rn.bf16x2.f32 %0, %1, %2;" : "=r"(pair) : "f"(high), "f"(low));
    return pair;
}

/* 2^x to 2 ulp, 0 for -inf. */
__device__ inline float exp2_fast(float x)
{
    float y;
    asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
    return y;
}

#endif
