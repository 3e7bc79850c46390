/* A vocabulary that is being made, and writing it as a tokenizer.json. Ids: the 256 bytes, the
 * merged tokens in the order of their merges, then BOS and EOS. */
#ifndef TTT_DATA_HF_WRITE_H
#define TTT_DATA_HF_WRITE_H

#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

enum { HF_SPECIALS = 2 };

typedef struct HfVocabulary {
    int32_t n; /* tokens, without the special ones */
    size_t room, bytes_used, bytes_room, n_merges, merges_room, mask;
    size_t *at; /* (n + 1) where each token's bytes are */
    unsigned char *bytes;
    int32_t (*merge)[2]; /* (n_merges) */
    int32_t *slot;       /* (mask + 1) tokens by bytes: id + 1, 0: empty */
} HfVocabulary;

/* Starts with the bytes. Out of memory ends the program. */
void hf_vocabulary_begin(HfVocabulary *v);
size_t hf_vocabulary_length(const HfVocabulary *v, int32_t id); /* in bytes */
/* Adds the merge and returns the token that it makes: a new one, unless other parts made it
 * before. */
int32_t hf_vocabulary_merge(HfVocabulary *v, int32_t left, int32_t right);
void hf_vocabulary_free(HfVocabulary *v);

/* regex: the split pattern. Whole or not at all. */
int hf_write(const HfVocabulary *v, const char *regex, const char *path, Err *err);

#endif
