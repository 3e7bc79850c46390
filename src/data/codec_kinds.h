/* The codecs one by one; codec.c has the table. */
#ifndef TTT_DATA_CODEC_KINDS_H
#define TTT_DATA_CODEC_KINDS_H

#include "data/codec.h"

extern const CodecKind codec_blosc, codec_zstd, codec_gzip, codec_zlib, codec_crc32c;

/* What blosc does with the bytes of items before it compresses, by the number it has for it. */
extern const char *const blosc_shuffles[3];
/* The number of that name; -1: there is none such. */
int blosc_shuffle_find(const char *name, Err *err);

/* Fails for a compressor that the installed blosc does not have. */
int blosc_check_name(const char *cname, Err *err);

/* The elements of typesize bytes in one block of a blosc buffer: what can be decoded by itself.
 * 0 when the buffer is no blosc buffer of `size` decoded bytes. */
int64_t blosc_block_items(const void *src, int64_t n, int64_t size, int typesize);
/* Decodes items [first, first + count) of a buffer that decodes to `size` bytes of typesize each.
 */
int blosc_decode_items(CodecState *state, const void *src, int64_t n, int64_t size, int typesize,
                       int64_t first, int64_t count, void *dst, Err *err);

/* Decodes bytes [from, from + count) of a buffer that decodes to `size`, if it is one of those that
 * blosc_zstd.c knows and they are whole blocks of it: returns 1, 0 if not so, -1 when damaged. */
int blosc_zstd_decode(CodecState *state, const void *src, int64_t n, int64_t size, int64_t from,
                      int64_t count, void *dst, Err *err);

/* The same for one whole block of shuffled 4-byte items, which it leaves as planes: (4, count / 4)
 * bytes, the lowest of every item first. */
int blosc_zstd_planes(CodecState *state, const void *src, int64_t n, int64_t size, int64_t from,
                      int64_t count, void *dst, Err *err);

#endif
