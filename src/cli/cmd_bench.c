/* ttt bench: arguments, and which benchmark they ask for. */
#include <stdio.h>
#include <string.h>

#include "cli/command.h"
#include "cli/options.h"
#include "cli/output.h"
#include "run/bench.h"
#include "run/bench_data.h"
#include "run/bench_ops.h"
#include "run/bench_peak.h"
#include "run/machine_open.h"

static const char help[] =
    "usage: ttt bench peak [--threads N] [--isa NAME] [--json]\n"
    "       ttt bench train|eval|read|generate [OVERRIDES...] [options]\n"
    "       ttt bench ops [--shape NAME] [options]\n"
    "       ttt bench data [DIR] [--tokens N] [--seq-length N] [--json]\n"
    "\n"
    "Measures this machine and this program on it, with random weights and random tokens: no data\n"
    "set is needed. Speed is told as a share of the peak that the machine attains, taken in the\n"
    "same run, and counts only arithmetic that cannot be avoided; the table says where the time\n"
    "went, operation by phase.\n"
    "\n"
    "  peak              attained products (float32, bfloat16) and memory bandwidth\n"
    "  train             one step: the gradient of a batch and the update\n"
    "  eval              scoring training.eval_batch_size sequences\n"
    "  read              one stream, in pieces of training.seq_length\n"
    "  generate          token by token, and the pauses for learning\n"
    "  ops               each operation alone, at the shapes of a model\n"
    "  data              reading train of a dataset, or of arrays made for it, on one core\n"
    "\n"
    "  OVERRIDES         as in `ttt train`: +experiment=NAME, a.b=c\n"
    "  --steps N         timed: batches, pieces, or tokens (3, 3, or one chunk)\n"
    "  --warmup N        untimed before them (1)\n"
    "  --tokens N        read first; `bench read` then compares with a reader at 8192 tokens\n"
    "  --batch N         of generate: texts side by side (1)\n"
    "  --seq-length N    of data (8192)\n"
    "  --no-learning     weights stay as they are while reading\n"
    "  --shape NAME      of ops: model=NAME-e2e (small, then 125m)\n"
    "  --threads N       default: one per physical core\n"
    "  --device NAME     cpu, or cuda or cuda:N for a GPU (backend.backend, else cpu)\n"
    "  --isa NAME        portable, avx2, avx512 (the best there is)\n"
    "  --config-dir DIR  where config.yaml and its groups are\n"
    "  --json            one object on standard output\n"
    "\n"
    "example:\n"
    "  ttt bench train +experiment=tiny/pretrain-tiny-e2e training.global_batch_size=4 --steps 5\n";

enum { MAX_OVERRIDES = 256 };

typedef struct Arguments {
    const char *what, *config_dir, *shape;
    BenchOptions bench;
    int64_t threads, seq_length;
    bool json;
    char **overrides;
    int n_overrides;
} Arguments;

static int results_give(const Arguments *a, json_t *json, Err *err)
{
    if (a->json && !json) /* jansson makes nothing of text that is not UTF-8 */
        return err_set(err, "the results cannot be told as JSON: leave --json out");
    if (a->json)
        output_json(json);
    else
        json_decref(json);
    return output_flush(err);
}

static int config_make(Config *cfg, const Arguments *a, const char *const *overrides, int n,
                       Err *err)
{
    char dir[CFG_PATH];
    TRY(config_dir_find(dir, sizeof dir, a->config_dir, err));
    TRY(config_compose(cfg, dir, overrides, n, err));
    return config_check(cfg, err);
}

static int backend_make(Backend **be, const Arguments *a, const Config *cfg, Err *err)
{
    BackendOptions o = {.device = cfg ? config_device(cfg, a->bench.device) : a->bench.device,
                        .threads = a->bench.threads,
                        .isa = a->bench.isa,
                        .bf16 = cfg && cfg->model.compute_dtype == COMPUTE_BF16};
    return backend_open(be, &o, err);
}

/* ------------------------------------------------------------------------------ the benchmarks */

static int run_peak(const Arguments *a, Err *err)
{
    Backend *be;
    BenchPeak peak;
    TRY(backend_make(&be, a, NULL, err));
    bench_peak_measure(&peak, be);
    backend_close(be);
    if (!a->json) bench_peak_print(&peak, stdout);
    return results_give(a, bench_peak_json(&peak), err);
}

static int run_work(const Arguments *a, Err *err)
{
    Config cfg;
    BenchResult r;
    TRY(config_make(&cfg, a, (const char *const *)a->overrides, a->n_overrides, err));
    TRY(bench_run(&r, &cfg, &a->bench, err));
    if (!a->json) bench_print(&r, stdout);
    return results_give(a, bench_json(&r), err);
}

/* One shape: the model of that name, with the overrides on top. */
static int shape_run(const Arguments *a, const char *shape, json_t *to, Err *err)
{
    char model[CFG_TEXT];
    const char *all[MAX_OVERRIDES + 1] = {model};
    Config cfg;
    Backend *be;
    OpsResult r;
    snprintf(model, sizeof model, "model=%s-e2e", shape);
    for (int i = 0; i < a->n_overrides; i++) all[1 + i] = a->overrides[i];
    TRY(config_make(&cfg, a, all, 1 + a->n_overrides, err));
    TRY(backend_make(&be, a, &cfg, err));
    if (json_array_size(to) == 0) bf16_tell(backend_bf16_emulated(be)); /* once for all shapes */
    int status = bench_ops_run(&r, be, &cfg, err);
    backend_close(be);
    TRY(status);
    if (!a->json) bench_ops_print(&r, stdout);
    json_array_append_new(to, bench_ops_json(&r));
    return 0;
}

