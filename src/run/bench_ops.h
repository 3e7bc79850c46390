/* Each operation by itself, at the shapes of a model. */
#ifndef TTT_RUN_BENCH_OPS_H
#define TTT_RUN_BENCH_OPS_H

#include <jansson.h>
#include <stdio.h>

#include "backend/backend.h"
#include "model/config.h"

enum { BENCH_OPS_MAX = 48 };

typedef struct OpResult {
    const char *name;
    double seconds; /* of the fastest call */
    double gflops;  /* 0: the operation moves memory rather than multiplies */
    double gbs;     /* of its operands, each read or written once */
    double share;   /* of the peak of products, or of memory where gflops is 0 */
} OpResult;

typedef struct OpsResult {
    char shape[CFG_TEXT];
    double peak_gflops, peak_gbs;
    int n;
    OpResult op[BENCH_OPS_MAX];
} OpsResult;

/* At cfg.model's shapes, one chunk of one sequence; peaks are measured first. */
int bench_ops_run(OpsResult *out, Backend *be, const Config *cfg, Err *err);
void bench_ops_print(const OpsResult *r, FILE *out);
json_t *bench_ops_json(const OpsResult *r);

#endif
