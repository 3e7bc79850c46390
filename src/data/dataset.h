/* dataset.json: what a dataset folder holds (docs/data.md is the format). */
#ifndef TTT_DATA_DATASET_H
#define TTT_DATA_DATASET_H

#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"

enum { SPLIT_TRAIN, SPLIT_VAL, SPLIT_COUNT };
enum { DATASET_TEXT = 256 };

typedef struct SplitInfo {
    int64_t tokens, documents;
    /* Names in the folder; the first is a folder where the dataset is zarr. */
    char token_file[DATASET_TEXT], docs_file[DATASET_TEXT];
    char sha256[65]; /* of the tokens, token_size bytes each, little-endian; hexadecimal */
} SplitInfo;

typedef struct DatasetInfo {
    char tokenizer[DATASET_TEXT];
    int32_t vocab_size, bos, eos;
    int token_size; /* bytes: 2 (uint16) or 4 (int32) */
    bool is_zarr;   /* tokens are zarr arrays, not raw files */
    SplitInfo splits[SPLIT_COUNT];
} DatasetInfo;

/* "train" or "val". */
const char *split_name(int split);
/* SPLIT_TRAIN or SPLIT_VAL; another name is an error. */
int split_find(const char *name, Err *err);

/* Reads and checks DIR/dataset.json; the files it names are not looked at. */
int dataset_read(DatasetInfo *out, const char *dir, Err *err);
/* Writes DIR/dataset.json. */
int dataset_write(const DatasetInfo *info, const char *dir, Err *err);

#endif
