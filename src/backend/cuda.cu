/* The CUDA machine: one GPU, one stream. Nothing here waits for the GPU but what must: a download,
 * backend_wait, and the growth of scratch in a first step.
 *
 * CUDA's errors stick: after the first, whatever is asked of the device fails too. So the first one
 * is kept as a line for people, nothing more is started, downloads give NaN, and the next
 * backend_wait returns the line. */
#include "backend/cuda_inside.cuh"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

extern "C" {
#include "base/mem.h"
extern const struct Ops ops_cuda;
}

enum { LEAST_MAJOR = 8 };

/* ------------------------------------------------------------------------------ failures */

/* What cannot be recorded is no failure of the GPU: nothing of it was done, nor is the rest. */
bool cuda_failed(const Backend *be)
{
    return be->cuda->failed || be->cuda->refused || be->cuda->rehearsal.on;
}

bool cuda_rehearses(const Backend *be)
{
    return be->cuda->rehearsal.on;
}

void cuda_fail(Backend *be, const char *what, const char *why)
{
    struct Cuda *c = be->cuda;
    if (cuda_failed(be)) return;
    if (c->recording) {
        c->refused = true;
        err_set(&c->refusal, "%s: %s", what, why);
        return;
    }
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
    c->shared = p.sharedMemPerBlockOptin;
    c->reads_host = p.pageableMemoryAccess;
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
    c->operands = cuda_operands_open();
    return cuda_gemm_open(&c->gemm, err);
}

static void machine_close(Backend *be)
{
    struct Cuda *c = be->cuda;
    cuda_gemm_close(c->gemm);
    cuda_operands_close(be, c->operands);
    if (c->scratch) cudaFree(c->scratch);
    if (c->part_sums.room) cudaFree(c->part_sums.room);
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
    mem_need(be->cuda, "a GPU");
    if (device_open(be, options, err) < 0) {
        machine_close(be);
        (void)cudaGetLastError(); /* what was told here is not the next kernel's error */
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

CudaOperands *cuda_operands(const Backend *be)
{
    return be->cuda->operands;
}

PartSums *cuda_part_sums(Backend *be)
{
    return &be->cuda->part_sums;
}

size_t cuda_shared_most(const Backend *be)
{
    return be->cuda->shared;
}

static int machine_wait(Backend *be, Err *err)
{
    struct Cuda *c = be->cuda;
    if (!c->failed) cuda_note(be, "waiting", cudaStreamSynchronize(c->stream));
    if (!c->failed) return 0;
    return err_set(err, "%s", c->failure.text);
}

/* ------------------------------------------------------------------------------ records */

/* Relaxed: libraries may load kernels meanwhile, which stricter modes forbid. */
static void record_begin(Backend *be)
{
    if (cuda_failed(be)) return;
    be->cuda->recording = true;
    cuda_note(be, "recording",
              cudaStreamBeginCapture(be->cuda->stream, cudaStreamCaptureModeRelaxed));
}

static BackendRecord *record_end(Backend *be, Err *why)
{
    struct Cuda *c = be->cuda;
    cudaGraph_t graph = NULL;
    cudaGraphExec_t record = NULL;
    if (!c->recording) return NULL;
    cuda_note(be, "recording", cudaStreamEndCapture(c->stream, &graph));
    if (!c->refused) cuda_note(be, "recording", cudaGraphInstantiate(&record, graph, 0));
    if (graph) cudaGraphDestroy(graph);
    c->recording = false;
    if (!c->refused) {
        c->records++;
        return (BackendRecord *)record;
    }
    c->refused = false;
    (void)cudaGetLastError();
    err_set(why, "%s", c->refusal.text);
    return NULL;
}

static void record_play(Backend *be, BackendRecord *record)
{
    if (cuda_failed(be)) return;
    cuda_note(be, "step", cudaGraphLaunch((cudaGraphExec_t)record, be->cuda->stream));
}

static void record_free(Backend *be, BackendRecord *record)
{
    be->cuda->records--;
    if (!cuda_failed(be)) cuda_note(be, "waiting", cudaStreamSynchronize(be->cuda->stream));
    cudaGraphExecDestroy((cudaGraphExec_t)record);
}

/* ------------------------------------------------------------------------------ products */

static void machine_gemm(Backend *be, const Gemm *g)
{
    if (!be->cuda->failed) cuda_gemm(be, be->cuda->gemm, g);
}

static void machine_gemm_group(Backend *be, bool begins)
{
    cuda_operands_group(be, be->cuda->operands, begins);
}

static void machine_gemm_operand(Backend *be, const real *x, size_t n)
{
    cuda_operands_declare(be, be->cuda->operands, x, n);
}

/* 8,192 rows of 768 columns are 384 tiles of 128 x 128 for the 132 processors of an H100. A block
 * of the head adds to the whole gradient of its weight: 0.8 GB at 125m's vocabulary of 128,256,
 * 0.26 ms, which is half of the block's time at 1,000 rows and a sixth of it at the 4,000 that 2 GB
 * hold. */
static const Machine machine_cuda = {.own_memory = true,
                                     .half_windows = true,
                                     .span_rows = 8192,
                                     .head_rows = 8192,
                                     .head_logits = 512 << 20,
                                     .open = machine_open,
                                     .close = machine_close,
                                     .enter = machine_enter,
                                     .alloc = cuda_memory_alloc,
                                     .free = cuda_memory_free,
                                     .zero = cuda_memory_zero,
                                     .copy = cuda_memory_copy,
                                     .upload = cuda_memory_upload,
                                     .download = cuda_memory_download,
                                     .wait = machine_wait,
                                     .memory_left = cuda_memory_left,
                                     .memory_room = cuda_memory_room,
                                     .memory_peak = cuda_memory_peak,
                                     .gemm = machine_gemm,
                                     .gemm_group = machine_gemm_group,
                                     .gemm_operand = machine_gemm_operand,
                                     .gradient_group = part_sums_group,
                                     .record_begin = record_begin,
                                     .record_end = record_end,
                                     .record_play = record_play,
                                     .record_free = record_free,
                                     .rehearse_begin = cuda_rehearse_begin,
                                     .rehearse_end = cuda_rehearse_end,
                                     .round_bf16 = cuda_round_bf16};

extern "C" __attribute__((visibility("default"))) const Machine *ttt_cuda_machine(void)
{
    return &machine_cuda;
}
