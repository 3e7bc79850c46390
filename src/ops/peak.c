/* What this machine attains at best: products in registers, and streams of memory too long for any
 * cache. Not part of a model; `ttt bench` measures everything else against it. */
#include <omp.h>
#include <string.h>

#include "ops/kernel.h"
#include "ops/vec.h" // defines: Vec, LANES, vec_sum

/* Twelve chains x = x m + c that depend on nothing but themselves: more than latency times ports,
 * fewer than registers. Named one by one: gcc leaves an array of them in memory. */
enum { CHAINS = 12 };

static real product_chains(int64_t rounds, real factor, real term)
{
    Vec zero = {0}, m = zero + factor, c = zero + term;
    Vec x0 = c, x1 = c + c, x2 = x1 + c, x3 = x2 + c, x4 = x3 + c, x5 = x4 + c;
    Vec x6 = x5 + c, x7 = x6 + c, x8 = x7 + c, x9 = x8 + c, x10 = x9 + c, x11 = x10 + c;
    for (int64_t i = 0; i < rounds; i++) {
        x0 = x0 * m + c;
        x1 = x1 * m + c;
        x2 = x2 * m + c;
        x3 = x3 * m + c;
        x4 = x4 * m + c;
        x5 = x5 * m + c;
        x6 = x6 * m + c;
        x7 = x7 * m + c;
        x8 = x8 * m + c;
        x9 = x9 * m + c;
        x10 = x10 * m + c;
        x11 = x11 * m + c;
    }
    return vec_sum(x0 + x1 + x2 + x3 + x4 + x5 + x6 + x7 + x8 + x9 + x10 + x11);
}

void KERNEL(peak_products)(Backend *be, double *flops, real *out, int64_t rounds)
{
    *flops = 2.0 * CHAINS * LANES * (double)rounds * be->threads;
#pragma omp parallel num_threads(be->threads)
    out[omp_get_thread_num()] = product_chains(rounds, (real)0.999, (real)0.001);
}

static real read_sum(const real *x, size_t n)
{
    enum { STRIDE = 8 * LANES };
    Vec s0 = {0}, s1 = s0, s2 = s0, s3 = s0, s4 = s0, s5 = s0, s6 = s0, s7 = s0;
    for (size_t i = 0; i + STRIDE <= n; i += STRIDE) {
        const Vec *v = (const Vec *)(x + i);
        s0 += v[0];
        s1 += v[1];
        s2 += v[2];
        s3 += v[3];
        s4 += v[4];
        s5 += v[5];
        s6 += v[6];
        s7 += v[7];
    }
    return vec_sum(s0 + s1 + s2 + s3 + s4 + s5 + s6 + s7);
}

static real triad(real *a, const real *b, const real *c, size_t n)
{
    for (size_t i = 0; i < n; i++) a[i] = b[i] + (real)0.5 * c[i];
    return a[0];
}

static real stream(PeakMemory kind, real *a, const real *b, const real *c, size_t n)
{
    if (kind == PEAK_READ) return read_sum(b, n);
    if (kind == PEAK_TRIAD) return triad(a, b, c, n);
    memcpy(a, b, n * sizeof *a);
    return a[0];
}

void KERNEL(peak_memory)(Backend *be, double *bytes, real *out, PeakMemory kind, real *a,
                         const real *b, const real *c, size_t n)
{
    static const int arrays[] = {[PEAK_READ] = 1, [PEAK_COPY] = 2, [PEAK_TRIAD] = 3};
    size_t part = n / (size_t)be->threads / PEAK_ALIGN * PEAK_ALIGN;
    *bytes = (double)(part * (size_t)be->threads * sizeof(real)) * arrays[kind];
#pragma omp parallel num_threads(be->threads)
    {
        size_t at = (size_t)omp_get_thread_num() * part;
        out[omp_get_thread_num()] = stream(kind, a + at, b + at, c + at, part);
    }
}
