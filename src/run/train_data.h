/* The training data of a run: opened, and checked against the model's configuration. */
#ifndef TTT_RUN_TRAIN_DATA_H
#define TTT_RUN_TRAIN_DATA_H

#include "base/err.h"
#include "base/sha256.h"
#include "data/loader.h"
#include "model/config.h"

/* Opens training.dataset_path (or random tokens). Fails when the vocabulary does not fit or BOS is
 * another id: with both values and what to override. */
int train_data_open(TokenSource **source, Loader **loader, Config *cfg, Err *err);

/* Opens training.eval_split of the same data set (or random tokens), with the same checks. */
int train_data_open_eval(TokenSource **out, const Config *cfg, Err *err);

/* Digest of the length and the first tokens: enough to tell that the data is another. */
int train_data_digest(const TokenSource *s, char hex[SHA256_HEX_SIZE], Err *err);

#endif
