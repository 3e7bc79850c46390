/* Classes of code points as Unicode 16.0 has them, which is what tiktoken and Hugging Face's
 * tokenizers split by; the tables of the C library and of PCRE2 are of other versions. */
#ifndef TTT_DATA_UNICODE_H
#define TTT_DATA_UNICODE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { UNICODE_END = 0x110000 }; /* code points are below */

/* What splitting asks for, as bits. */
enum {
    CHAR_LETTER = 1,  /* \p{L} */
    CHAR_NUMBER = 2,  /* \p{N} */
    CHAR_SPACE = 4,   /* \s: White_Space, so without U+180E */
    CHAR_NEWLINE = 8, /* \r \n */
    CHAR_UPPER = 16,  /* Lu Lt Lm Lo M */
    CHAR_LOWER = 32,  /* Ll Lm Lo M */
    CHAR_WORD = 64,   /* \w: letters, marks, Nd, Nl, Pc, what is alphabetic, joiners */
    CHAR_DIGIT = 128  /* Nd */
};

/* (UNICODE_END) bits of every code point; freed with free. NULL: no memory. */
uint8_t *unicode_bits(void);

/* Called with each run [from, to] of code points that belongs to a class, in ascending order. */
typedef void (*UnicodeRun)(void *context, uint32_t from, uint32_t to);
/* name: a general category ("Lu", "L"), or 's', 'd', 'w' as "\\s" and so on. negated: all others.
 * Returns false, with nothing called, when there is no such class. */
bool unicode_class(const char *name, size_t length, bool negated, UnicodeRun run, void *context);

#endif
