/* Tokens that are found in the text before it is split: special ones and others that a tokenizer
 * adds to its vocabulary. The leftmost match counts, the longest among those that begin there. */
#ifndef TTT_DATA_ADDED_TOKENS_H
#define TTT_DATA_ADDED_TOKENS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef struct AddedToken {
    int32_t id;
    bool special;        /* only found on demand */
    bool single_word;    /* not inside a word */
    bool lstrip, rstrip; /* white space before, after, belongs to it */
    bool normalized;     /* found in the normalized text, not in the text as it came */
    unsigned char *text; /* (length) its own */
    size_t length;
} AddedToken;

typedef struct AddedTokens {
    AddedToken *token; /* (n) sorted by text */
    int n;
    bool first[256]; /* whether one begins with this byte */
    bool plain;      /* whether one is not special */
    bool strips;     /* whether one takes white space along */
} AddedTokens;

/* Takes over the list (allocated with malloc, texts too) and sorts it. Of equal texts the last
 * counts. */
void added_tokens_make(AddedTokens *a, AddedToken *list, int n);
void added_tokens_free(AddedTokens *a);

/* What was found: [from, to) of the text stands for the token; NULL: text without tokens up to
 * `from`, after which more text is needed (`to` is the same). */
typedef struct AddedMatch {
    const AddedToken *token;
    size_t from, to;
} AddedMatch;

/* The first token in text (n bytes); specials: special ones count too. begins: the text begins
 * here; else the character before it is a word's or not: after_word. end: it is all. */
typedef struct AddedSearch {
    const uint8_t *bits; /* unicode_bits() */
    bool specials, begins, after_word, end;
} AddedSearch;

AddedMatch added_tokens_find(const AddedTokens *a, const AddedSearch *s, const unsigned char *text,
                             size_t n);

#endif
