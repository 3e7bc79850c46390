/* The ways a kernel is started: on the backend's stream, never waited for, with its error kept
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

/* As launch, without dynamic shared memory beyond the default; but the kernel may begin while the
 * one before it ends ("programmatic dependent launch", compute capability 9.0). All of its threads
 * call wait_for_earlier, and until then they touch no device memory. A kernel that has begun with
 * launch is after all of these as after any. */
template <typename... Parameters, typename... Arguments>
static void launch_early(Backend *be, void (*kernel)(Parameters...), dim3 grid, dim3 block,
                         size_t shared, Arguments... arguments)
{
    if (!cuda_starts_early(be) || shared > CUDA_STATIC_SHARED) {
        launch(be, kernel, grid, block, shared, arguments...);
        return;
    }
    if (cuda_failed(be) || grid.x == 0 || grid.y == 0 || grid.z == 0) return;
    cudaLaunchAttribute early = {};
    early.id = cudaLaunchAttributeProgrammaticStreamSerialization;
    early.val.programmaticStreamSerializationAllowed = 1;
    cudaLaunchConfig_t how = {};
    how.gridDim = grid;
    how.blockDim = block;
    how.dynamicSmemBytes = shared;
    how.stream = cuda_stream(be);
    how.attrs = &early;
    how.numAttrs = 1;
    cuda_note(be, "kernel",
              cudaLaunchKernelEx(&how, kernel, static_cast<Parameters>(arguments)...));
}

/* In a kernel that may begin early: until all that was started before it is done, and seen; then
 * the next one may begin. */
__device__ inline void wait_for_earlier()
{
#if __CUDA_ARCH__ >= 900
    asm volatile("griddepcontrol.wait;" ::: "memory");
    asm volatile("griddepcontrol.launch_dependents;" ::: "memory");
#endif
}

/* The 32 bytes of device memory around p are asked for, into the second cache, where all that is
 * written still comes: that may be done early. */
__device__ inline void ask_for(const void *p)
{
    asm volatile("prefetch.global.L2 [%0];" ::"l"(p));
}

/* Of dynamic shared memory, in a kernel. */
template <typename T> __device__ T *dynamic_shared()
{
    extern __shared__ __align__(128) unsigned char shared_bytes[];
    return reinterpret_cast<T *>(shared_bytes);
}

#endif
