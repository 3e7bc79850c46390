/* UTF-8, strictly: no surrogates, no overlong forms, nothing above U+10FFFF. */
#ifndef TTT_BASE_UTF8_H
#define TTT_BASE_UTF8_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { UTF8_MAX = 4 }; /* bytes of a code point */

/* The code point at p (n > 0 bytes are left): its length, 0 where there is none, -1 where the bytes
 * end before it is known. */
int utf8_read(const unsigned char *p, size_t n, uint32_t *code);
/* Whether all of the text is UTF-8. */
bool utf8_is(const char *text, size_t n);
/* Writes the code point (no surrogate, at most U+10FFFF) and returns its length. */
int utf8_write(unsigned char out[UTF8_MAX], uint32_t code);
/* How many of the last bytes are the beginning of a character whose rest may follow: 0 .. 3. */
size_t utf8_unfinished(const unsigned char *p, size_t n);

/* A copy of n bytes in which what is not UTF-8 became U+FFFD; *size: its bytes. Freed with
 * mem_free. */
char *utf8_repair(const char *bytes, size_t n, size_t *size);

#endif
