/* The emulated device, its memory, and copies, as the runtime interface has them. */
#include <algorithm>
#include <cstdio>
#include <vector>

#include "queue.h"

using namespace emulator;

/* --- errors and the device --- */

struct ErrorText {
    cudaError_t error;
    const char *name, *text;
};

static const ErrorText error_texts[] = {
    {cudaSuccess, "cudaSuccess", "no error"},
    {cudaErrorInvalidValue, "cudaErrorInvalidValue", "invalid argument"},
    {cudaErrorMemoryAllocation, "cudaErrorMemoryAllocation", "out of memory"},
    {cudaErrorInvalidConfiguration, "cudaErrorInvalidConfiguration",
     "invalid configuration argument"},
    {cudaErrorInvalidMemcpyDirection, "cudaErrorInvalidMemcpyDirection",
     "invalid copy direction for memcpy"},
    {cudaErrorInsufficientDriver, "cudaErrorInsufficientDriver",
     "CUDA driver version is insufficient for CUDA runtime version"},
    {cudaErrorNoDevice, "cudaErrorNoDevice", "no CUDA-capable device is detected"},
    {cudaErrorInvalidDevice, "cudaErrorInvalidDevice", "invalid device ordinal"},
    {cudaErrorNotReady, "cudaErrorNotReady", "device not ready"},
    {cudaErrorLaunchOutOfResources, "cudaErrorLaunchOutOfResources",
     "too many resources requested for launch"},
    {cudaErrorHostMemoryAlreadyRegistered, "cudaErrorHostMemoryAlreadyRegistered",
     "part or all of the requested memory range is already mapped"},
    {cudaErrorHostMemoryNotRegistered, "cudaErrorHostMemoryNotRegistered",
     "pointer does not correspond to a registered memory region"},
    {cudaErrorLaunchFailure, "cudaErrorLaunchFailure", "unspecified launch failure"},
    {cudaErrorStreamCaptureUnsupported, "cudaErrorStreamCaptureUnsupported",
     "operation not permitted when stream is capturing"},
    {cudaErrorStreamCaptureInvalidated, "cudaErrorStreamCaptureInvalidated",
     "operation failed due to a previous error during capture"},
    {cudaErrorUnknown, "cudaErrorUnknown", "unknown error"},
};

static const ErrorText &error_text(cudaError_t error)
{
    for (const ErrorText &e : error_texts)
        if (e.error == error) return e;
    return error_texts[sizeof error_texts / sizeof *error_texts - 1];
}

const char *cudaGetErrorString(cudaError_t error)
{
    return error_text(error).text;
}

const char *cudaGetErrorName(cudaError_t error)
{
    return error_text(error).name;
}

cudaError_t cudaGetLastError()
{
    Lock held;
    return take_last();
}

cudaError_t cudaPeekAtLastError()
{
    Lock held;
    return last();
}

cudaError_t cudaDriverGetVersion(int *version)
{
    *version = driver_version();
    return cudaSuccess;
}

cudaError_t cudaRuntimeGetVersion(int *version)
{
    *version = CUDART_VERSION;
    return cudaSuccess;
}

cudaError_t cudaGetDeviceCount(int *count)
{
    Lock held;
    cudaError_t status = usable();
    *count = status == cudaSuccess;
    return status;
}

cudaError_t cudaSetDevice(int device)
{
    Lock held;
    cudaError_t status = usable();
    if (status != cudaSuccess) return status;
    return fail(device == 0 ? cudaSuccess : cudaErrorInvalidDevice);
}

cudaError_t cudaGetDevice(int *device)
{
    *device = 0;
    return usable();
}

cudaError_t cudaSetDeviceFlags(unsigned)
{
    return usable();
}

/* Few processors, so that kernels which walk over their work do walk; TTT_EMULATOR_PROCESSORS: as
 * many as a GPU has, so that work is split as it is there. */
static int processors()
{
    const char *wanted = getenv("TTT_EMULATOR_PROCESSORS");
    return wanted ? atoi(wanted) : 3;
}

cudaError_t cudaGetDeviceProperties(cudaDeviceProp *p, int device)
{
    cudaError_t status = cudaSetDevice(device);
    if (status != cudaSuccess) return status;
    *p = {};
    snprintf(p->name, sizeof p->name, "emulated device");
    p->totalGlobalMem = memory_limit();
    p->sharedMemPerBlock = 48 << 10;
    p->sharedMemPerBlockOptin = shared_limit();
    p->sharedMemPerMultiprocessor = 228 << 10;
    p->regsPerBlock = p->regsPerMultiprocessor = 65536;
    p->warpSize = WARP_LANES;
    p->maxThreadsPerBlock = MAX_THREADS;
    p->maxThreadsPerMultiProcessor = 2048;
    for (int i = 0; i < 3; i++) {
        p->maxThreadsDim[i] = i < 2 ? 1024 : 64;
        p->maxGridSize[i] = i ? 65535 : 0x7fffffff;
    }
    p->major = 9;
    p->multiProcessorCount = processors();
    p->l2CacheSize = 50 << 20;
    p->pageableMemoryAccess = reads_late();
    p->managedMemory = p->concurrentManagedAccess = p->unifiedAddressing = 1;
    return cudaSuccess;
}

