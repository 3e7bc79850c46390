/* Writes a dataset folder: all of it under a temporary name beside the target, then renamed, so
 * that the target is complete or untouched. */
#ifndef TTT_DATA_DATASET_WRITER_H
#define TTT_DATA_DATASET_WRITER_H

#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"
#include "data/dataset.h"
#include "data/tokenizer.h"

typedef struct DatasetWriter DatasetWriter;

/* The target's parent folders are made. A target that exists is refused, unless it is an empty
 * folder, or a dataset and force is set; a folder that holds anything else is always refused. */
int dataset_writer_open(DatasetWriter **out, const char *dir, bool force, const Tokenizer *tok,
                        Err *err);
/* Starts a document in SPLIT_TRAIN or SPLIT_VAL. The ids that follow, BOS first, are its own. */
int dataset_writer_begin(DatasetWriter *w, int split, const char *name, Err *err);
int dataset_writer_add(DatasetWriter *w, const int32_t *ids, int64_t n, Err *err);
int dataset_writer_end(DatasetWriter *w, Err *err);
/* Puts the folder in place and says what it holds. The writer is to be closed in any case. */
int dataset_writer_commit(DatasetWriter *w, DatasetInfo *out, Err *err);
/* Frees the writer; what was not committed is removed. NULL is fine. */
void dataset_writer_close(DatasetWriter *w);

#endif
