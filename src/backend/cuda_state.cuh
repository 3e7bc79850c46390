/* What the files of the CUDA backend share: the stream, the first error, scratch. Included by .cu
 * files only. */
#ifndef TTT_BACKEND_CUDA_STATE_CUH
#define TTT_BACKEND_CUDA_STATE_CUH

#include <cuda_runtime.h>

extern "C" {
#include "backend/backend.h"
}

enum { CUDA_STATIC_SHARED = 48 << 10 }; /* bytes a block has without asking */

/* Notes the first failure of `what`; after one, nothing is started any more, downloads give NaN,
 * and backend_status returns it as one line. */
void cuda_note(Backend *be, const char *what, cudaError_t status);
void cuda_fail(Backend *be, const char *what, const char *why);
bool cuda_failed(const Backend *be);
cudaStream_t cuda_stream(const Backend *be);
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

#endif
