/* The token source of a dataset folder as `ttt data encode` writes it. */
#ifndef TTT_DATA_RAW_SOURCE_H
#define TTT_DATA_RAW_SOURCE_H

#include "data/token_source.h"

/* Maps the split's token file and reads its documents. Sizes and counts are checked here, token ids
 * as they are read. */
int raw_source_open(TokenSource **out, const char *dir, const char *split, Err *err);

/* Reads every token of the split: the digest and the ids must be as dataset.json says. */
int raw_source_verify(const char *dir, const char *split, Err *err);

#endif
