/* What a tokenizer file holds once it is read: normalization, splitting, merging. It does not
 * change afterwards, so threads may share it. Only token_stream.c and the readers of files look
 * inside. */
#ifndef TTT_DATA_TOKEN_MODEL_H
#define TTT_DATA_TOKEN_MODEL_H

#include "data/added_tokens.h"
#include "data/bpe.h"
#include "data/normalize.h"
#include "data/split_pattern.h"
#include "data/split_regex.h"

/* What becomes of a match: a piece of its own, nothing, or one with its neighbours. */
typedef enum SplitBehavior {
    SPLIT_ISOLATED,
    SPLIT_REMOVED,
    SPLIT_WITH_PREVIOUS,
    SPLIT_WITH_NEXT,
    SPLIT_CONTIGUOUS
} SplitBehavior;

typedef enum SplitKind {
    SPLIT_PATTERN, /* by one of the published patterns */
    SPLIT_REGEX,   /* by another one */
    SPLIT_DIGITS,  /* numbers from the rest */
    SPLIT_SPACE    /* no splitting: a space in front where there is none */
} SplitKind;

/* One step of splitting; each piece goes on to the next. */
typedef struct SplitStep {
    SplitKind kind;
    const SplitPattern *pattern;
    SplitRegex *regex;
    SplitBehavior behavior; /* of the regex */
    bool invert;            /* what does not match counts as the match */
    bool individual;        /* each digit by itself */
} SplitStep;

enum { MAX_SPLIT_STEPS = 16 };

typedef struct TokenModel {
    Bpe bpe;
    uint8_t *bits; /* unicode_bits() */
    bool ranks;    /* from a ranks file: what is not UTF-8 goes tiktoken's way (token_stream.c) */
    AddedTokens raw, normalized; /* looked for before normalization, and after */
    Normalizer *normalizer;      /* NULL: none */
    SplitStep step[MAX_SPLIT_STEPS];
    int n_steps;
    int32_t bos, eos; /* -1: none */
} TokenModel;

void token_model_free(TokenModel *m); /* NULL is fine */

/* Gives each added token its text in the vocabulary, and to raw and normalized what is looked for.
 * Takes over the list. */
void token_model_added(TokenModel *m, AddedToken *list, int n);

/* --- the files: text (n bytes) of the file that is named for messages ---------------------------
 */

/* Base64 and rank a line, as tiktoken and Llama 3 have it. */
int ranks_file_read(TokenModel *m, const char *text, size_t n, const char *file, Err *err);
/* Hugging Face's tokenizer.json with a byte-level BPE. */
int hf_file_read(TokenModel *m, const char *text, size_t n, const char *file, Err *err);

/* Byte-level spelling: each byte is one printable character. */
uint32_t byte_to_char(unsigned char byte);

#endif
