/* Token sources: one split of a dataset as an array of token ids that can be read anywhere. Each
 * kind (zarr, raw folder, memory, random) is one TokenSourceOps table; a new format adds a file and
 * a line in token_source_open. Threads may share a source.
 */
#ifndef TTT_DATA_TOKEN_SOURCE_H
#define TTT_DATA_TOKEN_SOURCE_H

#include <stdint.h>

#include "base/err.h"

/* One document: tokens [start, start + length) of the source, its BOS included. */
typedef struct Document {
    const char *name; /* UTF-8 */
    int64_t start, length;
} Document;

typedef struct TokenSource TokenSource;

typedef struct TokenSourceOps {
    int (*read)(const TokenSource *s, int64_t start, int64_t n, int32_t *out, Err *err);
    void (*close)(TokenSource *s);
} TokenSourceOps;

/* What every kind has; a kind's own struct starts with it. */
struct TokenSource {
    const TokenSourceOps *ops;
    const char *name;             /* the file, for messages */
    int64_t length;               /* tokens */
    int32_t vocab_size, bos, eos; /* 0, -1, -1 when the data do not say */
    const char *tokenizer;        /* its name; "" when unknown */
    const Document *docs;         /* (n_docs), in order of start */
    int64_t n_docs;               /* 0 when the kind knows no documents */
};

/* Opens the split ("train", "val") of the folder at path: one that `ttt data encode` made, or a
 * zarr group with such arrays. */
int token_source_open(TokenSource **out, const char *path, const char *split, Err *err);
/* Random ids below vocab_size; token p is a pure function of (seed, p). No BOS, no documents. */
int token_source_dummy(TokenSource **out, int64_t length, int32_t vocab_size, uint64_t seed,
                       Err *err);
void token_source_close(TokenSource *s); /* NULL is fine */
/* Says what the data themselves do not: a plain zarr array has neither vocabulary nor BOS. What
 * they do say stays. To be called before threads share the source. */
void token_source_declare(TokenSource *s, int32_t vocab_size, int32_t bos);

int64_t token_source_length(const TokenSource *s);
/* Reads tokens [start, start + n) into out (n). Fails outside the source, and where the file holds
 * an id outside the vocabulary: the message names the file and the position. */
int token_source_read(const TokenSource *s, int64_t start, int64_t n, int32_t *out, Err *err);

int64_t doc_count(const TokenSource *s);
/* i: 0 .. doc_count - 1; anything else is the caller's mistake. */
Document doc_info(const TokenSource *s, int64_t i);

#endif
