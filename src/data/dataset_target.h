/* The folder that a new dataset becomes: written beside it as DIR.partial, under a lock, then
 * renamed, so that the target is complete or untouched. */
#ifndef TTT_DATA_DATASET_TARGET_H
#define TTT_DATA_DATASET_TARGET_H

#include <limits.h>
#include <stdbool.h>
#include <stddef.h>

#include "base/err.h"

typedef struct DatasetTarget {
    char dir[PATH_MAX - 64]; /* the target; shorter, so that its temporary names fit */
    char partial[PATH_MAX];  /* the folder being written; "" once it is in place */
    bool replaces;           /* a dataset is there and goes when this one comes */
    int lock;                /* a file in the partial folder, locked; -1: none */
} DatasetTarget;

/* out = DIR.partial. */
int dataset_partial_name(char *out, size_t size, const char *dir, Err *err);
/* The target's parent folders and the partial folder are made; what an earlier run left in that
 * stays. A target that exists is refused, unless it is an empty folder, or a dataset and force is
 * set; a folder that holds anything else is always refused. So is a partial folder that another
 * process is writing. */
int dataset_target_open(DatasetTarget *t, const char *dir, bool force, Err *err);
/* Removes what an earlier run left in the partial folder. */
int dataset_target_clean(DatasetTarget *t, Err *err);
/* Removes the temporary files that killed runs left among those of tokens. */
int dataset_target_sweep(const DatasetTarget *t, Err *err);
/* Puts the folder in place. */
int dataset_target_commit(DatasetTarget *t, Err *err);
/* keep: leave the partial folder for another run. After commit nothing is left to do. */
void dataset_target_close(DatasetTarget *t, bool keep);

#endif
