/* The tokenizer file of a training run: models and checkpoints carry a copy. */
#ifndef TTT_RUN_TRAIN_TOKENIZER_H
#define TTT_RUN_TRAIN_TOKENIZER_H

#include <limits.h>

#include "base/err.h"
#include "data/token_source.h"
#include "model/config.h"

typedef struct TrainTokenizer {
    char file[PATH_MAX]; /* "": none to carry */
} TrainTokenizer;

/* training.tokenizer_name may name a file, or a folder with one: it must be the data's own
 * tokenizer where the data names one, and fit the model. Else the file is the one in the data's
 * folder. Sets the name to what the data or the file say exactly. */
int train_tokenizer_find(TrainTokenizer *t, const TokenSource *s, Config *cfg, Err *err);
/* Puts the copy into a folder. */
int train_tokenizer_write(const TrainTokenizer *t, const Config *cfg, const char *folder, Err *err);

#endif
