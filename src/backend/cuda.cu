/* The CUDA machine: one GPU, one stream. Nothing here waits for the GPU but what must: a download,
 * backend_wait, and the growth of scratch in a first step.
 *
 * CUDA's errors stick: after the first, whatever is asked of the device fails too. So the first one
 * is kept as a line for people, nothing more is started, downloads give NaN, and the next
 * backend_wait returns the line. */
#include "backend/cuda_state.cuh"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "backend/gemm_cuda.cuh" // defines: cuda_gemm_open, cuda_gemm_close, cuda_gemm

extern "C" {
#include "backend/machine.h"
extern const struct Ops ops_cuda;
}

enum { LEAST_MAJOR = 8, NAME_LENGTH = 16, MOST_RETIRED = 256 };

struct Cuda {
    int device;
    cudaStream_t stream;
    int processors;
    char isa[NAME_LENGTH]; /* "sm_90" */
    bool failed;
    Err failure;                 /* the first */
    size_t room, taken, most;    /* bytes of memory: free at first, of ours now, of ours at most */
    int records;                 /* kept now: they hold on to memory that was scratch */
    void *retired[MOST_RETIRED]; /* such memory */
    int n_retired;
    void *scratch;
    size_t scratch_bytes;
    unsigned *counters; /* (CUDA_COUNTERS) */
    CudaGemm *gemm;
};

/* ------------------------------------------------------------------------------ failures */

bool cuda_failed(const Backend *be)
{
    return be->cuda->failed;
}

void cuda_fail(Backend *be, const char *what, const char *why)
{
    struct Cuda *c = be->cuda;
    if (c->failed) return;
    c->failed = true;
    err_set(&c->failure,
            "the GPU failed (%s: %s); nothing of this step was kept: run the command again, on "
            "another GPU (--device cuda:N) or without --device if it goes on",
            what, why);
}

void cuda_note(Backend *be, const char *what, cudaError_t status)
{
    if (status != cudaSuccess) cuda_fail(be, what, cudaGetErrorString(status));
}

/* ------------------------------------------------------------------------------ opening */

static int no_gpu(Err *err, const char *why)
{
    return err_set(err,
                   "no GPU can be used: %s; check `nvidia-smi`, or leave --device and backend=gpu "
                   "out for the CPU",
                   why);
}

/* The N of "cuda:N"; -1: not a number of one of them. */
static int device_number(const char *name, int count)
{
    if (strcmp(name, "cuda") == 0) return 0;
    char *end;
    long n = name[4] == ':' ? strtol(name + 5, &end, 10) : -1;
    return n >= 0 && n < count && end != name + 5 && *end == 0 ? (int)n : -1;
}

static int device_choose(int *device, const char *name, Err *err)
{
    int count = 0;
    cudaError_t status = cudaGetDeviceCount(&count);
    if (status != cudaSuccess) return no_gpu(err, cudaGetErrorString(status));
    if (count == 0) return no_gpu(err, "there is none");
    *device = device_number(name, count);
    if (*device >= 0) return 0;
    return err_set(err, "device '%s' is not there; GPUs here are cuda:0 to cuda:%d", name,
                   count - 1);
}

static int device_check(struct Cuda *c, int device, Err *err)
{
    cudaDeviceProp p;
    cudaError_t status = cudaGetDeviceProperties(&p, device);
    if (status != cudaSuccess) return no_gpu(err, cudaGetErrorString(status));
    if (p.major < LEAST_MAJOR)
        return err_set(err,
                       "GPU %d (%s) has compute capability %d.%d; 8.0 or newer is needed (A100, "
                       "H100, RTX 30)",
                       device, p.name, p.major, p.minor);
    c->processors = p.multiProcessorCount;
    snprintf(c->isa, sizeof c->isa, "sm_%d%d", p.major, p.minor);
    return 0;
}

static int device_open(Backend *be, const BackendOptions *options, Err *err)
{
    struct Cuda *c = be->cuda;
    int device;
    if (device_choose(&device, options->device, err) < 0) return -1;
    if (device_check(c, device, err) < 0) return -1;
    c->device = device;
    cudaError_t status = cudaSetDevice(device);
    if (status == cudaSuccess)
        status = cudaStreamCreateWithFlags(&c->stream, cudaStreamNonBlocking);
    size_t all, counters = CUDA_COUNTERS * sizeof *c->counters;
    if (status == cudaSuccess) status = cudaMemGetInfo(&c->room, &all);
    if (status == cudaSuccess) status = cudaMalloc((void **)&c->counters, counters);
    if (status == cudaSuccess) status = cudaMemsetAsync(c->counters, 0, counters, c->stream);
    if (status != cudaSuccess) return no_gpu(err, cudaGetErrorString(status));
    return cuda_gemm_open(&c->gemm, err);
}

