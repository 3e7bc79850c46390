/* Everything a training run holds, opened in one call and closed in another. */
#ifndef TTT_RUN_TRAIN_SETUP_H
#define TTT_RUN_TRAIN_SETUP_H

#include "data/loader.h"
#include "model/optimizer.h"
#include "model/sweep.h"
#include "run/train.h"
#include "run/train_folder.h"
#include "run/train_log.h"
#include "run/train_plan.h"
#include "run/train_state.h"
#include "run/train_tokenizer.h"

typedef struct Trainer {
    Config cfg;
    TrainFolder folder;
    Backend *be;
    TokenSource *source;
    Loader *loader;
    TrainTokenizer tokenizer;
    TrainPlan plan;
    Model *model;
    Optimizer *optimizer;
    Sweep *sweep;
    real *gradient;     /* (table.size), backend memory */
    real *host;         /* (2, table.size): the moments while a checkpoint is written */
    int32_t *tokens;    /* (B, T + 1), B sequences of one micro-batch */
    double *chunk_loss; /* (B, chunks) */
    double *inner_norm; /* (B, chunks): of the inner gradients; NULL: nothing is learned inside */
    TrainState state;
    char loaded[PATH_MAX + 32]; /* what of another run it starts from, in words; "": nothing */
    int64_t saved_step;         /* of the newest checkpoint, -1: none */
    TokenSource *holdout;       /* NULL: no evaluation while training */
    TrainLog *log;
} Trainer;

/* Checks, in this order: data, memory, folder, checkpoints. Nothing is written before the folder.
 * On failure everything is closed. */
int trainer_open(Trainer *t, const Config *cfg, const TrainOptions *options, Err *err);
void trainer_close(Trainer *t);

/* Steps to be done: total_steps, or break_step before it. */
int64_t trainer_end(const Trainer *t);
/* Writes the checkpoint of the state, and removes those not to keep. */
int trainer_save(Trainer *t, Err *err);

#endif
