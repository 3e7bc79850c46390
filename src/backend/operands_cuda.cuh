/* Operands of products in bfloat16: what cuBLASLt reads where a model computes in that type.
 *
 * A weight has its kept copy (bf16_copy.h). Anything else is rounded into a room of this file's,
 * once in a group of products (gemm_group_begin), or written there in the first place by the kernel
 * that makes it, where it was declared to be an operand and nothing else (gemm_operand): 2 bytes an
 * element to write and none to read, instead of 4, 4 and 2, and a launch less.
 *
 * Included by .cu files only. */
#ifndef TTT_BACKEND_OPERANDS_CUDA_CUH
#define TTT_BACKEND_OPERANDS_CUDA_CUH

#include "backend/cuda_state.cuh"

typedef struct CudaOperands CudaOperands;

/* `count` matrices (rows, cols): rows ld, matrices step elements apart; step 0: one for all. */
typedef struct Matrices {
    const void *data;
    int64_t rows, cols, ld, step;
    int count;
} Matrices;

enum { AT_ONCE = 8 };

CudaOperands *cuda_operands_open(void);
void cuda_operands_close(Backend *be, CudaOperands *o); /* NULL is fine */
/* Counts how deep groups are nested; what they rounded is forgotten at the end of the outermost. */
void cuda_operands_group(Backend *be, CudaOperands *o, bool begins);
/* gemm_operand */
void cuda_operands_declare(Backend *be, CudaOperands *o, const real *x, size_t n);
/* What lies in x (n) has changed. */
void cuda_operands_forget(CudaOperands *o, const real *x, size_t n);
/* n matrices, AT_ONCE at most, of `real` become what they are in bfloat16; data NULL: zeros; count
 * 0: left out. */
void cuda_operands_round(Backend *be, CudaOperands *o, Matrices *m, int n);

/* As round_bf16 in machine.h. */
void cuda_round_bf16(Backend *be, uint16_t *to, const real *x, size_t n, int count, size_t step);

#endif
