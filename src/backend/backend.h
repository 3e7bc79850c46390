/* The machine: memory, copies, matrix products, and the table of kernels. Only this folder (and a
 * kernel's own file) knows which machine it is; everything above works on pointers that belong to
 * the backend and never looks through them.
 *
 * Products come in `real`. With bf16 set, both operands of the products with weights are rounded to
 * bfloat16 first and the sums stay float32; the products inside attention stay float32 altogether.
 */
#ifndef TTT_BACKEND_BACKEND_H
#define TTT_BACKEND_BACKEND_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "base/real.h"

struct Ops;
struct Machine;

typedef struct BackendOptions {
    const char *device; /* NULL or "cpu"; "cuda" or "cuda:N", the N-th GPU */
    int threads;        /* 0: one per physical core this process may use */
    bool bf16;          /* products with weights in bfloat16, float32 sums */
    const char *isa;    /* NULL: the best this CPU has; else "portable", "avx2", "avx512" */
} BackendOptions;

typedef struct Backend {
    const struct Ops *ops;         /* kernels, one table per instruction set or machine */
    const struct Machine *machine; /* see machine.h */
    const char *isa;               /* what the kernels are compiled for */
    int threads;                   /* of the CPU, that kernels run on */
    bool bf16;
    bool bf16_native;               /* there are instructions for such products */
    struct Profile *profile;        /* NULL: time is not counted; see profile.h */
    struct Bf16Copies *bf16_copies; /* of weights, see bf16_copy.h; NULL: none yet */
    struct WorkBlock *work;         /* CPU: (threads, WORK_SLOTS), see backend_work */
    struct GemmCache *gemm_cache;   /* CPU: bfloat16 products by shape; NULL: not native */
    void *signal_stack;             /* CPU: see signal_stack.h; NULL: the thread had one */
    size_t refused;                 /* CPU: bytes that could not be had, for backend_wait to tell */
    size_t unasked;                 /* CPU: bytes given since the system was asked what it has */
    struct Cuda *cuda;              /* GPU: see cuda.cu */
} Backend;

typedef enum Trans { N_, T_ } Trans; /* as stored; transposed */

int backend_open(Backend **out, const BackendOptions *options, Err *err);
void backend_close(Backend *be); /* NULL is fine */
/* A thread other than the one that opened the backend computes from enter to leave: OpenMP keeps a
 * number of threads, and CUDA a device, for each. enter returns what leave sets again. */
int backend_enter(Backend *be);
void backend_leave(Backend *be, int before);
/* Whether products in bfloat16 run in float32, for want of instructions for them. */
bool backend_bf16_emulated(const Backend *be);

/* 64-byte aligned, zeroed; huge blocks on huge pages where the system offers them. NULL when there
 * is no memory: backend_wait tells it then, and is asked before a CPU is given such an array. */
real *backend_alloc(Backend *be, size_t n);
/* As that, but the host may read and write it too, after backend_wait. For tests. */
real *backend_alloc_shared(Backend *be, size_t n);
void backend_free(Backend *be, real *p, size_t n);
void backend_zero(Backend *be, real *p, size_t n);
void backend_copy(Backend *be, real *to, const real *from, size_t n);
/* Host to backend and back, when all that was started before is done. */
void backend_upload(Backend *be, real *to, const real *host, size_t n);
void backend_download(Backend *be, real *host, const real *from, size_t n);
/* Host memory that is downloaded to again and again, held where it is so that it takes no copy on
 * the way, if the machine can; until unpin, before it is freed. */
void backend_pin(Backend *be, void *host, size_t bytes);
void backend_unpin(Backend *be, void *host);
/* Whether operands of products are rounded to bfloat16. */
static inline bool backend_rounds(const Backend *be)
{
    return be->bf16 && sizeof(real) == sizeof(float);
}
/* Whether attention wants keys and values of a window that stays in bfloat16 too, rounded once as
 * they come. */
bool backend_half_windows(const Backend *be);
/* `count` runs of n elements, step apart on both sides, rounded to bfloat16. */
void backend_round(Backend *be, uint16_t *to, const real *x, size_t n, int count, size_t step);
/* Ids, scalars and the like lie in backend memory too; their room is taken in elements of `real`.
 */
void backend_copy_bytes(Backend *be, void *to, const void *from, size_t n);
void backend_upload_bytes(Backend *be, void *to, const void *host, size_t n);
void backend_upload_ids(Backend *be, int32_t *to, const int32_t *host, size_t n);
void backend_upload_doubles(Backend *be, double *to, const double *host, size_t n);
void backend_download_doubles(Backend *be, double *host, const double *from, size_t n);
static inline size_t reals_for(size_t bytes)
{
    return (bytes + sizeof(real) - 1) / sizeof(real);
}

