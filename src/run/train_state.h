/* What a checkpoint holds: config.yaml and model.safetensors (a model folder), the optimizer's
 * moments, and state.json: where the run stands and what it was run with. */
#ifndef TTT_RUN_TRAIN_STATE_H
#define TTT_RUN_TRAIN_STATE_H

#include <stdint.h>

#include "base/err.h"
#include "base/sha256.h"
#include "model/optimizer.h"

typedef struct TrainState {
    int64_t step;    /* updates done; the next batch has this index */
    int64_t updates; /* the optimizer's own counter */
    int64_t model_seed, data_seed;
    int64_t sequences, tokens; /* read so far: the loader's position */
    int64_t dataset_tokens;
    char dataset_digest[SHA256_HEX_SIZE]; /* of its length and first tokens */
    char number[8], isa[16];              /* REAL_NAME; instruction set of the kernels */
    int threads;
} TrainState;

/* Writes all files into the folder, each synced. host: room for 2 * table.size. */
int train_state_write(const char *folder, const TrainState *state, const Model *m,
                      const Optimizer *o, real *host, Err *err);

/* state.json alone. */
int train_state_write_json(const char *folder, const TrainState *state, Err *err);

/* Reads state.json; a missing or foreign value is an error that names it. */
int train_state_read(TrainState *out, const char *folder, Err *err);
/* Fills weights and moments; shapes are checked. o may be NULL: weights only. host: room for
 * table.size. */
int train_state_load(const char *folder, Model *m, Optimizer *o, real *host, Err *err);

/* Fails when the two differ in a key that shapes the result: all of model.* and training.* but for
 * names, paths, evaluation, memory policy and how long and how often. Names the key and both
 * values. folder: where `saved` comes from. */
int train_config_same(const Config *saved, const Config *now, const char *folder, Err *err);

#endif
