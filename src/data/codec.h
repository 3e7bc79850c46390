/* The byte codecs of zarr chunks (blosc, zstd, gzip, zlib, crc32c), one CodecKind each in the table
 * of codec.c, and chains of them. What turns integers into bytes (endianness, sharding) is not
 * here: zarr_meta.h. */
#ifndef TTT_DATA_CODEC_H
#define TTT_DATA_CODEC_H

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"

enum { CODEC_MAX_CHAIN = 8, CODEC_NAME = 16 };

typedef struct CodecKind CodecKind;

typedef struct Codec {
    const CodecKind *kind;
    int level;
    bool checksum;                    /* zstd: a checksum of its own in the frame */
    char cname[CODEC_NAME];           /* blosc: the compressor inside */
    int shuffle, typesize, blocksize; /* blosc: 0 none, 1 bytes, 2 bits */
} Codec;

/* What decoding keeps from call to call, so that it need not allocate: one per thread at work.
 * Zeroed to begin with. */
typedef struct CodecState {
    struct ZSTD_DCtx_s *zstd;
    /* Two between the compressors of a chain, one inside a codec, one of who calls. */
    unsigned char *buffers[4];
    int64_t capacity[4];
} CodecState;

enum { CODEC_CALLERS_BUFFER = 3 };

void codec_state_free(CodecState *state);
/* Buffer `which` with room for size bytes; what it held is lost. NULL without memory. */
unsigned char *codec_state_buffer(CodecState *state, int which, int64_t size, Err *err);

struct CodecKind {
    const char *name;
    /* From and to the "configuration" of zarr.json; config may be NULL when it has none. */
    int (*parse)(Codec *c, const json_t *config, Err *err);
    json_t *(*config)(const Codec *c);
    int64_t (*bound)(int64_t n); /* the most that n bytes become */
    /* Both return the size of the result, at most cap. */
    int64_t (*encode)(const Codec *c, const void *src, int64_t n, void *dst, int64_t cap, Err *err);
    int64_t (*decode)(const Codec *c, CodecState *state, const void *src, int64_t n, void *dst,
                      int64_t cap, Err *err);
    /* In place of decode, for a codec that only adds bytes at the end: how many are left. */
    int64_t (*check)(const void *src, int64_t n, Err *err);
};

typedef struct CodecChain {
    Codec codecs[CODEC_MAX_CHAIN]; /* in the order of encoding */
    int n;
} CodecChain;

/* NULL when there is none of that name. */
const CodecKind *codec_find(const char *name);

/* Appends the codec {"name", "configuration"} of a zarr.json. */
int chain_add_json(CodecChain *chain, const json_t *codec, Err *err);
/* Reads "blosc:zstd:3:shuffle+crc32c", "zstd:3", "gzip:6", "none". typesize: of the integers. */
int chain_parse(CodecChain *chain, const char *text, int typesize, Err *err);
/* The same as text, "none" for the empty chain; what does not fit is cut off. */
void chain_text(const CodecChain *chain, char *out, int size);
json_t *chain_json(const CodecChain *chain); /* an array */

int64_t chain_bound(const CodecChain *chain, int64_t n);
/* Returns the size; dst has room for chain_bound(n). */
int64_t chain_encode(const CodecChain *chain, const void *src, int64_t n, void *dst, Err *err);
/* Decodes into exactly `size` bytes at dst. */
int chain_decode(const CodecChain *chain, CodecState *state, const void *src, int64_t n, void *dst,
                 int64_t size, Err *err);

#endif
