/* Encoding a text that comes in parts, in bounded memory: the ids are those of the whole text,
 * however it is cut. */
#ifndef TTT_DATA_TOKEN_STREAM_H
#define TTT_DATA_TOKEN_STREAM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "data/tokenizer.h"

typedef struct TokenStream TokenStream; /* for one thread */

/* specials: the names of special tokens in the text stand for them; else they are text like any
 * other. Out of memory ends the program. */
TokenStream *token_stream_new(const Tokenizer *tok, bool specials);
void token_stream_free(TokenStream *s); /* NULL is fine */

/* Adds n bytes of text. Returns how many ids are settled by them, *ids, valid until the next call;
 * -1: the tokenizer's own split pattern failed, and the text is given up. */
int64_t token_stream_push(TokenStream *s, const void *text, size_t n, const int32_t **ids,
                          Err *err);
/* Ends the text: the last ids. The next push begins a new one. */
int64_t token_stream_end(TokenStream *s, const int32_t **ids, Err *err);

#endif