static int run_ops(const Arguments *a, Err *err)
{
    const char *const shapes[] = {"small", "125m"};
    json_t *all = json_array();
    int status = 0;
    for (int i = 0; !a->shape && status == 0 && i < ARRAY_LEN(shapes); i++)
        status = shape_run(a, shapes[i], all, err);
    if (a->shape) status = shape_run(a, a->shape, all, err);
    if (status < 0) {
        json_decref(all);
        return -1;
    }
    return results_give(a, json_pack("{s:s, s:o}", "bench", "ops", "shapes", all), err);
}

static int run_data(const Arguments *a, Err *err)
{
    BenchDataOptions o = {.dir = a->n_overrides > 0 ? a->overrides[0] : NULL,
                          .tokens = a->bench.tokens,
                          .seq_length = a->seq_length};
    json_t *json;
    if (bench_data_run(&json, &o, a->json ? NULL : stdout, err) < 0) {
        json_decref(json);
        return -1;
    }
    return results_give(a, json, err);
}

typedef struct Benchmark {
    const char *name;
    int (*run)(const Arguments *a, Err *err);
    BenchKind kind;
} Benchmark;

static const Benchmark benchmarks[] = {
    {"peak", run_peak, 0},
    {"train", run_work, BENCH_TRAIN},
    {"eval", run_work, BENCH_EVAL},
    {"read", run_work, BENCH_READ},
    {"generate", run_work, BENCH_GENERATE},
    {"ops", run_ops, 0},
    {"data", run_data, 0},
};

static const Benchmark *benchmark_find(const char *name)
{
    for (int i = 0; i < ARRAY_LEN(benchmarks); i++)
        if (strcmp(benchmarks[i].name, name) == 0) return &benchmarks[i];
    return NULL;
}

static int arguments_parse(Arguments *a, int argc, char **argv)
{
    BenchOptions *b = &a->bench;
    const Option table[] = {
        {"config-dir", OPTION_TEXT, &a->config_dir, 0, 0},
        {"steps", OPTION_INT, &b->steps, 1, 1e7},
        {"batch", OPTION_INT, &b->batch, 1, 1024},
        {"warmup", OPTION_INT, &b->warmup, 0, 1e7},
        {"tokens", OPTION_INT, &b->tokens, 1, 1e9},
        {"threads", OPTION_INT, &a->threads, 1, THREADS_MAX},
        {"isa", OPTION_TEXT, &b->isa, 0, 0},
        {"device", OPTION_TEXT, &b->device, 0, 0},
        {"seq-length", OPTION_INT, &a->seq_length, 1, 1e9},
        {"shape", OPTION_TEXT, &a->shape, 0, 0},
        {"no-learning", OPTION_FLAG, &b->no_learning, 0, 0},
        {"json", OPTION_FLAG, &a->json, 0, 0},
    };
    int n = options_parse(argc, argv, table, ARRAY_LEN(table));
    if (n < 0) return EXIT_USAGE;
    if (n == 0)
        return options_usage("bench", "say what: peak, train, eval, read, generate, ops or data");
    if (n - 1 > MAX_OVERRIDES) return options_usage("bench", "at most %d overrides", MAX_OVERRIDES);
    a->what = argv[1];
    a->overrides = argv + 2;
    a->n_overrides = n - 1;
    b->threads = (int)a->threads;
    return EXIT_DONE;
}

/* Options that the chosen benchmark would not look at. */
static int arguments_check(const Arguments *a, const Benchmark *b)
{
    bool work = b->run == run_work;
    bool stream = work && (b->kind == BENCH_READ || b->kind == BENCH_GENERATE);
    if (b->run == run_peak && a->n_overrides > 0)
        return options_usage("bench", "peak takes no overrides");
    if (!work && (a->bench.steps >= 0 || a->bench.warmup >= 0 || a->bench.no_learning))
        return options_usage("bench",
                             "--steps, --warmup and --no-learning are for train, eval, read and "
                             "generate");
    if (!stream && b->run != run_data && a->bench.tokens >= 0)
        return options_usage("bench", "--tokens is for read, generate and data");
    if ((!work || b->kind != BENCH_GENERATE) && a->bench.batch > 0)
        return options_usage("bench", "--batch is for generate");
    if (b->run == run_data && a->n_overrides > 1)
        return options_usage("bench", "data takes one dataset folder at most");
    if (b->run != run_data && a->seq_length > 0)
        return options_usage("bench", "--seq-length is for data");
    if (b->run != run_ops && a->shape) return options_usage("bench", "--shape is for ops");
    return EXIT_DONE;
}

static int run(int argc, char **argv)
{
    Err err;
    Arguments a = {.bench = {.steps = -1, .warmup = -1, .tokens = -1}};
    int status = arguments_parse(&a, argc, argv);
    if (status != EXIT_DONE) return status;
    const Benchmark *b = benchmark_find(a.what);
    if (!b)
        return options_usage(
            "bench", "'%.100s' is none of peak, train, eval, read, generate, ops and data", a.what);
    status = arguments_check(&a, b);
    if (status != EXIT_DONE) return status;
    a.bench.kind = b->kind;
    if (a.bench.warmup < 0) a.bench.warmup = 1;
    if (a.bench.batch == 0) a.bench.batch = 1;
    return b->run(&a, &err) == 0 ? EXIT_DONE : command_fail("bench", &err);
}

const Command command_bench = {
    "bench", "how fast: this machine's peak, and what each kind of work makes of it", help, run};
