/* The bfloat16 peak of a GPU: one large product by its library, since no loop of ours reaches its
 * matrix units as well. Operands are rounded beforehand; their numbers are random, because
 * products of zeros draw less power and run faster. */
#include "backend/bf16_copy.h"
#include "base/mem.h" // defines: time_now, mem_alloc, mem_free
#include "base/rng.h" // defines: rng_seed, rng_normal
#include "run/bench_peak.h"

enum { FIRST = 512, LAST = 8192, BURSTS = 8, MOST_ROUNDS = 1 << 12 };
static const double LONG_PRODUCT = 1e-3, BURST_SECONDS = 0.05;

typedef struct Matrices {
    Backend *be;
    real *a, *b, *c; /* (LAST, LAST) */
} Matrices;

static void fill(Backend *be, real *to, uint64_t stream)
{
    real *row = mem_alloc(LAST * sizeof *row);
    Rng rng;
    rng_seed(&rng, 1, stream);
    for (int i = 0; i < LAST; i++) {
        for (int j = 0; j < LAST; j++) row[j] = (real)rng_uniform(&rng) - (real)0.5;
        backend_upload(be, to + (size_t)i * LAST, row, LAST);
    }
    mem_free(row);
}

/* Seconds of `rounds` products of n rows and columns. */
static int burst(const Matrices *m, int n, int rounds, double *seconds, Err *err)
{
    TRY(backend_wait(m->be, err));
    double began = time_now();
    for (int i = 0; i < rounds; i++)
        gemm(m->be, N_, N_, n, n, n, 1, m->a, LAST, m->b, LAST, 0, m->c, LAST);
    TRY(backend_wait(m->be, err));
    *seconds = time_now() - began;
    return 0;
}

/* The smallest size that takes long enough, then as many of them; the best burst counts. */
static int measure(const Matrices *m, double *gflops, Err *err)
{
    int n = FIRST, rounds = 1;
    double seconds;
    TRY(burst(m, n, 1, &seconds, err)); /* finds its algorithm */
    for (;; n *= 2) {
        TRY(burst(m, n, 1, &seconds, err));
        TRY(burst(m, n, 1, &seconds, err));
        if (n == LAST || seconds >= LONG_PRODUCT) break;
    }
    while (seconds * rounds < BURST_SECONDS && rounds < MOST_ROUNDS) rounds *= 2;
    for (int i = 0; i < BURSTS; i++) {
        TRY(burst(m, n, rounds, &seconds, err));
        double rate = 2.0 * n * n * n * rounds / seconds / 1e9;
        if (rate > *gflops) *gflops = rate;
    }
    return 0;
}

double bench_peak_matrix(Backend *be)
{
    const size_t size = (size_t)LAST * LAST;
    Matrices m = {.be = be};
    double gflops = 0;
    Err err;
    m.a = backend_alloc(be, size);
    m.b = backend_alloc(be, size);
    m.c = backend_alloc(be, size);
    if (backend_wait(be, &err) == 0) {
        fill(be, m.a, 1);
        fill(be, m.b, 2);
        bf16_copy_keep(be, m.a, size);
        bf16_copy_keep(be, m.b, size);
        if (measure(&m, &gflops, &err) < 0) gflops = 0;
        bf16_copy_drop(be, m.a);
        bf16_copy_drop(be, m.b);
    }
    backend_free(be, m.a, size);
    backend_free(be, m.b, size);
    backend_free(be, m.c, size);
    return gflops;
}
