/* blosc buffers of zstd, without shuffle or with that of bytes: what published token arrays are
 * made of. The library sets up a zstd context for every block and copies what it decodes once more;
 * for short chunks that is a third of the time. All other buffers are left to the library.
 *
 * A buffer: 16 bytes of header (version, codec version, flags, item size; decoded, block and
 * encoded size as 32 bits), the start of every block as 32 bits, the blocks. A block: one stream,
 * or one per byte of an item, each with its size in front; a stream as long as what it decodes to
 * is stored plain. Flags: 1 shuffled, 2 stored plain as a whole, 4 shuffled by bits, 16 one stream
 * per block, 32.. the compressor. (c-blosc, README_CHUNK_FORMAT.rst) */
#include "data/codec_kinds.h"

#include <string.h>
#include <zstd.h>

enum { HEADER = 16, FLAG_SHUFFLE = 1, FLAG_PLAIN = 2, FLAG_BITS = 4, FLAG_ONE_STREAM = 16 };
enum { ZSTD_FORMAT = 4, MOST_STREAMS = 16, LEAST_STREAM = 128, SCRATCH = 2, FETCHED = 1 << 14 };

typedef struct Buffer {
    const unsigned char *bytes;
    int64_t n; /* encoded */
    int64_t size, block, n_blocks;
    int typesize, flags;
} Buffer;

static int64_t word_at(const unsigned char *p)
{
    return (int64_t)((uint32_t)p[0] | (uint32_t)p[1] << 8 | (uint32_t)p[2] << 16 |
                     (uint32_t)p[3] << 24);
}

static bool buffer_open(Buffer *b, const void *src, int64_t n)
{
    *b = (Buffer){.bytes = src, .n = n};
    if (n < HEADER) return false;
    b->flags = b->bytes[2];
    b->typesize = b->bytes[3];
    b->size = word_at(b->bytes + 4);
    b->block = word_at(b->bytes + 8);
    if ((b->flags & (FLAG_PLAIN | FLAG_BITS)) != 0 || b->flags >> 5 != ZSTD_FORMAT ||
        b->typesize == 0 || b->block == 0 || b->size == 0 || word_at(b->bytes + 12) != n)
        return false;
    b->n_blocks = (b->size + b->block - 1) / b->block;
    return b->n_blocks <= (n - HEADER) / 4;
}

static int64_t block_size(const Buffer *b, int64_t i)
{
    return i + 1 < b->n_blocks ? b->block : b->size - i * b->block;
}

/* A block that is shorter than the others is one stream, too. */
static int block_streams(const Buffer *b, int64_t size)
{
    bool split = (b->flags & FLAG_ONE_STREAM) == 0 && b->typesize <= MOST_STREAMS &&
                 b->block / b->typesize >= LEAST_STREAM && size == b->block;
    return split ? b->typesize : 1;
}

static int damaged(Err *err)
{
    return err_set(err, "its blosc data are damaged");
}

/* Asks for the start of what is decoded next: zstd reads a stream from several places, its end
 * among them. A longer one is known by then for what it is, read on and on. */
static void fetch(const unsigned char *bytes, int64_t n)
{
    for (int64_t i = 0; i < n && i < FETCHED; i += 64) __builtin_prefetch(bytes + i);
}

/* Decodes the streams of block i into out (size). */
static int block_decode(const Buffer *b, ZSTD_DCtx *zstd, int64_t i, unsigned char *out, Err *err)
{
    int64_t size = block_size(b, i), at = word_at(b->bytes + HEADER + 4 * i);
    int streams = block_streams(b, size);
    int64_t each = size / streams;
    for (int s = 0; s < streams; s++, out += each) {
        if (at < HEADER + 4 * b->n_blocks || at > b->n - 4) return damaged(err);
        int64_t encoded = word_at(b->bytes + at);
        at += 4;
        if (encoded > b->n - at) return damaged(err);
        fetch(b->bytes + at, encoded);
        if (encoded == each) {
            memcpy(out, b->bytes + at, (size_t)each);
        } else {
            size_t got =
                ZSTD_decompressDCtx(zstd, out, (size_t)each, b->bytes + at, (size_t)encoded);
            if (got != (size_t)each) return damaged(err);
        }
        at += encoded;
    }
    return each * streams == size ? 0 : damaged(err);
}

/* Planes of bytes back to items: byte k of item i lies at k n + i. Items of 2 and 4 bytes in one
 * go, which the compiler makes vectors of. */
static void unshuffle(const unsigned char *restrict src, int64_t size, int typesize,
                      unsigned char *restrict out)
{
    int64_t n = size / typesize;
    const unsigned char *p1 = src + n, *p2 = src + 2 * n, *p3 = src + 3 * n;
    if (typesize == 2) {
        for (int64_t i = 0; i < n; i++) {
            out[2 * i] = src[i];
            out[2 * i + 1] = p1[i];
        }
    } else if (typesize == 4) {
        for (int64_t i = 0; i < n; i++) {
            out[4 * i] = src[i];
            out[4 * i + 1] = p1[i];
            out[4 * i + 2] = p2[i];
            out[4 * i + 3] = p3[i];
        }
    } else {
        for (int64_t i = 0; i < n; i++)
            for (int k = 0; k < typesize; k++) out[i * typesize + k] = src[k * n + i];
    }
    memcpy(out + n * typesize, src + n * typesize, (size_t)(size - n * typesize));
}

static int state_ready(CodecState *state, Err *err)
{
    if (state->zstd == NULL) state->zstd = ZSTD_createDCtx();
    return state->zstd != NULL ? 0 : err_set(err, "no memory to decode a chunk");
}

static int blocks_decode(const Buffer *b, CodecState *state, int64_t first, int64_t end,
                         unsigned char *out, Err *err)
{
    bool shuffled = (b->flags & FLAG_SHUFFLE) != 0 && b->typesize > 1;
    unsigned char *scratch = out;
    if (shuffled) scratch = codec_state_buffer(state, SCRATCH, b->block, err);
    if (scratch == NULL) return -1;
    TRY(state_ready(state, err));
    for (int64_t i = first; i < end; i++) {
        int64_t size = block_size(b, i);
        TRY(block_decode(b, state->zstd, i, shuffled ? scratch : out, err));
        if (shuffled) unshuffle(scratch, size, b->typesize, out);
        out += size;
    }
    return 1;
}

/* Whether the buffer is of those that are known here, and the range whole blocks of it. */
static bool range_open(Buffer *b, const void *src, int64_t n, int64_t size, int64_t from,
                       int64_t count)
{
    return buffer_open(b, src, n) && b->size == size && b->block <= size + MOST_STREAMS &&
           from % b->block == 0 && ((from + count) % b->block == 0 || from + count == size);
}

int blosc_zstd_decode(CodecState *state, const void *src, int64_t n, int64_t size, int64_t from,
                      int64_t count, void *dst, Err *err)
{
    Buffer b;
    if (!range_open(&b, src, n, size, from, count)) return 0;
    return blocks_decode(&b, state, from / b.block, (from + count + b.block - 1) / b.block, dst,
                         err);
}

int blosc_zstd_planes(CodecState *state, const void *src, int64_t n, int64_t size, int64_t from,
                      int64_t count, void *dst, Err *err)
{
    Buffer b;
    if (!range_open(&b, src, n, size, from, count) || (b.flags & FLAG_SHUFFLE) == 0 ||
        b.typesize != 4 || count % 4 != 0 || count != block_size(&b, from / b.block))
        return 0;
    TRY(state_ready(state, err));
    TRY(block_decode(&b, state->zstd, from / b.block, dst, err));
    return 1;
}
