/* The runtime interface of the emulated device. Work put into streams is done when somebody waits
 * for it, in the order in which it was put there: a host that forgets to wait finds nothing done.
 */
#include <cstdio>
#include <ctime>
#include <deque>
#include <mutex>
#include <vector>

#include "faults.h"
#include "state.h"

using emulator::Kind;

struct Work {
    std::string what;
    std::function<void()> run;
    bool kernel;
};
struct CUstream_st {
    CUgraph_st *capture; /* NULL: what comes is put into the queue */
    bool spoiled;        /* something that cannot be captured was asked for */
};
struct CUevent_st {
    double seconds;
    bool recorded;
};
struct CUgraph_st {
    std::vector<Work> work;
};
struct CUgraphExec_st {
    std::vector<Work> work;
};

namespace
{

struct Runtime {
    std::recursive_mutex lock;
    std::deque<Work> queue;
    CUstream_st default_stream = {};
    int capturing = 0;              /* streams that capture */
    cudaError_t last = cudaSuccess; /* for cudaGetLastError */
    cudaError_t lost = cudaSuccess; /* set: the device is gone, and every call says so */
} runtime;

using Lock = std::lock_guard<std::recursive_mutex>;

cudaError_t fail(cudaError_t error)
{
    if (error != cudaSuccess) runtime.last = error;
    return error;
}

/* What every call but those about versions and errors begins with. */
cudaError_t usable()
{
    cudaError_t none = emulator::device_missing();
    return fail(none != cudaSuccess ? none : runtime.lost);
}

CUstream_st *stream_of(cudaStream_t stream)
{
    return stream ? stream : &runtime.default_stream;
}

enum { QUEUE_MOST = 1 << 16 };

void flush()
{
    if (runtime.queue.empty()) return;
    emulator::open_memory();
    while (!runtime.queue.empty()) {
        Work work = std::move(runtime.queue.front());
        runtime.queue.pop_front();
        work.run();
    }
    emulator::close_memory();
}

cudaError_t put(cudaStream_t stream, Work work)
{
    CUstream_st *s = stream_of(stream);
    if (s->capture) {
        s->capture->work.push_back(std::move(work));
        return cudaSuccess;
    }
    runtime.queue.push_back(std::move(work));
    if (runtime.queue.size() > QUEUE_MOST) flush();
    return cudaSuccess;
}

/* Waits; while a stream captures, nothing may. */
cudaError_t wait_for_all()
{
    cudaError_t status = usable();
    if (status != cudaSuccess) return status;
    if (runtime.capturing) return fail(cudaErrorStreamCaptureUnsupported);
    if (emulator::fault_due(emulator::Fault::SYNC)) {
        runtime.queue.clear();
        return fail(runtime.lost = cudaErrorLaunchFailure);
    }
    flush();
    return cudaSuccess;
}

double now()
{
    timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

} // namespace

cudaError_t emulator::enqueue(cudaStream_t stream, const char *what, std::function<void()> work)
{
    Lock held(runtime.lock);
    cudaError_t status = usable();
    return status != cudaSuccess ? status : put(stream, {what, std::move(work), false});
}

cudaError_t emulator::launch_kernel(const Kernel &kernel, cudaStream_t stream)
{
    Lock held(runtime.lock);
    cudaError_t status = usable();
    if (status != cudaSuccess) return status;
    check_launch(kernel);
    if (fault_due(Fault::LAUNCH)) return fail(cudaErrorLaunchOutOfResources);
    return put(stream, {kernel.arguments, [kernel] { run_kernel(kernel); }, true});
}

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
    Lock held(runtime.lock);
    cudaError_t last = runtime.last;
    runtime.last = runtime.lost;
    return last;
}

cudaError_t cudaPeekAtLastError()
{
    Lock held(runtime.lock);
    return runtime.last;
}

cudaError_t cudaDriverGetVersion(int *version)
{
    *version = emulator::driver_version();
    return cudaSuccess;
}

cudaError_t cudaRuntimeGetVersion(int *version)
{
    *version = CUDART_VERSION;
    return cudaSuccess;
}

cudaError_t cudaGetDeviceCount(int *count)
{
    Lock held(runtime.lock);
    cudaError_t status = usable();
    *count = status == cudaSuccess;
    return status;
}

