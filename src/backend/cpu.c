/* The CPU: aligned memory on huge pages, products by oneDNN (float) or OpenBLAS, one OpenMP thread
 * pool for everything, kernels compiled per instruction set and chosen here. */
#include "backend/backend.h"

#include <malloc.h>
#include <omp.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "backend/bf16_copy.h" // defines: bf16_copies_free
#include "backend/cores.h"     // defines: cores_usable
#include "backend/gemm_bf16.h" // defines: gemm_cache_create, gemm_cache_free
#include "backend/signal_stack.h"

extern const struct Ops ops_portable;
#ifdef HAVE_ISA_AVX2
extern const struct Ops ops_avx2;
#endif
#ifdef HAVE_ISA_AVX512
extern const struct Ops ops_avx512;
#endif
#ifdef HAVE_ISA_AVX512BF16
extern const struct Ops ops_avx512bf16;
#endif

struct WorkBlock {
    real *data;
    size_t capacity;
};

typedef struct IsaEntry {
    const char *name;
    const struct Ops *ops;
    bool (*available)(void);
    const struct Ops *bf16; /* with bfloat16 instructions, for a CPU that has them; NULL: none */
} IsaEntry;

#if defined HAVE_ISA_AVX2 || defined HAVE_ISA_AVX512
static bool has_avx2(void)
{
    return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") &&
           __builtin_cpu_supports("bmi2");
}

static bool has_avx512(void)
{
    return has_avx2() && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
           __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512dq") &&
           __builtin_cpu_supports("avx512cd");
}
#endif

static bool has_any(void)
{
    return true;
}

static const IsaEntry isas[] = {
/* best first */
#ifdef HAVE_ISA_AVX512BF16
    {"avx512", &ops_avx512, has_avx512, &ops_avx512bf16},
#elif defined HAVE_ISA_AVX512
    {"avx512", &ops_avx512, has_avx512, NULL},
#endif
#ifdef HAVE_ISA_AVX2
    {"avx2", &ops_avx2, has_avx2, NULL},
#endif
    {"portable", &ops_portable, has_any, NULL},
};

static int choose_isa(Backend *be, const char *wanted, Err *err)
{
    for (int i = 0; i < ARRAY_LEN(isas); i++) {
        if (wanted && strcmp(wanted, isas[i].name) != 0) continue;
        if (!isas[i].available()) continue;
        be->ops = isas[i].ops;
        be->isa = isas[i].name;
        if (be->bf16 && isas[i].bf16) be->gemm_cache = gemm_cache_create();
        if (be->gemm_cache) be->ops = isas[i].bf16;
        return 0;
    }
    return err_set(err, "instruction set '%s' is not built in or this CPU lacks it; use 'portable'",
                   wanted ? wanted : "");
}

/* The product library takes and frees its packing buffers in every call. Left to its defaults,
 * malloc gives them back to the kernel each time, which then clears pages for a fifth of a small
 * step. */
static void keep_freed_memory(void)
{
    (void)mallopt(M_MMAP_THRESHOLD, 1 << 30);
    (void)mallopt(M_TRIM_THRESHOLD, 1 << 30);
}

int backend_open(Backend **out, const BackendOptions *options, Err *err)
{
    Backend *be = calloc(1, sizeof *be);
    CHECK(be, "out of memory");
    be->bf16 = options->bf16;
    if (choose_isa(be, options->isa, err) < 0) {
        free(be);
        return -1;
    }
    be->threads = options->threads > 0 ? options->threads : cores_usable();
    omp_set_num_threads(be->threads);
    keep_freed_memory();
    signal_stack_open(be);
    be->work = calloc((size_t)be->threads * WORK_SLOTS, sizeof *be->work);
    CHECK(be->work, "out of memory");
    *out = be;
    return 0;
}

bool backend_bf16_emulated(const Backend *be)
{
    return be->bf16 && !be->gemm_cache;
}

void backend_close(Backend *be)
{
    if (!be) return;
    for (int i = 0; i < be->threads * WORK_SLOTS; i++)
        backend_free(be, be->work[i].data, be->work[i].capacity);
    free(be->work);
    signal_stack_close(be);
    gemm_cache_free(be->gemm_cache);
    bf16_copies_free(be);
    free(be);
}

enum { HUGE_PAGE = 2 << 20, LINE = 64 };

/* Bytes to take for n elements: huge blocks come from the kernel, whole huge pages at a time. */
static size_t block_bytes(size_t n, bool *huge)
{
    CHECK(n < SIZE_MAX / sizeof(real) - 2 * HUGE_PAGE, "%zu elements overflow", n);
    size_t bytes = (n ? n : 1) * sizeof(real);
    *huge = bytes >= 4 * (size_t)HUGE_PAGE;
    size_t unit = *huge ? HUGE_PAGE : LINE;
    return (bytes + unit - 1) / unit * unit;
}

/* Zero pages that exist once they are touched, aligned so that huge pages fit. */
static void *map_huge(size_t bytes)
{
    char *all =
        mmap(NULL, bytes + HUGE_PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (all == MAP_FAILED) return NULL;
    size_t head = (HUGE_PAGE - (uintptr_t)all % HUGE_PAGE) % HUGE_PAGE;
    if (head) (void)munmap(all, head);
    if (HUGE_PAGE - head) (void)munmap(all + head + bytes, HUGE_PAGE - head);
    (void)madvise(all + head, bytes, MADV_HUGEPAGE);
    return all + head;
}

real *backend_alloc(Backend *be, size_t n)
{
    (void)be;
    bool huge;
    size_t bytes = block_bytes(n, &huge);
    void *p = huge ? map_huge(bytes) : aligned_alloc(LINE, bytes);
    CHECK(p, "out of memory: %zu MB more wanted", bytes >> 20);
    return huge ? p : memset(p, 0, bytes);
}

real *backend_work(Backend *be, int thread, WorkSlot slot, size_t n)
{
    CHECK(thread < be->threads, "scratch of thread %d of %d", thread, be->threads);
    struct WorkBlock *w = &be->work[thread * WORK_SLOTS + (int)slot];
    if (n > w->capacity) {
        if (w->data) backend_free(be, w->data, w->capacity);
        w->data = backend_alloc(be, n);
        w->capacity = n;
    }
    return w->data;
}

void backend_free(Backend *be, real *p, size_t n)
{
    (void)be;
    bool huge;
    size_t bytes = block_bytes(n, &huge);
    if (huge && p)
        (void)munmap(p, bytes);
    else
        free(p);
}

void backend_zero(Backend *be, real *p, size_t n)
{
    (void)be;
    memset(p, 0, n * sizeof *p);
}

void backend_copy(Backend *be, real *to, const real *from, size_t n)
{
    (void)be;
    memmove(to, from, n * sizeof *to);
}

void backend_upload(Backend *be, real *to, const real *host, size_t n)
{
    backend_copy(be, to, host, n);
}

void backend_download(Backend *be, real *host, const real *from, size_t n)
{
    backend_copy(be, host, from, n);
}
