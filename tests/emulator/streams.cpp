/* Streams, events and graphs. Work put into streams is done when somebody waits for it, in the
 * order in which it was put there: a host that forgets to wait finds nothing done. */
#include <algorithm>
#include <ctime>
#include <deque>
#include <vector>

#include "queue.h"

using Work = std::function<void()>;

struct CUstream_st {
    CUgraph_st *capture; /* NULL: what comes is put into the queue */
};
struct CUevent_st {
    double seconds;
    bool recorded;
};
struct CUgraph_st {
    std::vector<Work> work;
    bool invalid; /* something was asked for that no capture may hold */
};
struct CUgraphExec_st {
    std::vector<Work> work;
};

namespace emulator
{

namespace
{

struct Runtime {
    std::recursive_mutex lock;
    std::deque<Work> queue;
    CUstream_st default_stream = {};
    std::vector<CUgraph_st *> captures; /* of streams that capture */
    cudaError_t last = cudaSuccess;     /* for cudaGetLastError */
    cudaError_t lost = cudaSuccess;     /* set: the device is gone, and every call says so */
} runtime;

CUstream_st *stream_of(cudaStream_t stream)
{
    return stream ? stream : &runtime.default_stream;
}

void put(cudaStream_t stream, Work work)
{
    CUstream_st *s = stream_of(stream);
    if (s->capture)
        s->capture->work.push_back(std::move(work));
    else
        runtime.queue.push_back(std::move(work));
}

cudaError_t capture_valid(cudaStream_t stream)
{
    const CUgraph_st *capture = stream_of(stream)->capture;
    return fail(capture && capture->invalid ? cudaErrorStreamCaptureInvalidated : cudaSuccess);
}

double now()
{
    timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

} // namespace

Lock::Lock()
{
    runtime.lock.lock();
}

Lock::~Lock()
{
    runtime.lock.unlock();
}

cudaError_t fail(cudaError_t error)
{
    if (error != cudaSuccess) runtime.last = error;
    return error;
}

cudaError_t last()
{
    return runtime.last;
}

cudaError_t take_last()
{
    cudaError_t taken = runtime.last;
    runtime.last = runtime.lost;
    return taken;
}

cudaError_t usable()
{
    cudaError_t none = device_missing();
    return fail(none != cudaSuccess ? none : runtime.lost);
}

bool capturing(cudaStream_t stream)
{
    return stream_of(stream)->capture;
}

cudaError_t not_captured()
{
    for (CUgraph_st *capture : runtime.captures) capture->invalid = true;
    return runtime.captures.empty() ? cudaSuccess : fail(cudaErrorStreamCaptureUnsupported);
}

cudaError_t finish()
{
    if (runtime.lost != cudaSuccess || runtime.queue.empty()) return runtime.lost;
    open_memory();
    while (!runtime.queue.empty()) {
        Work work = std::move(runtime.queue.front());
        runtime.queue.pop_front();
        work();
    }
    close_memory();
    return cudaSuccess;
}

cudaError_t wait_for_all()
{
    cudaError_t status = usable();
    if (status != cudaSuccess) return status;
    status = not_captured();
    if (status != cudaSuccess) return status;
    if (!fault_due(Fault::SYNC)) return finish();
    runtime.queue.clear();
    return fail(runtime.lost = cudaErrorLaunchFailure);
}

cudaError_t enqueue(cudaStream_t stream, std::function<void()> work)
{
    Lock held;
    cudaError_t status = usable();
    if (status == cudaSuccess) status = capture_valid(stream);
    if (status == cudaSuccess) put(stream, std::move(work));
    return status;
}

cudaError_t launch_kernel(const Kernel &kernel, cudaStream_t stream)
{
    Lock held;
    cudaError_t status = usable();
    if (status != cudaSuccess) return status;
    check_launch(kernel);
    status = capture_valid(stream);
    if (status != cudaSuccess) return status;
    if (fault_due(Fault::LAUNCH)) return fail(cudaErrorLaunchOutOfResources);
    if (traced("kernel\t%s\t%ux%ux%u\t%u\t%zu%s", name_of(kernel.arguments).c_str(), kernel.grid.x,
               kernel.grid.y, kernel.grid.z, kernel.block.x * kernel.block.y * kernel.block.z,
               kernel.shared, kernel.early ? "\tearly" : ""))
        return cudaSuccess;
    put(stream, [kernel] { run_kernel(kernel); });
    return cudaSuccess;
}

} // namespace emulator

using namespace emulator;

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
    Lock held;
    cudaError_t status = finish();
    delete stream;
    return status;
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
    return enqueue(stream, [=] { function(data); });
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
    Lock held;
    cudaError_t status = finish();
    delete event;
    return status;
}

cudaError_t cudaEventRecord(cudaEvent_t event, cudaStream_t stream)
{
    return enqueue(stream, [=] { *event = {now(), true}; });
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
    Lock held;
    cudaError_t status = usable();
    if (status != cudaSuccess) return status;
    if (!stream || stream->capture) return fail(cudaErrorStreamCaptureUnsupported);
    stream->capture = new CUgraph_st();
    traced("record");
    stream->capture->invalid = fault_due(Fault::CAPTURE);
    runtime.captures.push_back(stream->capture);
    return cudaSuccess;
}

cudaError_t cudaStreamEndCapture(cudaStream_t stream, cudaGraph_t *graph)
{
    Lock held;
    *graph = nullptr;
    if (!stream || !stream->capture) return fail(cudaErrorInvalidValue);
    CUgraph_st *made = stream->capture;
    stream->capture = nullptr;
    traced("recorded");
    runtime.captures.erase(std::find(runtime.captures.begin(), runtime.captures.end(), made));
    if (!made->invalid) *graph = made;
    cudaError_t status = made->invalid ? fail(cudaErrorStreamCaptureInvalidated) : usable();
    if (made->invalid) delete made;
    return status;
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
    Lock held;
    cudaError_t status = usable();
    if (status != cudaSuccess) return status;
    if (fault_due(Fault::LAUNCH)) return fail(cudaErrorLaunchOutOfResources);
    traced("play");
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
