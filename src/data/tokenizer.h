/* Tokenizers: text to token ids and back. Each kind is one TokenizerOps table; callers use only the
 * functions below. A tokenizer does not change after it is opened, so threads may share one. */
#ifndef TTT_DATA_TOKENIZER_H
#define TTT_DATA_TOKENIZER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

enum { TOKENIZER_MAX_PIECE = 256 }; /* no token decodes to more bytes than this */

typedef struct Tokenizer Tokenizer;

typedef struct TokenizerOps {
    int64_t (*encode)(const Tokenizer *tok, const void *text, size_t n, int32_t *out);
    int (*decode)(const Tokenizer *tok, int32_t id, char out[TOKENIZER_MAX_PIECE]);
    void (*close)(Tokenizer *tok);
} TokenizerOps;

struct Tokenizer {
    const TokenizerOps *ops;
    const char *name;             /* as given to tokenizer_open, kept in datasets and models */
    int32_t vocab_size, bos, eos; /* ids are 0 .. vocab_size - 1, these two included */
    bool cuts_anywhere; /* text may be encoded in pieces, cut at any byte, with the same result */
};

/* name: "bytes" (256 bytes, BOS = 256, EOS = 257). An unknown name is an error. */
int tokenizer_open(Tokenizer **out, const char *name, Err *err);
void tokenizer_close(Tokenizer *tok); /* NULL is fine */

/* Encodes n bytes of text, without BOS or EOS. out: room for n ids. Returns the number of ids. */
int64_t tokenizer_encode(const Tokenizer *tok, const void *text, size_t n, int32_t *out);
/* Writes the bytes of one token, returns how many: 0 for BOS and EOS. An id outside the vocabulary
 * is the caller's mistake: check what comes from a file first. */
int tokenizer_decode(const Tokenizer *tok, int32_t id, char out[TOKENIZER_MAX_PIECE]);

const char *tokenizer_name(const Tokenizer *tok);
int32_t tokenizer_vocab_size(const Tokenizer *tok);
int32_t tokenizer_bos(const Tokenizer *tok);
int32_t tokenizer_eos(const Tokenizer *tok);

#endif
