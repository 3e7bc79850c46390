/* Inside of the CUDA machine: shared by cuda.cu (the device, records) and cuda_memory.cu. */
#ifndef TTT_BACKEND_CUDA_INSIDE_CUH
#define TTT_BACKEND_CUDA_INSIDE_CUH

#include "backend/gemm_cuda.cuh"     // defines: CudaGemm
#include "backend/operands_cuda.cuh" // defines: CudaOperands
#include "backend/part_sums.cuh"     // defines: PartSums

extern "C" {
#include "backend/machine.h"
}

enum { NAME_LENGTH = 16, MOST_RETIRED = 256 };

/* What a rehearsal puts out of the way; see backend_rehearse_begin. */
typedef struct Rehearsal {
    bool on;
    uintptr_t next; /* address to give out */
    size_t taken, most, scratch_bytes;
    void *scratch;
    PartSums part_sums;
    CudaOperands *operands;
} Rehearsal;

struct Cuda {
    int device;
    cudaStream_t stream;
    int processors;
    char isa[NAME_LENGTH]; /* "sm_90" */
    size_t shared;         /* bytes of a block's shared memory at most */
    bool reads_host;       /* the GPU reads the host's memory where it lies */
    bool starts_early;     /* see cuda_starts_early */
    bool failed;
    Err failure;                 /* the first */
    bool recording, refused;     /* between record_begin and record_end; and something failed */
    Err refusal;                 /* the first of these */
    size_t room, taken, most;    /* bytes of memory: free at first, of ours now, of ours at most */
    int records;                 /* kept now: they hold on to memory that was scratch */
    void *retired[MOST_RETIRED]; /* such memory */
    int n_retired;
    void *scratch;
    size_t scratch_bytes;
    unsigned *counters; /* (CUDA_COUNTERS) */
    PartSums part_sums;
    CudaGemm *gemm;
    CudaOperands *operands;
    Rehearsal rehearsal;
};

/* cuda_memory.cu: see machine.h. */
size_t cuda_memory_left(Backend *be);
void *cuda_memory_alloc(Backend *be, size_t bytes, bool shared);
void cuda_memory_free(Backend *be, void *p, size_t bytes);
void cuda_memory_zero(Backend *be, void *p, size_t bytes);
void cuda_memory_copy(Backend *be, void *to, const void *from, size_t bytes);
void cuda_memory_upload(Backend *be, void *to, const void *host, size_t bytes);
void cuda_memory_download(Backend *be, void *host, const void *from, size_t bytes);
void cuda_memory_pin(Backend *be, void *host, size_t bytes, bool on);
size_t cuda_memory_room(Backend *be);
size_t cuda_memory_peak(Backend *be);
void cuda_rehearse_begin(Backend *be);
size_t cuda_rehearse_end(Backend *be);

#endif
