/* Inside of a benchmark: what is timed, shared by bench.c (the loop) and the two kinds of work. */
#ifndef TTT_RUN_BENCH_WORK_H
#define TTT_RUN_BENCH_WORK_H

#include "model/optimizer.h"
#include "model/reader.h"
#include "model/sweep.h"
#include "run/bench.h"
#include "run/bench_peak.h"

typedef struct BenchWork {
    const BenchOptions *o;
    BenchOptions own; /* what o points to */
    bool apart;       /* a step is profiled by itself: see profile_apart in bench.c */
    Config cfg;
    Backend *be;
    Model *m;
    bool learn;
    BenchResult *result;
    int64_t steps;
    double *seconds; /* (warmup + steps + 1) */

    int32_t *tokens; /* random; (room) */
    int64_t room;

    /* train, eval */
    Sweep *sweep;
    Optimizer *optimizer;
    real *gradient;
    int parts; /* sweeps of a step */

    /* read, generate */
    Reader *reader, *fresh;
    Reader **readers; /* (batch) of generate, reader the first */
    int32_t *next;    /* (batch) */
    BenchReads *reads;
    double *rate;          /* (steps) of memory, GB/s; 0: not taken */
    bool restarts;         /* each step begins a stream: full attention has an end */
    double *fresh_seconds; /* (steps) */
    double *pause;         /* (steps), 0: the token had none */
    float *logp;           /* (batch, output_size) */
} BenchWork;

/* Around what is timed: fills seconds[step] and, where it belongs to it, the profile. */
void bench_start(BenchWork *w, int64_t step);
void bench_stop(BenchWork *w, int64_t step);
/* Sorts x. */
BenchTimes bench_times(double *x, int64_t n);
/* w->tokens: n random ones. */
void bench_tokens(BenchWork *w, int64_t n);

/* Each kind: what it needs, one step, and what it adds to the result. */
int bench_sweep_open(BenchWork *w, Err *err);
int bench_train_step(BenchWork *w, int64_t step, Err *err);
int bench_eval_step(BenchWork *w, int64_t step, Err *err);

int bench_reader_open(BenchWork *w, Err *err);
int bench_read_step(BenchWork *w, int64_t step, Err *err);
int bench_generate_step(BenchWork *w, int64_t step, Err *err);
void bench_read_close(BenchWork *w);
void bench_generate_close(BenchWork *w);

#endif
