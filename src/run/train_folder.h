/* The folder of one run: <exp_dir>/<exp_folder>/<exp_name>, held by one trainer at a time. */
#ifndef TTT_RUN_TRAIN_FOLDER_H
#define TTT_RUN_TRAIN_FOLDER_H

#include <limits.h>
#include <stdbool.h>

#include "base/err.h"
#include "model/config.h"

typedef struct TrainFolder {
    char run[PATH_MAX];         /* config.yaml, log.jsonl, lock, model/, summary.json */
    char checkpoints[PATH_MAX]; /* RUN/checkpoints, or inside training.checkpoint_path when set */
    int locks[2];               /* file descriptors, -1: none */
} TrainFolder;

/* A text to be kept beside the run, such as how it was configured: ".hydra/config.yaml". */
typedef struct TrainFile {
    const char *name, *text;
} TrainFile;

/* Makes and locks the folders. fresh: what is there is first moved to NAME.old-N. Fails with the
 * number of the process that holds the lock. */
int train_folder_open(TrainFolder *f, const TrainingConfig *t, bool fresh, Err *err);
/* The same in a folder that has no name of an experiment. */
int train_folder_open_at(TrainFolder *f, const char *folder, bool fresh, Err *err);
/* Writes n files into the run's folder; a file that is there is replaced only on demand. */
int train_folder_keep(const TrainFolder *f, const TrainFile *file, int n, bool replace, Err *err);
void train_folder_close(TrainFolder *f);

/* The run's folder as the configuration names it; it need not be there. */
int train_folder_path(char out[PATH_MAX], const TrainingConfig *t, Err *err);

/* Where the checkpoints of another run are: `name` in the same family, or FAMILY/NAME. */
int train_folder_checkpoints(char out[PATH_MAX], const TrainingConfig *t, const char *name,
                             Err *err);

/* Puts the folder `from` in the place of `to`, which may exist, and syncs their parent. */
int folder_replace(const char *from, const char *to, Err *err);

#endif
