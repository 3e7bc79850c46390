/* The token source of a dataset folder whose tokens are plain files, as earlier versions wrote. */
#ifndef TTT_DATA_RAW_SOURCE_H
#define TTT_DATA_RAW_SOURCE_H

#include "data/token_source.h"

/* Maps the split's token file and reads its documents. Sizes and counts are checked here, token ids
 * as they are read. */
int raw_source_open(TokenSource **out, const char *dir, const char *split, Err *err);

#endif