cudaError_t cudaDeviceGetAttribute(int *value, cudaDeviceAttr attribute, int device)
{
    cudaDeviceProp p;
    cudaError_t status = cudaGetDeviceProperties(&p, device);
    if (status != cudaSuccess) return status;
    switch (attribute) {
    case cudaDevAttrMaxThreadsPerBlock:
        *value = p.maxThreadsPerBlock;
        break;
    case cudaDevAttrMultiProcessorCount:
        *value = p.multiProcessorCount;
        break;
    case cudaDevAttrComputeCapabilityMajor:
        *value = p.major;
        break;
    case cudaDevAttrComputeCapabilityMinor:
        *value = p.minor;
        break;
    case cudaDevAttrConcurrentManagedAccess:
        *value = p.concurrentManagedAccess;
        break;
    case cudaDevAttrMaxSharedMemoryPerBlockOptin:
        *value = (int)p.sharedMemPerBlockOptin;
        break;
    default:
        return fail(cudaErrorInvalidValue);
    }
    return cudaSuccess;
}

cudaError_t cudaDeviceSynchronize()
{
    Lock held;
    return wait_for_all();
}

cudaError_t cudaDeviceReset()
{
    return cudaDeviceSynchronize();
}

/* --- memory --- */

cudaError_t cudaMemGetInfo(size_t *free, size_t *total)
{
    Lock held;
    cudaError_t status = usable();
    *total = memory_limit();
    *free = *total - std::min(*total, taken());
    return status;
}

static cudaError_t allocate(void **p, size_t bytes, Kind kind)
{
    Lock held;
    cudaError_t status = usable();
    if (status != cudaSuccess) return status;
    status = not_captured();
    if (status != cudaSuccess) return status;
    *p = nullptr;
    bool device = kind != Kind::PINNED;
    if (device && fault_due(Fault::MALLOC)) return fail(cudaErrorMemoryAllocation);
    if (device && bytes > memory_limit() - taken()) return fail(cudaErrorMemoryAllocation);
    if (bytes == 0) return cudaSuccess;
    *p = take(bytes, kind);
    return fail(*p ? cudaSuccess : cudaErrorMemoryAllocation);
}

static cudaError_t release(void *p, Kind kind)
{
    Lock held;
    if (!p) return cudaSuccess;
    cudaError_t status = not_captured();
    if (status != cudaSuccess) return status;
    status = finish();
    return fail(give(p, kind) ? status : cudaErrorInvalidValue);
}

cudaError_t cudaMalloc(void **p, size_t bytes)
{
    return allocate(p, bytes, Kind::DEVICE);
}

cudaError_t cudaMallocAsync(void **p, size_t bytes, cudaStream_t)
{
    return allocate(p, bytes, Kind::DEVICE);
}

cudaError_t cudaMallocManaged(void **p, size_t bytes, unsigned)
{
    return allocate(p, bytes, Kind::MANAGED);
}

cudaError_t cudaMallocHost(void **p, size_t bytes, unsigned)
{
    return allocate(p, bytes, Kind::PINNED);
}

cudaError_t cudaHostAlloc(void **p, size_t bytes, unsigned)
{
    return allocate(p, bytes, Kind::PINNED);
}

cudaError_t cudaFree(void *p)
{
    return release(p, Kind::DEVICE);
}

cudaError_t cudaFreeAsync(void *p, cudaStream_t)
{
    return release(p, Kind::DEVICE);
}

cudaError_t cudaFreeHost(void *p)
{
    return release(p, Kind::PINNED);
}

/* Host memory that is pinned where it is: it stays what it was, but somebody keeps count. */
static std::vector<void *> registered;

cudaError_t cudaHostRegister(void *p, size_t bytes, unsigned)
{
    Lock held;
    cudaError_t status = usable();
    if (status != cudaSuccess) return status;
    if (!p || bytes == 0) return fail(cudaErrorInvalidValue);
    auto at = std::find(registered.begin(), registered.end(), p);
    if (at != registered.end()) return fail(cudaErrorHostMemoryAlreadyRegistered);
    registered.push_back(p);
    return cudaSuccess;
}

