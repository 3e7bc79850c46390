/* SHA-256 (FIPS 180-4), for digests that name a model or a document. */
#ifndef TTT_BASE_SHA256_H
#define TTT_BASE_SHA256_H

#include <stddef.h>
#include <stdint.h>

enum { SHA256_SIZE = 32, SHA256_HEX_SIZE = 65 };

typedef struct Sha256 {
    uint32_t h[8];
    uint64_t n_bytes;
    unsigned char block[64]; /* the unfinished one */
} Sha256;

void sha256_init(Sha256 *s);
void sha256_update(Sha256 *s, const void *data, size_t size);
/* A text with its NUL, so that texts that follow each other stay apart; and a number. */
void sha256_text(Sha256 *s, const char *text);
void sha256_number(Sha256 *s, int64_t number);
void sha256_final(Sha256 *s, unsigned char digest[SHA256_SIZE]);
/* sha256_final as 64 lower-case hexadecimal digits and a NUL. */
void sha256_hex(Sha256 *s, char hex[SHA256_HEX_SIZE]);

#endif
