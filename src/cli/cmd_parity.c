/* `ttt parity`: recomputes a recorded case and compares every number. The float64 build is a
 * program of its own beside this one; main.c starts it for --compute fp64. */
#include <stdio.h>
#include <string.h>

#include "base/jsonl.h"
#include "base/real.h"
#include "cli/command.h"
#include "cli/options.h"
#include "cli/output.h"
#include "run/parity.h"

static const char help[] =
    "usage: ttt parity CASE.json [--compute fp64|fp32|bf16] [--out FILE.safetensors] [--json]\n"
    "                  [--threads N] [--isa portable|avx2|avx512] [--device cuda:N]\n"
    "\n"
    "Recomputes a case (CASE.json beside CASE.safetensors, or beside the file that its\n"
    "\"inputs_from\" names) and prints per key max |a - b| / max |b| against the recorded\n"
    "values. Exit status 1 if any is over its tolerance or cannot be computed.\n"
    "\n"
    "  --compute TYPE  default: fp32, or bf16 when the case says so; gradients in bf16 are shown,\n"
    "                  not judged\n"
    "  --out FILE      write every computed quantity under the case's own keys\n"
    "\n"
    "example:\n"
    "  ttt parity tests/fixtures/A_meta_clip_f64.json --compute fp64\n";

typedef struct Arguments {
    const char *compute, *out, *isa, *device;
    int64_t threads;
    bool json;
} Arguments;

static const char *const compute_names[] = {
    [COMPUTE_FP32] = "fp32", [COMPUTE_BF16] = "bf16", [COMPUTE_FP64] = "fp64"};

/* The type that --compute names, or that this program takes by itself (-1); -2: a wrong one. */
static int compute_type(const char *name)
{
    bool wide = sizeof(real) == sizeof(double);
    if (!name) return -1;
    for (int i = 0; i < ARRAY_LEN(compute_names); i++)
        if (strcmp(compute_names[i], name) == 0) return wide == (i == COMPUTE_FP64) ? i : -2;
    return -2;
}

static void print_row(const ParityRow *r, int width)
{
    if (r->compared)
        printf("%-*s %9.2e  %7.0e  %s\n", width, r->key, r->error, r->tolerance,
               r->failed ? "FAIL" : "ok");
    else
        printf("%-*s %9s  %7s  %s%s\n", width, r->key, "-", "-", r->failed ? "FAIL  " : "",
               r->reason);
}

static void print_table(const ParityTable *t)
{
    int width = 3;
    for (int i = 0; i < t->n; i++)
        if ((int)strlen(t->row[i].key) > width) width = (int)strlen(t->row[i].key);
    printf("%-*s %9s  %7s\n", width, "key", "error", "at most");
    for (int i = 0; i < t->n; i++) print_row(&t->row[i], width);
    printf("%d keys, %d failed\n", t->n, t->failed);
}

static void print_json(const ParityTable *t, int compute)
{
    json_t *rows = json_array();
    for (int i = 0; i < t->n; i++) {
        const ParityRow *r = &t->row[i];
        json_array_append_new(rows, json_pack("{s:s, s:o, s:o, s:b, s:s}", "key", r->key, "error",
                                              json_number(r->error), "tolerance",
                                              json_number(r->tolerance), "ok", !r->failed, "reason",
                                              r->reason));
    }
    output_json(json_pack("{s:s, s:i, s:i, s:o}", "compute", compute_names[compute], "keys", t->n,
                          "failed", t->failed, "rows", rows));
}

static int compute_and_compare(const ParityCase *c, const Arguments *a, int compute,
                               ParityTable *table, Err *err)
{
    ParityOptions o = {
        .compute = compute, .threads = (int)a->threads, .isa = a->isa, .device = a->device};
    ParityWants wants = parity_wants(c);
    ParityValues arrays = {0}, scalars = {0};
    int status = parity_run(&arrays, &scalars, c, &wants, &o, err);
    if (status == 0) parity_compare(table, c, &wants, &arrays, &scalars, compute);
    if (status == 0 && a->out)
        status = parity_values_write(&arrays, a->out, compute == COMPUTE_FP64, err);
    parity_values_free(&arrays);
    parity_values_free(&scalars);
    return status;
}

/* This program's own type, or bf16 when the case asks for it. */
static int default_compute(const ParityCase *c)
{
    if (sizeof(real) == sizeof(double)) return COMPUTE_FP64;
    return c->cfg.model.compute_dtype == COMPUTE_BF16 ? COMPUTE_BF16 : COMPUTE_FP32;
}

/* The number of failed keys, or -1. */
static int parity(const char *path, const Arguments *a, int compute, Err *err)
{
    ParityCase c;
    ParityTable table = {0};
    TRY(parity_case_open(&c, path, err));
    if (compute < 0) compute = default_compute(&c);
    int status = compute_and_compare(&c, a, compute, &table, err);
    parity_case_close(&c);
    if (status == 0 && a->json)
        print_json(&table, compute);
    else if (status == 0)
        print_table(&table);
    int failed = table.failed;
    parity_table_free(&table);
    return status < 0 ? -1 : failed;
}

static int run(int argc, char **argv)
{
    Arguments a = {0};
    const Option table[] = {
        {"compute", OPTION_TEXT, &a.compute, 0, 0},
        {"out", OPTION_TEXT, &a.out, 0, 0},
        {"isa", OPTION_TEXT, &a.isa, 0, 0},
        {"threads", OPTION_INT, &a.threads, 1, THREADS_MAX},
        {"device", OPTION_TEXT, &a.device, 0, 0},
        {"json", OPTION_FLAG, &a.json, 0, 0},
    };
    Err err;
    int operands = options_parse(argc, argv, table, ARRAY_LEN(table));
    if (operands < 0) return EXIT_USAGE;
    if (operands != 1) return options_usage(argv[0], "takes one CASE.json");
    int compute = compute_type(a.compute);
    if (compute < -1)
        return options_usage(argv[0], "--compute %s: this program computes in %s", a.compute,
                             sizeof(real) == sizeof(double) ? "fp64" : "fp32 or bf16");
    int failed = parity(argv[1], &a, compute, &err);
    if (failed < 0) return command_fail(argv[0], &err);
    int written = output_finish(argv[0]);
    return failed ? EXIT_FAULT : written;
}

const Command command_parity = {.name = "parity",
                                .summary = "recompute recorded cases and compare every number",
                                .help = help,
                                .run = run};
