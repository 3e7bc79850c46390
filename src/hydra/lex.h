/* The words that values are made of in overrides and in references: OmegaConf's and Hydra's
 * grammars share them. The longest match wins, and the first rule among equals. */
#ifndef TTT_HYDRA_LEX_H
#define TTT_HYDRA_LEX_H

#include "hydra/tree.h"

typedef enum Word {
    WORD_NONE, /* no word starts here */
    WORD_END,
    WORD_PAREN_OPEN,
    WORD_COMMA,
    WORD_PAREN_CLOSE,
    WORD_BRACKET_OPEN,
    WORD_BRACKET_CLOSE,
    WORD_BRACE_OPEN,
    WORD_BRACE_CLOSE,
    WORD_COLON,
    WORD_EQUAL,
    WORD_FLOAT,
    WORD_INT,
    WORD_BOOL,
    WORD_NULL,
    WORD_SIGN, /* one of / - \ + . $ % * @ ? | */
    WORD_ID,
    WORD_ESCAPE, /* \\ \( \[ ... */
    WORD_BLANK,
    WORD_QUOTE,    /* the opening quote */
    WORD_REFERENCE /* ${ */
} Word;

/* Whether values without quotes or brackets are made of such words; ':' and '${' depend on where.
 */
bool hy_word_is_plain(Word word);

/* The word at s, *size its bytes. */
Word hy_lex(const char *s, size_t *size);
size_t hy_id_size(const char *s);
/* Every second byte of an escape: what it stands for. */
const char *hy_unescape(HyArena *a, const char *s, size_t size);
/* The value of one word: a typed scalar, or its text. */
HyNode *hy_word_value(HyArena *a, Word word, const char *s, size_t size);

#endif
