/* Attained peaks: bursts of the loops in ops/peak.c and backend/peak_bf16.c, the best one counts.
 */
#include "run/bench_peak.h"

#include <unistd.h>

#include "backend/machine.h"
#include "backend/peak.h" // defines: peak_bf16, peak_bf16_available
#include "base/mem.h"     // defines: time_now

enum { BURSTS = 8, FIRST_ROUNDS = 1 << 12, MOST_ROUNDS = 1 << 30 };
static const double BURST_SECONDS = 0.01;

/* One burst of `rounds`: work done. */
typedef double (*Burst)(Backend *be, void *out, int64_t rounds);

/* Who measures will ask whether it failed. */
static void settle(Backend *be)
{
    Err ignored;
    (void)backend_wait(be, &ignored);
}

static double products_burst(Backend *be, void *out, int64_t rounds)
{
    double flops;
    be->ops->peak_products(be, &flops, out, rounds);
    settle(be);
    return flops;
}

static double bf16_burst(Backend *be, void *out, int64_t rounds)
{
    return peak_bf16(be, out, rounds);
}

/* Work per second of the best burst, in 1e9. Rounds double until a burst is long enough. */
static double best_rate(Backend *be, Burst burst)
{
    void *out = mem_alloc((size_t)be->threads * sizeof(double));
    double best = 0;
    int64_t rounds = FIRST_ROUNDS;
    burst(be, out, rounds); /* the first start of a kernel is slower */
    for (int done = 0; done < BURSTS;) {
        double began = time_now(), work = burst(be, out, rounds), seconds = time_now() - began;
        if (seconds < BURST_SECONDS && rounds < MOST_ROUNDS) {
            rounds *= 2;
            continue;
        }
        if (work / seconds > best) best = work / seconds;
        done++;
    }
    mem_free(out);
    return best / 1e9;
}

double bench_peak_products(Backend *be)
{
    return best_rate(be, products_burst);
}

double bench_peak_bf16(Backend *be)
{
    if (be->machine->own_memory) return be->bf16 ? bench_peak_matrix(be) : 0;
    return peak_bf16_available() ? best_rate(be, bf16_burst) : 0;
}

double bench_peak_of(Backend *be)
{
    double bf16 = be->bf16_native ? bench_peak_bf16(be) : 0;
    return bf16 > 0 ? bf16 : bench_peak_products(be);
}

/* Elements of an array that no cache holds; less where memory is short. The system may tell the
 * size of a cache that many machines share, hence the bound. */
static size_t array_elements(Backend *be)
{
    const size_t least = (size_t)128 << 20, most = (size_t)512 << 20;
    long cache = sysconf(_SC_LEVEL3_CACHE_SIZE);
    size_t bytes = cache > 0 ? 2 * (size_t)cache : least, available = backend_memory_left(be) / 6;
    if (bytes < least) bytes = least;
    if (bytes > most) bytes = most;
    if (available > 0 && bytes > available) bytes = available;
    return bytes / sizeof(real);
}

typedef struct Arrays {
    real *array[PEAK_MEMORY_KINDS]; /* (n) each; those that are not needed are the first again */
    int count;
    size_t n;
} Arrays;

/* As many as the kind of stream needs. */
static Arrays arrays_open(Backend *be, PeakMemory kind)
{
    Arrays a = {.count = (int)kind + 1, .n = array_elements(be)};
    double bytes;
    real *out = mem_alloc((size_t)be->threads * sizeof *out);
    for (int i = 0; i < ARRAY_LEN(a.array); i++) {
        real *p = a.array[i] = i < a.count ? backend_alloc(be, a.n) : a.array[0];
        mem_need(p || be->machine->own_memory, "%zu bytes to stream", a.n * sizeof(real));
        if (i < a.count) be->ops->peak_memory(be, &bytes, out, PEAK_TRIAD, p, p, p, a.n);
    }
    mem_free(out);
    return a;
}

static void arrays_close(Backend *be, Arrays *a)
{
    for (int i = 0; i < a->count; i++) backend_free(be, a->array[i], a->n);
}

static double memory_burst(Backend *be, const Arrays *a, PeakMemory kind)
{
    real *out = mem_alloc((size_t)be->threads * sizeof *out);
    settle(be);
    double bytes, began = time_now();
    be->ops->peak_memory(be, &bytes, out, kind, a->array[0], a->array[1], a->array[2], a->n);
    settle(be);
    double seconds = time_now() - began;
    mem_free(out);
    return bytes / seconds / 1e9;
}

