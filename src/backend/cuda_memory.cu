/* A GPU's memory: arrays, scratch that grows in a first run, copies between the two sides, and
 * rehearsals, which only count. */
#include "backend/cuda_inside.cuh"

#include <string.h>

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

/* Below what any address space is given from: addresses that differ, and nothing lies there. */
enum : uintptr_t { REHEARSED = (uintptr_t)1 << 40, REHEARSED_UNIT = 1 << 21 };

static void *rehearsed_alloc(struct Cuda *c, size_t bytes)
{
    uintptr_t at = c->rehearsal.next;
    c->rehearsal.next += (bytes / REHEARSED_UNIT + 1) * REHEARSED_UNIT;
    return (void *)at;
}

void cuda_release(Backend *be, void *room, size_t bytes, bool recorded)
{
    struct Cuda *c = be->cuda;
    if (!room) return;
    if (c->rehearsal.on) {
        memory_count(c, 0, bytes);
        return;
    }
    cuda_note(be, "waiting", cudaStreamSynchronize(c->stream));
    if (recorded && c->records > 0) {
        CHECK(c->n_retired < MOST_RETIRED, "scratch has grown %d times", c->n_retired);
        c->retired[c->n_retired++] = room;
        return;
    }
    cudaFree(room);
    memory_count(c, 0, bytes);
}

void *cuda_grow(Backend *be, void *room, size_t *bytes, size_t wanted)
{
    struct Cuda *c = be->cuda;
    if (wanted <= *bytes || c->failed || c->refused) return room;
    if (c->recording) { /* what is recorded points to it already */
        cuda_fail(be, "scratch", "it would have to grow");
        return room;
    }
    cuda_release(be, room, *bytes, true);
    *bytes = 0;
    room = c->rehearsal.on ? rehearsed_alloc(c, wanted) : NULL;
    cudaError_t status = room ? cudaSuccess : cudaMalloc(&room, wanted);
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

size_t cuda_memory_left(Backend *be)
{
    size_t left = 0, all = 0;
    cuda_note(be, "memory", cudaMemGetInfo(&left, &all));
    return left;
}

void *cuda_memory_alloc(Backend *be, size_t bytes, bool shared)
{
    void *p = NULL;
    if (be->cuda->rehearsal.on) return rehearsed_alloc(be->cuda, bytes);
    CHECK(!be->cuda->recording, "memory is not taken while operations are recorded");
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
void cuda_memory_free(Backend *be, void *p, size_t bytes)
{
    if (!p || be->cuda->rehearsal.on) return;
    memory_count(be->cuda, 0, bytes ? bytes : 1);
    cudaFree(p);
}

void cuda_memory_zero(Backend *be, void *p, size_t bytes)
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
void cuda_memory_copy(Backend *be, void *to, const void *from, size_t bytes)
{
    const char *t = (const char *)to, *f = (const char *)from;
    size_t gap = t > f ? (size_t)(t - f) : (size_t)(f - t);
    if (bytes == 0 || gap == 0) return;
    void *between = gap < bytes ? cuda_scratch(be, bytes) : NULL;
    if (cuda_failed(be)) return;
    if (between) copy(be, between, from, bytes);
    copy(be, to, between ? between : from, bytes);
}

/* From memory that is not pinned CUDA takes a copy before it returns, unless the GPU can do
 * without: then the caller, whose memory it may be no longer, waits. */
void cuda_memory_upload(Backend *be, void *to, const void *host, size_t bytes)
{
    if (cuda_failed(be) || bytes == 0) return;
    cuda_note(be, "upload",
              cudaMemcpyAsync(to, host, bytes, cudaMemcpyHostToDevice, be->cuda->stream));
    if (be->cuda->reads_host && !cuda_failed(be))
        cuda_note(be, "waiting", cudaStreamSynchronize(be->cuda->stream));
}

void cuda_memory_download(Backend *be, void *host, const void *from, size_t bytes)
{
    cudaStream_t stream = be->cuda->stream;
    if (bytes == 0) return;
    if (!cuda_failed(be))
        cuda_note(be, "download",
                  cudaMemcpyAsync(host, from, bytes, cudaMemcpyDeviceToHost, stream));
    if (!cuda_failed(be)) cuda_note(be, "waiting", cudaStreamSynchronize(stream));
    if (cuda_failed(be)) memset(host, 0xff, bytes); /* NaN, of either type */
}

/* Where it cannot be, downloads take their copy as ever: no error is kept. */
void cuda_memory_pin(Backend *be, void *host, size_t bytes, bool on)
{
    if (!host || (on && cuda_failed(be))) return;
    cudaError_t status =
        on ? cudaHostRegister(host, bytes, cudaHostRegisterDefault) : cudaHostUnregister(host);
    if (status != cudaSuccess) (void)cudaGetLastError();
}

size_t cuda_memory_room(Backend *be)
{
    return be->cuda->room;
}

size_t cuda_memory_peak(Backend *be)
{
    return be->cuda->most;
}

/* ------------------------------------------------------------------------------ rehearsals */

/* As after a failure, nothing is started; but scratch counts how far it would grow. */
void cuda_rehearse_begin(Backend *be)
{
    struct Cuda *c = be->cuda;
    c->rehearsal = (Rehearsal){true,       REHEARSED,    c->taken,   c->most, c->scratch_bytes,
                               c->scratch, c->part_sums, c->operands};
    c->taken = c->most = c->scratch_bytes = 0;
    c->scratch = NULL;
    c->part_sums = {};
    c->operands = cuda_operands_open();
}

size_t cuda_rehearse_end(Backend *be)
{
    struct Cuda *c = be->cuda;
    Rehearsal *r = &c->rehearsal;
    size_t bytes = c->most;
    cuda_operands_close(be, c->operands);
    c->taken = r->taken;
    c->most = r->most;
    c->scratch_bytes = r->scratch_bytes;
    c->scratch = r->scratch;
    c->part_sums = r->part_sums;
    c->operands = r->operands;
    r->on = false;
    return bytes;
}
