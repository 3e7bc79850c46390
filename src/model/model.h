/* A model: its configuration, its parameters in one flat block, and which of them are inner
 * (adapted while reading). Saved as a folder: config.yaml and model.safetensors (published paths).
 */
#ifndef TTT_MODEL_MODEL_H
#define TTT_MODEL_MODEL_H

#include "backend/backend.h"
#include "model/config.h"
#include "model/params.h"

typedef struct Model {
    Config cfg;
    Backend *be;             /* not owned */
    ParamTable table;        /* published tensors: path, shape, offset */
    InnerTable inner;        /* the inner parameters' places */
    real *params;            /* (table.size), backend memory */
    struct ReaderRoom *room; /* its readers' (reader_state.h), made by the first of them */
} Model;

/* A model with fresh weights: normal(0, initializer_range) matrices from model_seed, norms at 1. */
int model_create(Model **out, Backend *be, const Config *cfg, Err *err);
void model_free(Model *m); /* NULL is fine */

/* Reads DIR/config.yaml and DIR/model.safetensors. overrides: "a.b=c" on top of the saved config.
 * Every tensor must be there with its shape; an unknown one is an error. */
int model_load(Model **out, Backend *be, const char *dir, const char *const *overrides,
               int n_overrides, Err *err);
/* Fills the parameters of an existing model from a safetensors file; prefix goes before each path
 * ("params/" in fixtures, "" in models). */
int model_load_params(Model *m, const char *path, const char *prefix, Err *err);
/* Writes DIR/config.yaml and DIR/model.safetensors (float32, or float64 in the exactness build). */
int model_save(const Model *m, const char *dir, Err *err);
/* SHA-256 over configuration that shapes the function and all weights, as 64 hex digits + NUL. */
void model_digest(const Model *m, char out[65]);

/* Copies in bfloat16, where the model computes in it, of the tensors that products read: one of
 * each, which sweeps and readers of the model share (bf16_copy.h). */
void model_copies_keep(const Model *m);
void model_copies_drop(const Model *m);
size_t model_copies_bytes(const Model *m);

/* Inner learning rate of optimizer step `step` (fixtures' definition of the warmup). */
double inner_lr_at(const TrainingConfig *t, int64_t step);
/* The step whose rate the published evaluation takes, and so do ours and readers: long after
 * the warmup. */
enum { EVALUATION_STEP = INT32_MAX - 100 };
/* Whether reading with this model adapts weights (meta mode and at least one live inner tensor). */
bool model_learns(const Model *m);

#endif
