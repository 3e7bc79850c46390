/* Training: from a configuration to a model folder, interruptible at any moment. */
#ifndef TTT_RUN_TRAIN_H
#define TTT_RUN_TRAIN_H

#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"
#include "model/config.h"
#include "run/train_folder.h"

typedef struct TrainOptions {
    int threads;            /* 0: one per physical core */
    const char *device;     /* NULL: as the configuration says */
    bool fresh;             /* move an old run of this name aside instead of going on from it */
    const char *again;      /* the command that goes on from an interruption, for messages */
    const char *folder;     /* of the run, NULL: as training.exp_dir, exp_folder and exp_name say */
    const TrainFile *files; /* written into that folder */
    int n_files;
    int64_t max_sequences; /* of training.eval_mode; 0: all of the split */
    bool *interrupted;     /* set when a signal ended the run early; may be NULL */
    bool unattended;       /* a scheduler sends the signals, and repeats them without meaning it */
} TrainOptions;

/* With training.eval_mode: see eval_mode.h. Else it runs until training.total_steps (or
 * break_step), or until SIGINT, SIGTERM or SIGUSR2: then it finishes the step, saves and returns 0
 * too. Progress and the summary go to standard error. */
int train_run(const Config *cfg, const TrainOptions *options, Err *err);

#endif
