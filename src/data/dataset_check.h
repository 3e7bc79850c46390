/* Reading all of a split, to say whether it is whole. */
#ifndef TTT_DATA_DATASET_CHECK_H
#define TTT_DATA_DATASET_CHECK_H

#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"
#include "base/sha256.h"

typedef struct CheckOptions {
    int32_t vocab_size; /* of a plain zarr array, which does not say; 0: unknown */
    bool gaps_are_fine; /* a file that is missing reads as fill_value: accept that */
    bool quiet;         /* no progress on standard error */
} CheckOptions;

typedef struct CheckReport {
    int64_t tokens, documents, files, missing;
    int32_t largest; /* id; -1 in an empty split */
    char sha256[SHA256_HEX_SIZE];
    bool digest_known; /* dataset.json has it, and it was compared */
} CheckReport;

/* Every file of tokens is there and decodes, ids are in the vocabulary, counts and digest are as
 * dataset.json says. The error names the first file that is not so. */
int dataset_check(CheckReport *out, const char *dir, const char *split, const CheckOptions *options,
                  Err *err);

#endif
