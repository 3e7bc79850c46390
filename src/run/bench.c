/* The timing loop of `ttt bench`, the same for all kinds of work. */
#include "run/bench.h"

#include <math.h>
#include <stdio.h>

#include "backend/machine.h"
#include "base/log.h"
#include "base/mem.h" // defines: mem_alloc, mem_free, time_now
#include "base/rng.h" // defines: rng_seed, rng_below
#include "run/bench_peak.h"
#include "run/bench_work.h"
#include "run/machine_open.h"
#include "run/stats.h" // defines: quantile

typedef struct Kind {
    const char *name;
    int (*open)(BenchWork *w, Err *err);
    int (*step)(BenchWork *w, int64_t step, Err *err);
    void (*close)(BenchWork *w); /* fills in the kind's own results; or NULL */
} Kind;

static const Kind kinds[] = {
    [BENCH_TRAIN] = {"train", bench_sweep_open, bench_train_step, NULL},
    [BENCH_EVAL] = {"eval", bench_sweep_open, bench_eval_step, NULL},
    [BENCH_READ] = {"read", bench_reader_open, bench_read_step, bench_read_close},
    [BENCH_GENERATE] = {"generate", bench_reader_open, bench_generate_step, bench_generate_close},
};

const char *bench_name(BenchKind kind)
{
    return kinds[kind].name;
}

BenchTimes bench_times(double *x, int64_t n)
{
    double sum = 0;
    for (int64_t i = 0; i < n; i++) sum += x[i];
    return (BenchTimes){.n = n,
                        .mean = sum / (double)n,
                        .min = quantile(x, n, 0),
                        .median = quantile(x, n, 0.5),
                        .p99 = quantile(x, n, 0.99),
                        .max = quantile(x, n, 1)};
}

void bench_tokens(BenchWork *w, int64_t n)
{
    Rng rng;
    rng_seed(&rng, (uint64_t)w->cfg.training.data_seed, 0);
    w->room = n;
    w->tokens = mem_alloc((size_t)n * sizeof *w->tokens);
    for (int64_t i = 0; i < n; i++)
        w->tokens[i] = (int32_t)rng_below(&rng, (uint64_t)w->cfg.model.vocab_size);
}

/* Where operations are started ahead of the machine, a profile has to wait for each of them. It is
 * taken of one more step, after those that are timed, and of no step where they must follow each
 * other. The first two steps are warmup: sweep_record.c. */
static bool profile_apart(BenchWork *w)
{
    if (!w->be->machine->own_memory) return false;
    if (w->own.warmup < 2) w->own.warmup = 2;
    return true;
}

void bench_start(BenchWork *w, int64_t step)
{
    int64_t first = w->o->warmup + (w->apart ? w->steps : 0);
    if (step >= first) {
        backend_profile(w->be, &w->result->profile);
        w->result->profiled++;
    }
    w->seconds[step] = time_now();
}

void bench_stop(BenchWork *w, int64_t step)
{
    w->seconds[step] = time_now() - w->seconds[step];
    backend_profile(w->be, NULL);
}

static void peak_take(BenchWork *w)
{
    double peak = bench_peak_of(w->be);
    if (peak > w->result->peak_gflops) w->result->peak_gflops = peak;
}

/* A peak lowered by other programs would flatter every share of it. */
static void peak_doubt(const BenchWork *w)
{
    if (w->be->threads == 1) return;
    Backend one = *w->be;
    one.threads = 1;
    double scale = w->result->peak_gflops / bench_peak_of(&one);
    if (scale < 0.85 * w->be->threads)
        log_info("ttt bench: %d threads attain %.2f times the peak of one: the machine is busy, or "
                 "threads share cores; repeat on a quiet one, or with --threads %d",
                 w->be->threads, scale, scale < 1 ? 1 : (int)(scale + 0.5));
}

/* The peak is taken right before and after what is measured by it; the better one counts. */
static int steps_run(BenchWork *w, const Kind *kind, Err *err)
{
    bool sweeps = w->o->kind == BENCH_TRAIN || w->o->kind == BENCH_EVAL;
    int64_t warmup = w->o->warmup, n = warmup + w->steps + (w->apart && sweeps);
    for (int64_t i = 0; i < n; i++) {
        if (i == warmup) peak_take(w);
        TRY(kind->step(w, i, err));
    }
    peak_take(w);
    peak_doubt(w);
    return 0;
}

static int work_open(BenchWork *w, Err *err)
{
    const BackendOptions wish = {
        .device = w->o->device, .threads = w->o->threads, .isa = w->o->isa};
    TRY(machine_open(&w->be, &w->cfg, wish, err));
    w->apart = profile_apart(w);
    return kinds[w->o->kind].open(w, err);
}

/* Of a step: the median, but of a token the mean, which has its share of the pauses. */
static double typical_seconds(const BenchResult *r)
{
    return r->kind == BENCH_GENERATE ? r->step.mean : r->step.median;
}

static int work_run(BenchWork *w, Err *err)
{
    BenchResult *r = w->result;
    const Kind *kind = &kinds[w->o->kind];
    w->seconds = mem_alloc((size_t)(w->o->warmup + w->steps + 1) * sizeof *w->seconds);
    r->warmup = w->o->warmup;
    snprintf(r->isa, sizeof r->isa, "%s", w->be->isa);
    r->threads = w->be->threads;
    r->bf16 = w->be->bf16;
    r->learning = w->learn;
    TRY(steps_run(w, kind, err));
    r->peak_rss = backend_memory_peak(w->be);
    if (kind->close) kind->close(w);
    r->step = bench_times(w->seconds + w->o->warmup, w->steps);
    r->tokens_per_second = (double)r->step_tokens / typical_seconds(r);
    r->share_of_peak = r->tokens_per_second * r->floor_flops / 1e9 / r->peak_gflops;
    return 0;
}

static void work_close(BenchWork *w)
{
    for (int64_t i = 1; w->readers && i < w->o->batch; i++) reader_free(w->readers[i]);
    reader_free(w->fresh);
    reader_free(w->reader);
    bench_reads_close(w->reads);
    mem_free(w->readers);
    mem_free(w->next);
    mem_free(w->rate);
    if (w->gradient) backend_free(w->be, w->gradient, w->m->table.size);
    if (w->optimizer) optimizer_free(w->m, w->optimizer);
    sweep_free(w->sweep);
    model_free(w->m);
    backend_close(w->be);
    mem_free(w->logp);
    mem_free(w->pause);
    mem_free(w->fresh_seconds);
    mem_free(w->tokens);
    mem_free(w->seconds);
}

int bench_run(BenchResult *out, const Config *cfg, const BenchOptions *options, Err *err)
{
    *out = (BenchResult){.kind = options->kind, .loss = NAN};
    BenchWork w = {.own = *options, .cfg = *cfg, .result = out};
    w.o = &w.own;
    int status = work_open(&w, err);
    if (status == 0) status = work_run(&w, err);
    work_close(&w);
    return status;
}
