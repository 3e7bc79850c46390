/* `ttt bench`: how long a training step, an evaluation, reading and generation take on a
 * configuration, with random weights and random tokens, beside the arithmetic that cannot be
 * avoided and the peak that the machine attains. */
#ifndef TTT_RUN_BENCH_H
#define TTT_RUN_BENCH_H

#include <jansson.h>
#include <stdio.h>

#include "backend/profile.h"
#include "model/config.h"

typedef enum BenchKind { BENCH_TRAIN, BENCH_EVAL, BENCH_READ, BENCH_GENERATE } BenchKind;

typedef struct BenchOptions {
    BenchKind kind;
    int64_t steps; /* timed: batches, pieces of text or tokens; -1: a default for the kind */
    int64_t warmup;
    int64_t batch;  /* of generate: texts side by side */
    int64_t tokens; /* read before timing begins; -1: a default for the kind */
    int threads;    /* 0: one per physical core */
    const char *isa;
    const char *device; /* NULL: as the configuration says */
    bool no_learning;
} BenchOptions;

/* Order statistics of seconds. */
typedef struct BenchTimes {
    int64_t n;
    double mean, min, median, p99, max;
} BenchTimes;

typedef struct BenchResult {
    BenchKind kind;
    const char *isa;
    int threads;
    bool bf16, learning;
    int64_t warmup, step_tokens, tokens_before; /* before the first timed step */
    BenchTimes step;
    double tokens_per_second; /* by the median step; of generation, the mean */
    double floor_flops;       /* per token */
    double peak_gflops, share_of_peak;
    double loss; /* of the last step, NaN: none */
    size_t peak_rss;
    int64_t profiled; /* steps that the profile is of */
    Profile profile;  /* of all timed steps together */

    /* read with tokens given: a second reader at the beginning, timed in turns */
    BenchTimes fresh;
    int64_t fresh_tokens;

    /* generate */
    BenchTimes token;    /* one of each text, without the pauses */
    BenchTimes pause;    /* for learning */
    BenchTimes read_gbs; /* memory bandwidth, by bursts between the tokens */
    double read_bytes;   /* weights once, windows and adapted weights of each text */
    double read_seconds; /* that, at the median bandwidth */
} BenchResult;

/* Fails on a configuration that cannot be run or does not fit. */
int bench_run(BenchResult *out, const Config *cfg, const BenchOptions *options, Err *err);
const char *bench_name(BenchKind kind);

/* bench_report.c */
void bench_print(const BenchResult *r, FILE *out);
json_t *bench_json(const BenchResult *r);

#endif
