/* Tokenizers: text to token ids and back. One is built in, "bytes"; the others are files: a ranks
 * file (Llama 3's tokenizer.model) or Hugging Face's tokenizer.json. A tokenizer does not change
 * after it is opened, so threads may share one. token_stream.h encodes. */
#ifndef TTT_DATA_TOKENIZER_H
#define TTT_DATA_TOKENIZER_H

#include <limits.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

enum {
    TOKENIZER_MAX_PIECE = 1024, /* no token decodes to more bytes than this */
    TOKENIZER_NAME = 128
};

struct TokenModel;

typedef struct Tokenizer {
    /* Kept in datasets, models and memories, and equal where the tokenizers are: "bytes", or
     * "tokenizer.json@" and the SHA-256 of the file. */
    char name[TOKENIZER_NAME];
    char *file;                   /* where it was read; NULL: built in */
    int32_t vocab_size, bos, eos; /* ids are below vocab_size; bos, eos -1: it has none */
    struct TokenModel *model;     /* NULL: bytes */
} Tokenizer;

/* what: "bytes" (256 bytes, BOS = 256, EOS = 257), or a file, or a folder that holds tokenizer.json
 * or tokenizer.model. */
int tokenizer_open(Tokenizer **out, const char *what, Err *err);
/* Opens the tokenizer that a folder's own record names (name: as in Tokenizer): its copy of the
 * file in the folder must be the one that the name tells. */
int tokenizer_open_named(Tokenizer **out, const char *name, const char *folder, Err *err);
/* Makes one of a file's text (n bytes), which is named for messages; it cannot be copied. */
int tokenizer_read(Tokenizer **out, const char *text, size_t n, const char *file, Err *err);
void tokenizer_close(Tokenizer *tok); /* NULL is fine */

/* Whether the name says exactly which tokenizer it is, so that two can be compared. */
bool tokenizer_name_exact(const char *name);
/* Writes the tokenizer's file into the folder, under the name by which tokenizer_open_named finds
 * it. Nothing for "bytes". */
int tokenizer_copy(const Tokenizer *tok, const char *folder, Err *err);
/* The same from a file, which must be the one that the name tells. */
int tokenizer_copy_file(const char *name, const char *file, const char *folder, Err *err);
/* Where that file is in a folder; "" when the name is of none. */
int tokenizer_named_path(char path[PATH_MAX], const char *name, const char *folder, Err *err);
/* The name of the tokenizer whose file is in a folder: 1, or 0 when there is none. */
int tokenizer_folder_name(char name[TOKENIZER_NAME], const char *folder, Err *err);
/* Fails when documents cannot begin: the tokenizer has no BOS. */
int tokenizer_check_bos(const Tokenizer *tok, Err *err);

/* Writes the bytes of one token, returns how many: 0 for BOS, EOS and others that stand for no
 * text. An id outside the vocabulary is the caller's mistake: check what comes from a file first.
 */
int tokenizer_decode(const Tokenizer *tok, int32_t id, char out[TOKENIZER_MAX_PIECE]);
/* The same, but special tokens give their names ("<|end_of_text|>"); "bytes" has none. */
int tokenizer_spell(const Tokenizer *tok, int32_t id, char out[TOKENIZER_MAX_PIECE]);

const char *tokenizer_name(const Tokenizer *tok);
int32_t tokenizer_vocab_size(const Tokenizer *tok);
int32_t tokenizer_bos(const Tokenizer *tok);
int32_t tokenizer_eos(const Tokenizer *tok);

#endif
