/* Checking this program against recorded numbers: a case is NAME.json (configuration, scalar
 * results) beside NAME.safetensors (arrays), as tests/fixtures/README.md describes. Read it,
 * compute everything it has, compare. */
#ifndef TTT_RUN_PARITY_H
#define TTT_RUN_PARITY_H

#include <jansson.h>

#include "base/safetensors.h"
#include "model/config.h"

enum { PARITY_KEY_MAX = 256, PARITY_DIMS = 4, PARITY_REASON_MAX = 200 };

typedef struct ParityCase {
    char path[CFG_PATH]; /* of the JSON */
    char inputs_path[CFG_PATH], reference_path[CFG_PATH];
    json_t *json;
    Config cfg;
    bool reference_wide; /* the reference was computed in float64 */
    int64_t start_step;
    StFile *inputs;    /* "params/<path>" and "tokens" */
    StFile *reference; /* the same handle when it is the same file; NULL: there is none */
    int64_t n_batches, B, T;
    int32_t *tokens; /* (n_batches, B, T + 1) */
} ParityCase;

/* Reads and checks everything but the weights. On failure nothing is left open. */
int parity_case_open(ParityCase *c, const char *json_path, Err *err);
void parity_case_close(ParityCase *c);

/* What has to be computed: that which the reference holds or, when it holds no quantity at all,
 * everything that applies. */
typedef struct ParityWants {
    bool everything;
    bool gradient; /* false: evaluation only */
    bool fast, fast_final;
    int64_t steps; /* optimizer steps, at most n_batches */
} ParityWants;

ParityWants parity_wants(const ParityCase *c);
/* Whether the parameters and moments after step n = 1, 2, ... are wanted. */
bool parity_wants_step(const ParityCase *c, const ParityWants *w, int64_t n);
/* Whether a key of a file names a quantity, not an input. */
bool parity_is_quantity(const char *key);
/* N of "stepN/...", 0 for another key. */
int64_t parity_step_of(const char *key);

/* Named arrays, in double whatever they were computed in. */
typedef struct ParityTensor {
    char name[PARITY_KEY_MAX];
    int n_dims; /* 0: a scalar */
    int64_t shape[PARITY_DIMS];
    int64_t n;
    double *data;
} ParityTensor;

typedef struct ParityValues {
    ParityTensor *tensor;
    int n, capacity;
} ParityValues;

/* Adds a zeroed tensor and returns its data. */
double *parity_values_add(ParityValues *v, const char *name, int n_dims, const int64_t *shape);
void parity_values_scalar(ParityValues *v, double value, const char *name_format, ...)
    __attribute__((format(printf, 3, 4)));
ParityTensor *parity_values_find(const ParityValues *v, const char *name); /* NULL: absent */
void parity_values_free(ParityValues *v);
/* As float64, or rounded to float32 (in place). */
int parity_values_write(ParityValues *v, const char *path, bool wide, Err *err);

typedef struct ParityOptions {
    int compute; /* ComputeType */
    int threads; /* 0: one per physical core */
    const char *isa;
    const char *device; /* NULL: the CPU */
} ParityOptions;

/* Fills arrays (keys of the reference) and scalars ("outer_loss", "steps[1].lr", ...), both empty
 * before; to be freed by the caller, after a failure too. */
int parity_run(ParityValues *arrays, ParityValues *scalars, const ParityCase *c,
               const ParityWants *w, const ParityOptions *o, Err *err);

typedef struct ParityRow {
    char key[PARITY_KEY_MAX];
    double error; /* max |a - b| / max |b|; absolute where b is all zero */
    double tolerance;
    bool compared; /* false: error means nothing */
    bool failed;
    char reason[PARITY_REASON_MAX]; /* of a failure that is not one of size; or a remark */
} ParityRow;

typedef struct ParityTable {
    ParityRow *row;
    int n, capacity, failed;
} ParityTable;

/* One row per array of the reference and per scalar of the JSON's results; without reference values
 * one row, not compared, per value computed. */
void parity_compare(ParityTable *t, const ParityCase *c, const ParityWants *w,
                    const ParityValues *arrays, const ParityValues *scalars, int compute);
void parity_table_free(ParityTable *t);

#endif
