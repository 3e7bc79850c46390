/* Products on the GPU by cuBLASLt: float32 without TF32, double, or bfloat16 operands with float32
 * sums. Included by .cu files only. */
#ifndef TTT_BACKEND_GEMM_CUDA_CUH
#define TTT_BACKEND_GEMM_CUDA_CUH

#include "backend/cuda_state.cuh"

typedef struct CudaGemm CudaGemm;

int cuda_gemm_open(CudaGemm **out, Err *err);
void cuda_gemm_close(CudaGemm *c); /* NULL is fine */
void cuda_gemm(Backend *be, CudaGemm *c, const Gemm *g);

#endif
