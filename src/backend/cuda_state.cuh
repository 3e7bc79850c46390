/* What the files of the CUDA backend share: the stream, the first error, scratch. Included by .cu
 * files only. */
#ifndef TTT_BACKEND_CUDA_STATE_CUH
#define TTT_BACKEND_CUDA_STATE_CUH

#include <cuda_runtime.h>

extern "C" {
#include "backend/backend.h"
}

/* Bytes of dynamic shared memory that a block has without asking: 48 KB less what its kernel has in
 * variables, of which none beside dynamic memory has as much as 16. */
enum { CUDA_STATIC_SHARED = 32 << 10 };

/* Notes the first failure of `what`; after one, nothing is started any more, downloads give NaN,
 * and backend_status returns it as one line. */
void cuda_note(Backend *be, const char *what, cudaError_t status);
void cuda_fail(Backend *be, const char *what, const char *why);
bool cuda_failed(const Backend *be);
/* Nor is anything started in a rehearsal (backend_rehearse_begin), where cuda_failed is true too;
 * but what would be must be seen to grow scratch. */
bool cuda_rehearses(const Backend *be);
cudaStream_t cuda_stream(const Backend *be);
/* Bytes of shared memory that a block may have at most. */
size_t cuda_shared_most(const Backend *be);
/* Whether kernels may begin before the one before has ended. */
bool cuda_starts_early(const Backend *be);
/* Number of multiprocessors, to size grids that walk over their work. */
int cuda_processors(const Backend *be);
/* Counts of blocks that are done, (CUDA_COUNTERS) in device memory: zero before each kernel, which
 * leaves them so. */
enum { CUDA_COUNTERS = 4096 };
unsigned *cuda_counters(const Backend *be);
/* Device scratch between the kernels of one operation: grows to the largest request, so that after
 * a first step nothing is allocated. Contents are undefined. 256-byte aligned. */
void *cuda_scratch(Backend *be, size_t bytes);
/* Such a room of one's own: of *bytes now, of at least `wanted` afterwards; what was in it is lost
 * where it grows. */
void *cuda_grow(Backend *be, void *room, size_t *bytes, size_t wanted);
/* The end of such a room, when the GPU is done with it. recorded: a record may play with it. */
void cuda_release(Backend *be, void *room, size_t bytes, bool recorded);

/* Of products, see operands_cuda.cuh. */
struct CudaOperands *cuda_operands(const Backend *be);
/* Where a kernel that is asked for y (n) shall leave it in bfloat16, packed, and nowhere else, as
 * gemm_operand has declared it; NULL: in y, as ever. */
uint16_t *cuda_operand_to_write(const Backend *be, const real *y, size_t n);

#endif