cudaError_t cudaHostUnregister(void *p)
{
    Lock held;
    auto at = std::find(registered.begin(), registered.end(), p);
    if (at == registered.end()) return fail(cudaErrorHostMemoryNotRegistered);
    registered.erase(at);
    return usable();
}

cudaError_t cudaPointerGetAttributes(cudaPointerAttributes *a, const void *p)
{
    static const cudaMemoryType types[] = {cudaMemoryTypeUnregistered, cudaMemoryTypeDevice,
                                           cudaMemoryTypeManaged, cudaMemoryTypeHost};
    Lock held;
    Kind kind = place_of(p).kind;
    *a = {types[(int)kind], 0, kind == Kind::HOST ? nullptr : (void *)p,
          kind == Kind::DEVICE ? nullptr : (void *)p};
    return usable();
}

/* --- copies --- */

static bool right_side(Kind kind, bool device)
{
    return kind == Kind::MANAGED || (kind == Kind::DEVICE) == device;
}

/* A copy of rows, each width bytes. The host's own memory is read before the call returns and
 * written before it does; pinned memory when the copy's turn comes. */
static cudaError_t copy(void *to, size_t to_pitch, const void *from, size_t from_pitch,
                        size_t width, size_t height, cudaMemcpyKind kind, cudaStream_t stream)
{
    Lock held;
    cudaError_t status = usable();
    if (status != cudaSuccess || width == 0 || height == 0) return status;
    Place t = place_of(to), f = place_of(from);
    bool to_device = kind == cudaMemcpyHostToDevice || kind == cudaMemcpyDeviceToDevice;
    bool from_device = kind == cudaMemcpyDeviceToHost || kind == cudaMemcpyDeviceToDevice;
    if (kind != cudaMemcpyDefault &&
        (!right_side(t.kind, to_device) || !right_side(f.kind, from_device)))
        return fail(cudaErrorInvalidMemcpyDirection);
    if ((height - 1) * to_pitch + width > t.left || (height - 1) * from_pitch + width > f.left)
        return fail(cudaErrorInvalidValue);
    if (capturing(stream) && (f.kind == Kind::HOST || t.kind == Kind::HOST)) return not_captured();
    if (traced("copy\t%zu", width * height)) {
        for (size_t i = 0; i < height && t.kind == Kind::HOST; i++)
            memset((char *)to + i * to_pitch, 0, width);
        return cudaSuccess;
    }
    std::vector<char> staged;
    if (f.kind == Kind::HOST && !reads_late()) {
        staged.resize(width * height);
        for (size_t i = 0; i < height; i++)
            memcpy(&staged[i * width], (const char *)from + i * from_pitch, width);
    }
    auto run = [=, staged = std::move(staged)] {
        const char *source = staged.empty() ? (const char *)from : staged.data();
        size_t pitch = staged.empty() ? from_pitch : width;
        for (size_t i = 0; i < height; i++)
            memmove((char *)to + i * to_pitch, source + i * pitch, width);
    };
    status = enqueue(stream, std::move(run));
    return status == cudaSuccess && t.kind == Kind::HOST ? wait_for_all() : status;
}

cudaError_t cudaMemcpyAsync(void *to, const void *from, size_t bytes, cudaMemcpyKind kind,
                            cudaStream_t stream)
{
    return copy(to, 0, from, 0, bytes, 1, kind, stream);
}

cudaError_t cudaMemcpy2DAsync(void *to, size_t to_pitch, const void *from, size_t from_pitch,
                              size_t width, size_t height, cudaMemcpyKind kind, cudaStream_t stream)
{
    if (width > to_pitch || width > from_pitch) return fail(cudaErrorInvalidValue);
    return copy(to, to_pitch, from, from_pitch, width, height, kind, stream);
}

cudaError_t cudaMemcpy(void *to, const void *from, size_t bytes, cudaMemcpyKind kind)
{
    cudaError_t status = cudaMemcpyAsync(to, from, bytes, kind, nullptr);
    return status != cudaSuccess ? status : cudaDeviceSynchronize();
}

cudaError_t cudaMemsetAsync(void *p, int byte, size_t bytes, cudaStream_t stream)
{
    Lock held;
    Place place = place_of(p);
    if (bytes && (place.kind == Kind::HOST || bytes > place.left))
        return fail(cudaErrorInvalidValue);
    if (traced("clear\t%zu", bytes)) return cudaSuccess;
    return enqueue(stream, [=] { memset(p, byte, bytes); });
}

cudaError_t cudaMemset(void *p, int byte, size_t bytes)
{
    return cudaMemsetAsync(p, byte, bytes, nullptr);
}
