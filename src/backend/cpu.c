/* The CPU: aligned memory on huge pages, products by oneDNN (float) or OpenBLAS, one OpenMP thread
 * pool for everything, kernels compiled per instruction set and chosen here. */
#include "backend/backend.h"

#include <malloc.h>
#include <omp.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>

#include "backend/cores.h"     // defines: cores_usable
#include "backend/gemm_bf16.h" // defines: gemm_cache_create, gemm_cache_free
#include "backend/gemm_cpu.h"  // defines: gemm_cpu, round_bf16_cpu
#include "backend/machine.h"
#include "backend/signal_stack.h"
#include "base/mem.h"

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
        be->bf16_native = be->gemm_cache != NULL;
        if (be->bf16_native) be->ops = isas[i].bf16;
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

static size_t products_room(const Backend *be)
{
    return PRODUCTS_CODE + (size_t)be->threads * PRODUCTS_PACKED;
}

/* The libraries for threads and products end the process where there is no memory for them. */
static int libraries_check(const Backend *be, Err *err)
{
    enum { USUAL_STACK = 8 << 20 };
    struct rlimit stack;
    bool known = getrlimit(RLIMIT_STACK, &stack) == 0 && stack.rlim_cur != RLIM_INFINITY;
    size_t stacks = (size_t)(be->threads - 1) * (known ? stack.rlim_cur : USUAL_STACK);
    size_t wanted = stacks + products_room(be);
    void *p = mmap(NULL, wanted, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (p == MAP_FAILED) return mem_refuse(err, wanted, "threads and matrix products");
    (void)munmap(p, wanted);
    return 0;
}

static int cpu_open(Backend *be, const BackendOptions *options, Err *err)
{
    enum { TIGHT = 1 << 30 };
    TRY(choose_isa(be, options->isa, err));
    be->threads = options->threads > 0 ? options->threads : cores_usable();
    TRY(libraries_check(be, err));
    omp_set_num_threads(be->threads);
    keep_freed_memory();
    signal_stack_open(be);
    be->work = calloc((size_t)be->threads * WORK_SLOTS, sizeof *be->work);
    mem_need(be->work, "scratch");
    size_t left = mem_available();
    if (left > 0 && left < TIGHT) gemm_cpu_start(); /* 25 ms that not every command would spend */
    return 0;
}

enum { HUGE_PAGE = 2 << 20, LINE = 64 };

/* Huge blocks come from the kernel, whole huge pages at a time. */
static size_t block_bytes(size_t bytes, bool *huge)
{
    *huge = bytes >= 4 * (size_t)HUGE_PAGE;
    size_t unit = *huge ? HUGE_PAGE : LINE;
    return ((bytes ? bytes : 1) + unit - 1) / unit * unit;
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

/* The system promises more than it has, and kills who takes it. To ask what it has costs more than
 * a small block does, so that is done once in so many bytes, by whichever thread. */
static bool too_much(Backend *be, size_t bytes)
{
    enum { UNASKED = 1 << 20 };
    size_t wanted = bytes + products_room(be), left = mem_limit_left();
    if (left > 0 && wanted > left) return true;
    if (__atomic_add_fetch(&be->unasked, bytes, __ATOMIC_RELAXED) < UNASKED) return false;
    __atomic_store_n(&be->unasked, 0, __ATOMIC_RELAXED);
    left = mem_obtainable();
    return left > 0 && wanted > left;
}

static void *cpu_alloc(Backend *be, size_t wanted, bool shared)
{
    (void)shared;
    bool huge;
    size_t bytes = block_bytes(wanted, &huge);
    void *p = NULL;
    if (!too_much(be, bytes)) p = huge ? map_huge(bytes) : aligned_alloc(LINE, bytes);
    if (!p && be->refused == 0) be->refused = bytes;
    return huge || !p ? p : memset(p, 0, bytes);
}

static void cpu_free(Backend *be, void *p, size_t size)
{
    (void)be;
    bool huge;
    size_t bytes = block_bytes(size, &huge);
    if (huge && p)
        (void)munmap(p, bytes);
    else
        free(p);
}

real *backend_work(Backend *be, int thread, WorkSlot slot, size_t n)
{
    CHECK(thread < be->threads, "scratch of thread %d of %d", thread, be->threads);
    struct WorkBlock *w = &be->work[thread * WORK_SLOTS + (int)slot];
    if (n > w->capacity) {
        if (w->data) backend_free(be, w->data, w->capacity);
        w->data = backend_alloc(be, n);
        mem_need(w->data, "%zu bytes of scratch", n * sizeof(real));
        w->capacity = n;
    }
    return w->data;
}

static void cpu_close(Backend *be)
{
    for (int i = 0; i < be->threads * WORK_SLOTS; i++)
        backend_free(be, be->work[i].data, be->work[i].capacity);
    free(be->work);
    signal_stack_close(be);
    gemm_cache_free(be->gemm_cache);
}

static void cpu_zero(Backend *be, void *p, size_t bytes)
{
    (void)be;
    memset(p, 0, bytes);
}

static void cpu_copy(Backend *be, void *to, const void *from, size_t bytes)
{
    (void)be;
    memmove(to, from, bytes);
}

static int cpu_wait(Backend *be, Err *err)
{
    size_t refused = be->refused;
    be->refused = 0; /* what asks for less may go on */
    return refused > 0 ? mem_refuse(err, refused, "the model's numbers") : 0;
}

static size_t cpu_memory_left(Backend *be)
{
    (void)be;
    return mem_available();
}

static size_t cpu_memory_peak(Backend *be)
{
    (void)be;
    return mem_peak_rss();
}

const Machine machine_cpu = {.span_rows = 512, /* their activations stay in the caches */
                             .head_rows = 512,
                             .head_logits = 48 << 20,
                             .open = cpu_open,
                             .close = cpu_close,
                             .alloc = cpu_alloc,
                             .free = cpu_free,
                             .zero = cpu_zero,
                             .copy = cpu_copy,
                             .upload = cpu_copy,
                             .download = cpu_copy,
                             .wait = cpu_wait,
                             .memory_left = cpu_memory_left,
                             .memory_peak = cpu_memory_peak,
                             .gemm = gemm_cpu,
                             .round_bf16 = round_bf16_cpu};