static double memory_rate(Backend *be, const Arrays *a, PeakMemory kind)
{
    double best = 0;
    for (int i = 0; i < BURSTS; i++) {
        double rate = memory_burst(be, a, kind);
        if (rate > best) best = rate;
    }
    return best;
}

double bench_peak_memory(Backend *be, PeakMemory kind)
{
    Arrays a = arrays_open(be, kind);
    double rate = memory_rate(be, &a, kind);
    arrays_close(be, &a);
    return rate;
}

struct BenchReads {
    Backend *be;
    Arrays arrays; /* two that are read in turn, so that no cache holds what comes next */
};

BenchReads *bench_reads_open(Backend *be)
{
    BenchReads *r = mem_alloc(sizeof *r);
    *r = (BenchReads){.be = be, .arrays = arrays_open(be, PEAK_COPY)};
    return r;
}

double bench_reads_burst(BenchReads *r)
{
    real *first = r->arrays.array[0];
    r->arrays.array[0] = r->arrays.array[1];
    r->arrays.array[1] = first;
    return memory_burst(r->be, &r->arrays, PEAK_READ);
}

size_t bench_reads_bytes(const BenchReads *r)
{
    return (size_t)r->arrays.count * r->arrays.n * sizeof(real);
}

void bench_reads_close(BenchReads *r)
{
    if (!r) return;
    arrays_close(r->be, &r->arrays);
    mem_free(r);
}

void bench_peak_measure(BenchPeak *p, Backend *be)
{
    Backend one = *be; /* the same machine, one thread of it */
    one.threads = 1;
    Backend *const with[] = {&one, be};
    Arrays a = arrays_open(be, PEAK_TRIAD);
    *p = (BenchPeak){.threads = be->threads};
    snprintf(p->isa, sizeof p->isa, "%s", be->isa);
    for (int i = 0; i < ARRAY_LEN(with); i++) {
        p->products[i] = bench_peak_products(with[i]);
        p->bf16[i] = bench_peak_bf16(with[i]);
        for (int kind = 0; kind < PEAK_MEMORY_KINDS; kind++)
            p->memory[i][kind] = memory_rate(with[i], &a, (PeakMemory)kind);
    }
    arrays_close(be, &a);
}

static const char *const memory_names[PEAK_MEMORY_KINDS] = {
    [PEAK_READ] = "read", [PEAK_COPY] = "copy", [PEAK_TRIAD] = "triad"};

void bench_peak_print(const BenchPeak *p, FILE *out)
{
    fprintf(out, "%-24s %10s %7d threads  (%s)\n", "attained peak", "1 thread", p->threads, p->isa);
    fprintf(out, "%-24s %10.1f %10.1f  GFLOP/s\n", REAL_NAME " products", p->products[0],
            p->products[1]);
    if (p->bf16[1] > 0)
        fprintf(out, "%-24s %10.1f %10.1f  GFLOP/s\n", "bf16 products", p->bf16[0], p->bf16[1]);
    else
        fprintf(out, "%-24s this CPU has no bfloat16 products; they run in %s\n", "bf16 products",
                REAL_NAME);
    for (int kind = 0; kind < PEAK_MEMORY_KINDS; kind++)
        fprintf(out, "memory %-17s %10.1f %10.1f  GB/s\n", memory_names[kind], p->memory[0][kind],
                p->memory[1][kind]);
}

static json_t *pair(const double value[2])
{
    return json_pack("{s:f, s:f}", "one_thread", value[0], "all_threads", value[1]);
}

json_t *bench_peak_json(const BenchPeak *p)
{
    json_t *memory = json_object();
    for (int kind = 0; kind < PEAK_MEMORY_KINDS; kind++) {
        double rate[2] = {p->memory[0][kind], p->memory[1][kind]};
        json_object_set_new(memory, memory_names[kind], pair(rate));
    }
    return json_pack("{s:s, s:s, s:s, s:i, s:o, s:o, s:o}", "bench", "peak", "isa", p->isa,
                     "number", REAL_NAME, "threads", p->threads, "products_gflops",
                     pair(p->products), "bf16_gflops", p->bf16[1] > 0 ? pair(p->bf16) : json_null(),
                     "memory_gbs", memory);
}
