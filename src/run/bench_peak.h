/* What the machine attains at best, by loops of our own: the measure of all other figures. */
#ifndef TTT_RUN_BENCH_PEAK_H
#define TTT_RUN_BENCH_PEAK_H

#include <jansson.h>
#include <stdio.h>

#include "ops/ops.h"

/* Best of several short bursts; on all threads of the backend. */
double bench_peak_products(Backend *be); /* of `real`, GFLOP/s */
double bench_peak_bf16(Backend *be);     /* GFLOP/s; 0: this CPU has no such instructions */
/* bench_peak_matrix.c: a GPU's, of a backend that computes in bf16; 0: it failed. */
double bench_peak_matrix(Backend *be);
/* GB/s of reads and writes, over arrays longer than the last-level cache. */
double bench_peak_memory(Backend *be, PeakMemory kind);

/* The same in single bursts of reading, to be taken in turns with what is measured by it. */
typedef struct BenchReads BenchReads;
BenchReads *bench_reads_open(Backend *be);
double bench_reads_burst(BenchReads *r); /* GB/s */
size_t bench_reads_bytes(const BenchReads *r);
void bench_reads_close(BenchReads *r); /* NULL is fine */

/* The peak that this backend's products are to be compared with. */
double bench_peak_of(Backend *be);

enum { PEAK_MEMORY_KINDS = PEAK_TRIAD + 1 };

typedef struct BenchPeak {
    const char *isa;
    int threads;
    /* by one thread and by all: */
    double products[2], bf16[2], memory[2][PEAK_MEMORY_KINDS];
} BenchPeak;

void bench_peak_measure(BenchPeak *p, Backend *be);
void bench_peak_print(const BenchPeak *p, FILE *out);
json_t *bench_peak_json(const BenchPeak *p);

#endif
