/* Products on the GPU by cuBLASLt: float32 without TF32, double, or bfloat16 operands with float32
 * sums. Included by .cu files only. */
#ifndef TTT_BACKEND_GEMM_CUDA_CUH
#define TTT_BACKEND_GEMM_CUDA_CUH

#include "backend/cuda_state.cuh"

typedef struct CudaGemm CudaGemm;

int cuda_gemm_open(CudaGemm **out, Err *err);
void cuda_gemm_close(CudaGemm *c); /* NULL is fine */
void cuda_gemm(Backend *be, CudaGemm *c, const Gemm *g);
/* Counts how deep groups of products are nested, see gemm_group_begin. */
void cuda_gemm_group(CudaGemm *c, bool begins);
/* Around a rehearsal (cuda.cu): at its end, the bytes that rounded operands would take. */
size_t cuda_gemm_rehearse(CudaGemm *c, bool begins);
/* As round_bf16 in machine.h. */
void cuda_round_bf16(Backend *be, uint16_t *to, const real *x, size_t n);

#endif