static void machine_close(Backend *be)
{
    struct Cuda *c = be->cuda;
    cuda_gemm_close(c->gemm);
    if (c->scratch) cudaFree(c->scratch);
    if (c->counters) cudaFree(c->counters);
    for (int i = 0; i < c->n_retired; i++) cudaFree(c->retired[i]);
    if (c->stream) cudaStreamDestroy(c->stream);
    free(c);
    be->cuda = NULL;
}

static void machine_enter(Backend *be)
{
    if (!be->cuda->failed) cuda_note(be, "device", cudaSetDevice(be->cuda->device));
}

static int machine_open(Backend *be, const BackendOptions *options, Err *err)
{
    be->cuda = (struct Cuda *)calloc(1, sizeof *be->cuda);
    CHECK(be->cuda, "out of memory");
    if (device_open(be, options, err) < 0) {
        machine_close(be);
        return -1;
    }
    be->ops = &ops_cuda;
    be->isa = be->cuda->isa;
    be->threads = 1;
    be->bf16_native = true;
    return 0;
}

/* ------------------------------------------------------------------------------ what kernels ask
 */

cudaStream_t cuda_stream(const Backend *be)
{
    return be->cuda->stream;
}

int cuda_processors(const Backend *be)
{
    return be->cuda->processors;
}

unsigned *cuda_counters(const Backend *be)
{
    return be->cuda->counters;
}

static void out_of_memory(Backend *be, size_t bytes)
{
    struct Cuda *c = be->cuda;
    size_t left = 0, all = 0;
    if (c->failed) return;
    (void)cudaGetLastError(); /* this one does not stick */
    (void)cudaMemGetInfo(&left, &all);
    c->failed = true;
    err_set(&c->failure,
            "the GPU's memory is full: %zu MB more were wanted and %zu of %zu MB are free; lower "
            "training.activation_mb, training.global_batch_size / accum_steps or the batch, or end "
            "what else uses it (`nvidia-smi`)",
            bytes >> 20, left >> 20, all >> 20);
}

static void memory_count(struct Cuda *c, size_t more, size_t less)
{
    c->taken += more - less;
    if (c->taken > c->most) c->most = c->taken;
}

void *cuda_grow(Backend *be, void *room, size_t *bytes, size_t wanted)
{
    struct Cuda *c = be->cuda;
    if (wanted <= *bytes || c->failed) return room;
    cuda_note(be, "waiting", cudaStreamSynchronize(c->stream));
    if (room && c->records > 0) {
        CHECK(c->n_retired < MOST_RETIRED, "scratch has grown %d times", c->n_retired);
        c->retired[c->n_retired++] = room;
    } else {
        cudaFree(room);
        memory_count(c, 0, *bytes);
    }
    *bytes = 0;
    room = NULL;
    cudaError_t status = cudaMalloc(&room, wanted);
    if (status == cudaErrorMemoryAllocation) out_of_memory(be, wanted);
    cuda_note(be, "memory for scratch", status);
    if (c->failed) return NULL;
    *bytes = wanted;
    memory_count(c, wanted, 0);
    return room;
}

void *cuda_scratch(Backend *be, size_t bytes)
{
    struct Cuda *c = be->cuda;
    return c->scratch = cuda_grow(be, c->scratch, &c->scratch_bytes, bytes);
}

/* ------------------------------------------------------------------------------ memory */

static size_t memory_left(Backend *be)
{
    size_t left = 0, all = 0;
    cuda_note(be, "memory", cudaMemGetInfo(&left, &all));
    return left;
}

static void *memory_alloc(Backend *be, size_t bytes, bool shared)
{
    void *p = NULL;
    if (cuda_failed(be)) return NULL;
    if (bytes == 0) bytes = 1;
    cudaError_t status =
        shared ? cudaMallocManaged(&p, bytes, cudaMemAttachGlobal) : cudaMalloc(&p, bytes);
    if (status == cudaErrorMemoryAllocation) {
        out_of_memory(be, bytes);
        return NULL;
    }
    cuda_note(be, "memory", status);
    if (cuda_failed(be)) return NULL;
    memory_count(be->cuda, bytes, 0);
    cuda_note(be, "clearing memory", cudaMemsetAsync(p, 0, bytes, be->cuda->stream));
    if (shared) cuda_note(be, "waiting", cudaStreamSynchronize(be->cuda->stream));
    return p;
}

/* cudaFree waits for the device by itself. */
static void memory_free(Backend *be, void *p, size_t bytes)
{
    if (!p) return;
    memory_count(be->cuda, 0, bytes ? bytes : 1);
    cudaFree(p);
}

static void memory_zero(Backend *be, void *p, size_t bytes)
{
    if (cuda_failed(be) || bytes == 0) return;
    cuda_note(be, "clearing memory", cudaMemsetAsync(p, 0, bytes, be->cuda->stream));
}