cudaError_t cudaSetDevice(int device)
{
    Lock held(runtime.lock);
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

/* Few processors, so that kernels which walk over their work do walk. */
enum { PROCESSORS = 3 };

cudaError_t cudaGetDeviceProperties(cudaDeviceProp *p, int device)
{
    cudaError_t status = cudaSetDevice(device);
    if (status != cudaSuccess) return status;
    *p = {};
    snprintf(p->name, sizeof p->name, "emulated device");
    p->totalGlobalMem = emulator::memory_limit();
    p->sharedMemPerBlock = 48 << 10;
    p->sharedMemPerBlockOptin = emulator::MAX_SHARED;
    p->sharedMemPerMultiprocessor = 228 << 10;
    p->regsPerBlock = p->regsPerMultiprocessor = 65536;
    p->warpSize = emulator::WARP_LANES;
    p->maxThreadsPerBlock = emulator::MAX_THREADS;
    p->maxThreadsPerMultiProcessor = 2048;
    for (int i = 0; i < 3; i++) {
        p->maxThreadsDim[i] = i < 2 ? 1024 : 64;
        p->maxGridSize[i] = i ? 65535 : 0x7fffffff;
    }
    p->major = 9;
    p->multiProcessorCount = PROCESSORS;
    p->l2CacheSize = 50 << 20;
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
    Lock held(runtime.lock);
    return wait_for_all();
}

cudaError_t cudaDeviceReset()
{
    return cudaDeviceSynchronize();
}

/* --- memory --- */

cudaError_t cudaMemGetInfo(size_t *free, size_t *total)
{
    Lock held(runtime.lock);
    cudaError_t status = usable();
    *total = emulator::memory_limit();
    *free = *total - std::min(*total, emulator::taken());
    return status;
}

static cudaError_t allocate(void **p, size_t bytes, Kind kind)
{
    Lock held(runtime.lock);
    cudaError_t status = usable();
    if (status != cudaSuccess) return status;
    if (runtime.capturing) return fail(cudaErrorStreamCaptureUnsupported);
    *p = nullptr;
    bool device = kind != Kind::PINNED;
    if (device && emulator::fault_due(emulator::Fault::MALLOC))
        return fail(cudaErrorMemoryAllocation);
    if (device && bytes > emulator::memory_limit() - emulator::taken())
        return fail(cudaErrorMemoryAllocation);
    if (bytes == 0) return cudaSuccess;
    *p = emulator::take(bytes, kind);
    return fail(*p ? cudaSuccess : cudaErrorMemoryAllocation);
}

static cudaError_t release(void *p, Kind kind)
{
    Lock held(runtime.lock);
    if (!p) return cudaSuccess;
    if (runtime.lost == cudaSuccess) flush();
    return fail(emulator::give(p, kind) ? runtime.lost : cudaErrorInvalidValue);
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

cudaError_t cudaPointerGetAttributes(cudaPointerAttributes *a, const void *p)
{
    static const cudaMemoryType types[] = {cudaMemoryTypeUnregistered, cudaMemoryTypeDevice,
                                           cudaMemoryTypeManaged, cudaMemoryTypeHost};
    Lock held(runtime.lock);
    Kind kind = emulator::place_of(p).kind;
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
    Lock held(runtime.lock);
    cudaError_t status = usable();
    if (status != cudaSuccess || width == 0 || height == 0) return status;
    emulator::Place t = emulator::place_of(to), f = emulator::place_of(from);
    bool to_device = kind == cudaMemcpyHostToDevice || kind == cudaMemcpyDeviceToDevice;
    bool from_device = kind == cudaMemcpyDeviceToHost || kind == cudaMemcpyDeviceToDevice;
    if (kind != cudaMemcpyDefault &&
        (!right_side(t.kind, to_device) || !right_side(f.kind, from_device)))
        return fail(cudaErrorInvalidMemcpyDirection);
    if ((height - 1) * to_pitch + width > t.left || (height - 1) * from_pitch + width > f.left)
        return fail(cudaErrorInvalidValue);
    bool capture = stream_of(stream)->capture;
    std::vector<char> staged;
    if (f.kind == Kind::HOST && !capture) {
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
    put(stream, {"copy", std::move(run), false});
    return t.kind == Kind::HOST && !capture ? wait_for_all() : cudaSuccess;
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
    Lock held(runtime.lock);
    emulator::Place place = emulator::place_of(p);
    if (bytes && (place.kind == Kind::HOST || bytes > place.left))
        return fail(cudaErrorInvalidValue);
    return emulator::enqueue(stream, "memset", [=] { memset(p, byte, bytes); });
}

cudaError_t cudaMemset(void *p, int byte, size_t bytes)
{
    return cudaMemsetAsync(p, byte, bytes, nullptr);
}

/* --- streams, events, graphs --- */

cudaError_t cudaStreamCreate(cudaStream_t *stream)
{
    cudaError_t status = usable();
    *stream = status == cudaSuccess ? new CUstream_st() : nullptr;
    return status;
}

cudaError_t cudaStreamCreateWithFlags(cudaStream_t *stream, unsigned)
{
    return cudaStreamCreate(stream);
}

cudaError_t cudaStreamCreateWithPriority(cudaStream_t *stream, unsigned, int)
{
    return cudaStreamCreate(stream);
}

cudaError_t cudaStreamDestroy(cudaStream_t stream)
{
    Lock held(runtime.lock);
    if (runtime.lost == cudaSuccess) flush();
    delete stream;
    return runtime.lost;
}

cudaError_t cudaStreamSynchronize(cudaStream_t)
{
    return cudaDeviceSynchronize();
}

cudaError_t cudaStreamQuery(cudaStream_t)
{
    return cudaDeviceSynchronize();
}

cudaError_t cudaStreamWaitEvent(cudaStream_t, cudaEvent_t, unsigned)
{
    return usable();
}

cudaError_t cudaLaunchHostFunc(cudaStream_t stream, cudaHostFn_t function, void *data)
{
    return emulator::enqueue(stream, "host function", [=] { function(data); });
}

cudaError_t cudaEventCreate(cudaEvent_t *event)
{
    cudaError_t status = usable();
    *event = status == cudaSuccess ? new CUevent_st() : nullptr;
    return status;
}

cudaError_t cudaEventCreateWithFlags(cudaEvent_t *event, unsigned)
{
    return cudaEventCreate(event);
}

cudaError_t cudaEventDestroy(cudaEvent_t event)
{
    Lock held(runtime.lock);
    if (runtime.lost == cudaSuccess) flush();
    delete event;
    return runtime.lost;
}

cudaError_t cudaEventRecord(cudaEvent_t event, cudaStream_t stream)
{
    return emulator::enqueue(stream, "event", [=] { *event = {now(), true}; });
}

cudaError_t cudaEventSynchronize(cudaEvent_t)
{
    return cudaDeviceSynchronize();
}

cudaError_t cudaEventQuery(cudaEvent_t)
{
    return cudaDeviceSynchronize();
}

cudaError_t cudaEventElapsedTime(float *milliseconds, cudaEvent_t from, cudaEvent_t to)
{
    if (!from->recorded || !to->recorded) return fail(cudaErrorNotReady);
    *milliseconds = (float)((to->seconds - from->seconds) * 1e3);
    return cudaSuccess;
}

cudaError_t cudaStreamBeginCapture(cudaStream_t stream, cudaStreamCaptureMode)
{
    Lock held(runtime.lock);
    cudaError_t status = usable();
    if (status != cudaSuccess) return status;
    if (!stream || stream->capture) return fail(cudaErrorStreamCaptureUnsupported);
    stream->capture = new CUgraph_st();
    runtime.capturing++;
    return cudaSuccess;
}

cudaError_t cudaStreamEndCapture(cudaStream_t stream, cudaGraph_t *graph)
{
    Lock held(runtime.lock);
    *graph = nullptr;
    if (!stream || !stream->capture) return fail(cudaErrorInvalidValue);
    *graph = stream->capture;
    stream->capture = nullptr;
    runtime.capturing--;
    return usable();
}

cudaError_t cudaStreamIsCapturing(cudaStream_t stream, cudaStreamCaptureStatus *status)
{
    *status =
        stream_of(stream)->capture ? cudaStreamCaptureStatusActive : cudaStreamCaptureStatusNone;
    return usable();
}

cudaError_t cudaGraphInstantiate(cudaGraphExec_t *exec, cudaGraph_t graph, unsigned long long)
{
    cudaError_t status = usable();
    *exec = status == cudaSuccess ? new CUgraphExec_st{graph->work} : nullptr;
    return status;
}

cudaError_t cudaGraphGetNodes(cudaGraph_t graph, cudaGraphNode_t *nodes, size_t *count)
{
    if (!nodes) *count = graph->work.size();
    return nodes ? fail(cudaErrorInvalidValue) : cudaSuccess;
}

cudaError_t cudaGraphUpload(cudaGraphExec_t, cudaStream_t)
{
    return usable();
}

cudaError_t cudaGraphLaunch(cudaGraphExec_t exec, cudaStream_t stream)
{
    Lock held(runtime.lock);
    cudaError_t status = usable();
    if (status != cudaSuccess) return status;
    if (emulator::fault_due(emulator::Fault::LAUNCH)) return fail(cudaErrorLaunchOutOfResources);
    for (const Work &work : exec->work) put(stream, work);
    return cudaSuccess;
}

cudaError_t cudaGraphDestroy(cudaGraph_t graph)
{
    delete graph;
    return cudaSuccess;
}

cudaError_t cudaGraphExecDestroy(cudaGraphExec_t exec)
{
    delete exec;
    return cudaSuccess;
}