/* Until all that was started is done. A GPU that fails goes on failing, with NaN for results: the
 * first failure is told here, in one line. On a CPU, only that memory was not there, once. */
int backend_wait(Backend *be, Err *err);
/* Of the host: bytes that the library for products takes beside all arrays, for its code, and for
 * each thread's packed operands (measured: docs/speed.md). */
enum { PRODUCTS_CODE = 4 << 20, PRODUCTS_PACKED = 4 << 20 };
/* Bytes that backend_alloc may still take; 0: not known. */
size_t backend_memory_left(Backend *be);

/* Bytes that this backend may fill, whatever it holds now: of a GPU, what was free as it was
 * opened; 0: others live in that memory too. */
size_t backend_memory_room(Backend *be);
/* The most bytes taken so far: of a GPU, by this process's arrays; of the host, by all of it. */
size_t backend_memory_peak(Backend *be);

/* What is started from record_begin to record_end is not done but kept, to be done by record_play
 * as one, again and again, without the host's time for each of its parts (a CUDA graph). Meanwhile
 * nothing may be downloaded, uploaded or allocated, and everything that it needs must have been
 * done once before: scratch has grown then. record_end: NULL where there is no record, with `why`
 * in one line unless the machine itself has failed; it works on, and nothing was done. */
typedef struct BackendRecord BackendRecord;
bool backend_records(const Backend *be); /* whether this machine can */
void backend_record_begin(Backend *be);
BackendRecord *backend_record_end(Backend *be, Err *why);
void backend_record_play(Backend *be, BackendRecord *record);
void backend_record_free(Backend *be, BackendRecord *record); /* NULL is fine */

/* What is started from rehearse_begin to rehearse_end is not done: memory taken meanwhile is no
 * more than addresses, to be given back before the end, which returns the bytes of scratch that the
 * operations would take beside it. Nothing may be downloaded meanwhile. */
bool backend_rehearses(const Backend *be); /* whether this machine can */
void backend_rehearse_begin(Backend *be);
size_t backend_rehearse_end(Backend *be);

/* Scratch of one CPU thread (thread: omp_get_thread_num() inside a parallel region, else 0) that
 * kernels use between their own lines; slots keep two users in one call apart. Grows to the largest
 * request, so that after a first step nothing is allocated. Contents are undefined. */
typedef enum WorkSlot { WORK_GEMM_A, WORK_GEMM_B, WORK_KERNEL, WORK_SLOTS } WorkSlot;
real *backend_work(Backend *be, int thread, WorkSlot slot, size_t n);

/* `count` products side by side, their operands step_* elements apart. */
typedef struct Gemm {
    Trans ta, tb;
    int M, N, K;
    real alpha;
    const real *A;
    int lda;
    const real *B;
    int ldb;
    real beta;
    real *C;
    int ldc;
    int count;
    size_t step_a, step_b, step_c;
} Gemm;

/* Row-major C (M, N) = alpha op(A) op(B) + beta C, op(A) (M, K), op(B) (K, N); ld*: elements
 * between rows as stored. */
void gemm(Backend *be, Trans ta, Trans tb, int M, int N, int K, real alpha, const real *A, int lda,
          const real *B, int ldb, real beta, real *C, int ldc);

/* Around products whose operands stay as they are meanwhile: one that is rounded for a product then
 * serves the next ones too. Pairs may be nested. */
void gemm_group_begin(Backend *be);
void gemm_group_end(Backend *be);
/* Inside a group: what the next kernel writes into x (n) is an operand of the group's products and
 * nothing else, so that a machine which rounds operands may have it written there only in that
 * form. */
void gemm_operand(Backend *be, const real *x, size_t n);

/* Around operations that add to gradients of norms' weights: these may be there only at the end,
 * all added at once, each in the same order as ever. Pairs may be nested. */
void gradient_group_begin(Backend *be);
void gradient_group_end(Backend *be);

/* `count` dense products side by side, C_i = op(A_i) op(B_i) + beta C_i, their operands step_*
 * elements apart. */
void gemm_batch(Backend *be, int count, Trans ta, Trans tb, int M, int N, int K, const real *A,
                size_t step_a, const real *B, size_t step_b, real beta, real *C, size_t step_c);

#endif
