/* Training a byte-level BPE: the pair of tokens that is most frequent in the pieces of a text
 * becomes a token, again and again. Equal counts go by the older tokens, so that the same text
 * gives the same tokenizer. */
#ifndef TTT_DATA_BPE_TRAIN_H
#define TTT_DATA_BPE_TRAIN_H

#include <signal.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"

typedef struct TrainerOptions {
    const char *const *paths; /* (n_paths), files and folders */
    int n_paths;
    const char *const *extensions; /* (n_extensions) of files in folders */
    int n_extensions;
    const char *pattern; /* one of split_pattern.h, by name */
    const char *out;     /* file to write */
    int32_t vocab_size;  /* of all, the two special tokens too */
    bool quiet;
    const volatile sig_atomic_t *stop; /* not zero: give up, leaving nothing; NULL is fine */
} TrainerOptions;

typedef struct TrainerReport {
    int64_t files, bytes, pieces, distinct; /* read; pieces of text, and different ones */
    int32_t vocab_size;                     /* less than asked where the text has no more pairs */
} TrainerReport;

enum { TRAIN_MIN_VOCAB = 258 }; /* all bytes, BOS and EOS */

/* Writes a tokenizer.json: whole, or not at all. */
int bpe_train(const TrainerOptions *options, TrainerReport *out, Err *err);

#endif
