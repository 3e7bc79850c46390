/* Products on the GPU for which the library has no algorithm. Included by .cu files only. */
#ifndef TTT_BACKEND_GEMM_PLAIN_CUH
#define TTT_BACKEND_GEMM_PLAIN_CUH

#include "backend/cuda_state.cuh"

/* As cuda_gemm; half: A and B, with their ld and step, are bfloat16. */
void cuda_gemm_plain(Backend *be, const Gemm *g, bool half);

#endif
