/* Writes a dataset folder: split by split, document by document. What was written survives a kill
 * at any moment: a writer of the same plan goes on where the last one stopped, and the result is
 * the same, byte for byte. */
#ifndef TTT_DATA_DATASET_WRITER_H
#define TTT_DATA_DATASET_WRITER_H

#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"
#include "data/dataset.h"
#include "data/tokenizer.h"
#include "data/zarr_meta.h"

typedef struct DatasetWriter DatasetWriter;

typedef struct DatasetWriterOptions {
    const char *dir;
    bool force; /* see dataset_target.h */
    const Tokenizer *tok;
    int64_t chunk_tokens, shard_tokens; /* a shard holds whole chunks */
    const char *codec;                  /* see chain_parse */
    const char *plan;                   /* a digest of all that decides the result; hexadecimal */
    int threads;
} DatasetWriterOptions;

int dataset_writer_open(DatasetWriter **out, const DatasetWriterOptions *options, Err *err);
/* The folder being written, for what the caller keeps with it; gone once committed. */
const char *dataset_writer_folder(const DatasetWriter *w);
/* How many documents, counted in the order they are given, are written whole by earlier runs:
 * those are to be left out. 0 when there was none of this plan. */
int64_t dataset_writer_resumed(const DatasetWriter *w);
/* Tokens that earlier runs wrote, those of a document in the middle too. */
int64_t dataset_writer_resumed_tokens(const DatasetWriter *w);

/* From here on a run that is killed can be continued, even if no document is written yet. */
int dataset_writer_start(DatasetWriter *w, Err *err);
/* Starts a document; all of SPLIT_TRAIN come before those of SPLIT_VAL. The ids that follow, BOS
 * first, are its own. */
int dataset_writer_begin(DatasetWriter *w, int split, const char *name, Err *err);
int dataset_writer_add(DatasetWriter *w, const int32_t *ids, int64_t n, Err *err);
int dataset_writer_end(DatasetWriter *w, Err *err);
/* Puts the folder in place and says what it holds. The writer is to be closed in any case. */
int dataset_writer_commit(DatasetWriter *w, DatasetInfo *out, Err *err);
/* Frees the writer. What was not committed stays for another run if any file of tokens is written,
 * and else is removed; returns whether it stays. NULL is fine. */
bool dataset_writer_close(DatasetWriter *w);

#endif
