/* The parts of tokenizer.json around the vocabulary; used by hf_file.c. */
#ifndef TTT_DATA_HF_PARTS_H
#define TTT_DATA_HF_PARTS_H

#include <jansson.h>

#include "data/token_model.h"

/* "FILE: PART is WHAT, which is not supported". */
int hf_refuse(const char *file, const char *part, const char *what, Err *err);

/* Normalizer and pre-tokenizer; a decoder that is not byte-level is refused. */
int hf_steps_read(TokenModel *m, json_t *root, const char *file, Err *err);
/* BOS and EOS, from the post-processor or from the names of special tokens. */
int hf_ends_read(TokenModel *m, json_t *root, const char *file, Err *err);

#endif