static void copy(Backend *be, void *to, const void *from, size_t bytes)
{
    cuda_note(be, "copying",
              cudaMemcpyAsync(to, from, bytes, cudaMemcpyDeviceToDevice, be->cuda->stream));
}

/* Places that overlap go by way of scratch: rows that move a little would else be many copies. */
static void memory_copy(Backend *be, void *to, const void *from, size_t bytes)
{
    const char *t = (const char *)to, *f = (const char *)from;
    size_t gap = t > f ? (size_t)(t - f) : (size_t)(f - t);
    if (cuda_failed(be) || bytes == 0 || gap == 0) return;
    void *between = gap < bytes ? cuda_scratch(be, bytes) : NULL;
    if (cuda_failed(be)) return;
    if (between) copy(be, between, from, bytes);
    copy(be, to, between ? between : from, bytes);
}

/* From memory that is not pinned CUDA takes a copy before it returns. */
static void memory_upload(Backend *be, void *to, const void *host, size_t bytes)
{
    if (cuda_failed(be) || bytes == 0) return;
    cuda_note(be, "upload",
              cudaMemcpyAsync(to, host, bytes, cudaMemcpyHostToDevice, be->cuda->stream));
}

static void memory_download(Backend *be, void *host, const void *from, size_t bytes)
{
    cudaStream_t stream = be->cuda->stream;
    if (bytes == 0) return;
    if (!cuda_failed(be))
        cuda_note(be, "download",
                  cudaMemcpyAsync(host, from, bytes, cudaMemcpyDeviceToHost, stream));
    if (!cuda_failed(be)) cuda_note(be, "waiting", cudaStreamSynchronize(stream));
    if (cuda_failed(be)) memset(host, 0xff, bytes); /* NaN, of either type */
}

static size_t memory_room(Backend *be)
{
    return be->cuda->room;
}

static size_t memory_peak(Backend *be)
{
    return be->cuda->most;
}

static int machine_wait(Backend *be, Err *err)
{
    struct Cuda *c = be->cuda;
    if (!c->failed) cuda_note(be, "waiting", cudaStreamSynchronize(c->stream));
    if (!c->failed) return 0;
    return err_set(err, "%s", c->failure.text);
}

/* ------------------------------------------------------------------------------ records */

/* Only this thread's calls are its concern. */
static void record_begin(Backend *be)
{
    if (cuda_failed(be)) return;
    cuda_note(be, "recording",
              cudaStreamBeginCapture(be->cuda->stream, cudaStreamCaptureModeThreadLocal));
}

static BackendRecord *record_end(Backend *be)
{
    cudaGraph_t graph = NULL;
    cudaGraphExec_t record = NULL;
    if (cuda_failed(be)) return NULL;
    cuda_note(be, "recording", cudaStreamEndCapture(be->cuda->stream, &graph));
    if (!cuda_failed(be)) cuda_note(be, "recording", cudaGraphInstantiate(&record, graph, 0));
    if (graph) cudaGraphDestroy(graph);
    if (!cuda_failed(be)) be->cuda->records++;
    return cuda_failed(be) ? NULL : (BackendRecord *)record;
}

static void record_play(Backend *be, BackendRecord *record)
{
    if (cuda_failed(be)) return;
    cuda_note(be, "step", cudaGraphLaunch((cudaGraphExec_t)record, be->cuda->stream));
}

static void record_free(Backend *be, BackendRecord *record)
{
    be->cuda->records--;
    cudaGraphExecDestroy((cudaGraphExec_t)record);
}

/* ------------------------------------------------------------------------------ products */

static void machine_gemm(Backend *be, const Gemm *g)
{
    if (!cuda_failed(be)) cuda_gemm(be, be->cuda->gemm, g);
}

/* 8,192 rows of 768 columns are 384 tiles of 128 x 128 for the 132 processors of an H100. */
static void machine_gemm_group(Backend *be, bool begins)
{
    cuda_gemm_group(be->cuda->gemm, begins);
}

static const Machine machine_cuda = {.own_memory = true,
                                     .span_rows = 8192,
                                     .open = machine_open,
                                     .close = machine_close,
                                     .enter = machine_enter,
                                     .alloc = memory_alloc,
                                     .free = memory_free,
                                     .zero = memory_zero,
                                     .copy = memory_copy,
                                     .upload = memory_upload,
                                     .download = memory_download,
                                     .wait = machine_wait,
                                     .memory_left = memory_left,
                                     .memory_room = memory_room,
                                     .memory_peak = memory_peak,
                                     .gemm = machine_gemm,
                                     .gemm_group = machine_gemm_group,
                                     .record_begin = record_begin,
                                     .record_end = record_end,
                                     .record_play = record_play,
                                     .record_free = record_free,
                                     .round_bf16 = cuda_round_bf16};

extern "C" __attribute__((visibility("default"))) const Machine *ttt_cuda_machine(void)
{
    return &machine_cuda;
}
