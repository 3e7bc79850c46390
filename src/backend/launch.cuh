/* The one way a kernel is started: on the backend's stream, never waited for, with its error kept
 * until backend_status asks. Included by .cu files only. */
#ifndef TTT_BACKEND_LAUNCH_CUH
#define TTT_BACKEND_LAUNCH_CUH

#include <cuda_runtime.h>

#include "backend/cuda_state.cuh"

/* Each file's own: files may give their kernels' arguments types of one name.
 * shared: bytes of dynamic shared memory; where the default may not do, the kernel's limit is
 * raised first. */
template <typename... Parameters, typename... Arguments>
static void launch(Backend *be, void (*kernel)(Parameters...), dim3 grid, dim3 block, size_t shared,
                   Arguments... arguments)
{
    if (cuda_failed(be) || grid.x == 0 || grid.y == 0 || grid.z == 0) return;
    if (shared > CUDA_STATIC_SHARED)
        cuda_note(
            be, "shared memory",
            cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, (int)shared));
    kernel<<<grid, block, shared, cuda_stream(be)>>>(arguments...);
    cuda_note(be, "kernel", cudaGetLastError());
}

/* Of dynamic shared memory, in a kernel. */
template <typename T> __device__ T *dynamic_shared()
{
    extern __shared__ __align__(128) unsigned char shared_bytes[];
    return reinterpret_cast<T *>(shared_bytes);
}

#endif
