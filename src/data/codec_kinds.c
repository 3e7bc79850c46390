/* blosc (c-blosc 1, which is zarr's codec), zstd, gzip and zlib (zlib), crc32c. Decoders
 * are given foreign bytes: every size in a header is checked against what is there. */
#include "data/codec_kinds.h"

#include <blosc.h>
#include <limits.h>
#include <string.h>
#include <zlib.h>
#include <zstd.h>

#include "base/crc32c.h"
#include "base/names.h"

/* An integer of the configuration; `fallback` where the key is missing. */
static int get_int(const json_t *config, const char *key, int low, int high, int fallback, int *out,
                   Err *err)
{
    const json_t *value = json_object_get(config, key);
    *out = fallback;
    if (value == NULL) return 0;
    json_int_t number = json_integer_value(value);
    if (!json_is_integer(value) || number < low || number > high)
        return err_set(err, "codec setting %s is not an integer from %d to %d", key, low, high);
    *out = (int)number;
    return 0;
}

/* --- blosc ------------------------------------------------------------------------------------ */

const char *const blosc_shuffles[] = {"noshuffle", "shuffle", "bitshuffle"};

int blosc_shuffle_find(const char *name, Err *err)
{
    char shown[NAME_SHOWN_MAX];
    for (int i = 0; i < ARRAY_LEN(blosc_shuffles); i++)
        if (strcmp(name, blosc_shuffles[i]) == 0) return i;
    return err_set(err, "blosc shuffle '%s' is none of noshuffle, shuffle and bitshuffle",
                   name_show(shown, name));
}

int blosc_check_name(const char *cname, Err *err)
{
    char shown[NAME_SHOWN_MAX];
    if (blosc_compname_to_compcode(cname) >= 0) return 0;
    return err_set(err, "blosc has no compressor '%s' here; it has %s", name_show(shown, cname),
                   blosc_list_compressors());
}

/* A shuffle name, or the number of zarr v2 (-1: by type size). */
static int blosc_parse_shuffle(Codec *c, const json_t *value, Err *err)
{
    json_int_t number = json_integer_value(value);
    c->shuffle = json_is_integer(value) && number >= 0 && number <= 2 ? (int)number : 1;
    if (json_is_string(value)) c->shuffle = blosc_shuffle_find(json_string_value(value), err);
    return c->shuffle < 0 ? -1 : 0;
}

static int blosc_parse(Codec *c, const json_t *config, Err *err)
{
    const char *cname = json_string_value(json_object_get(config, "cname"));
    if (cname == NULL || strlen(cname) >= CODEC_NAME)
        return err_set(err, "blosc without a cname (zstd, lz4, lz4hc, zlib, blosclz)");
    TRY(blosc_check_name(cname, err));
    strcpy(c->cname, cname);
    TRY(get_int(config, "clevel", 0, 9, 5, &c->level, err));
    TRY(get_int(config, "typesize", 1, 255, 1, &c->typesize, err));
    TRY(get_int(config, "blocksize", 0, INT_MAX, 0, &c->blocksize, err));
    return blosc_parse_shuffle(c, json_object_get(config, "shuffle"), err);
}

static json_t *blosc_config(const Codec *c)
{
    return json_pack("{s:i, s:s, s:i, s:s, s:i}", "typesize", c->typesize, "cname", c->cname,
                     "clevel", c->level, "shuffle", blosc_shuffles[c->shuffle], "blocksize",
                     c->blocksize);
}

static int64_t blosc_bound(int64_t n)
{
    return n + BLOSC_MAX_OVERHEAD;
}

static int64_t blosc_encode(const Codec *c, const void *src, int64_t n, void *dst, int64_t cap,
                            Err *err)
{
    if (n > BLOSC_MAX_BUFFERSIZE)
        return err_set(err, "blosc takes chunks of less than 2 GiB; choose smaller ones");
    int size = blosc_compress_ctx(c->level, c->shuffle, (size_t)c->typesize, (size_t)n, src, dst,
                                  (size_t)cap, c->cname, (size_t)c->blocksize, 1);
    if (size > 0) return size;
    return err_set(err, "blosc (%s) could not encode %lld bytes", c->cname, (long long)n);
}

/* What the header says, or -1: it must agree with the length, as the library trusts it from here
 * on. Bytes 4-7 decoded, 8-11 block, 12-15 encoded size. */
static int64_t blosc_decoded_size(const void *src, int64_t n)
{
    size_t size;
    if (n < BLOSC_MIN_HEADER_LENGTH || n > INT_MAX) return -1;
    return blosc_cbuffer_validate(src, (size_t)n, &size) == 0 ? (int64_t)size : -1;
}

static int64_t blosc_decode(const Codec *c, CodecState *state, const void *src, int64_t n,
                            void *dst, int64_t cap, Err *err)
{
    (void)c;
    int64_t size = blosc_decoded_size(src, n);
    if (size < 0) return err_set(err, "not a whole blosc buffer");
    if (size > cap)
        return err_set(err, "its blosc header says %lld bytes, more than the %lld of a chunk",
                       (long long)size, (long long)cap);
    int done = blosc_zstd_decode(state, src, n, size, 0, size, dst, err);
    if (done != 0) return done < 0 ? -1 : size;
    int got = size == 0 ? 0 : blosc_decompress_ctx(src, dst, (size_t)size, 1);
    return got == size ? size : err_set(err, "its blosc data are damaged");
}

const CodecKind codec_blosc = {"blosc",      blosc_parse,  blosc_config, blosc_bound,
                               blosc_encode, blosc_decode, NULL};

int64_t blosc_block_items(const void *src, int64_t n, int64_t size, int typesize)
{
    size_t decoded, encoded, block, item;
    int flags;
    if (blosc_decoded_size(src, n) != size) return 0;
    blosc_cbuffer_sizes(src, &decoded, &encoded, &block);
    blosc_cbuffer_metainfo(src, &item, &flags);
    if (item != (size_t)typesize || block == 0 || block % item != 0) return 0;
    return (int64_t)(block / item);
}

int blosc_decode_items(CodecState *state, const void *src, int64_t n, int64_t size, int typesize,
                       int64_t first, int64_t count, void *dst, Err *err)
{
    size_t item = 0;
    int flags;
    int64_t decoded = blosc_decoded_size(src, n);
    if (decoded < 0) return err_set(err, "not a whole blosc buffer");
    if (decoded != size)
        return err_set(err, "its blosc header says %lld bytes, not the %lld of a chunk",
                       (long long)decoded, (long long)size);
    blosc_cbuffer_metainfo(src, &item, &flags);
    if (item != (size_t)typesize)
        return err_set(err, "its blosc header says items of %zu bytes, not %d", item, typesize);
    CHECK(first >= 0 && count >= 0 && first + count <= size / typesize, "items %lld + %lld",
          (long long)first, (long long)count);
    int done = blosc_zstd_decode(state, src, n, size, first * typesize, count * typesize, dst, err);
    if (done != 0) return done < 0 ? -1 : 0;
    if (blosc_getitem(src, (int)first, (int)count, dst) == count * typesize) return 0;
    return err_set(err, "its blosc data are damaged");
}

/* --- zstd ------------------------------------------------------------------------------------- */

static int zstd_parse(Codec *c, const json_t *config, Err *err)
{
    c->checksum = json_is_true(json_object_get(config, "checksum"));
    return get_int(config, "level", -131072, 22, 3, &c->level, err);
}

static json_t *zstd_config(const Codec *c)
{
    return json_pack("{s:i, s:b}", "level", c->level, "checksum", (int)c->checksum);
}

static int64_t zstd_bound(int64_t n)
{
    return (int64_t)ZSTD_compressBound((size_t)n) + 4;
}

static int64_t zstd_encode(const Codec *c, const void *src, int64_t n, void *dst, int64_t cap,
                           Err *err)
{
    ZSTD_CCtx *ctx = ZSTD_createCCtx();
    if (ctx == NULL) return err_set(err, "no memory for zstd");
    ZSTD_CCtx_setParameter(ctx, ZSTD_c_compressionLevel, c->level);
    ZSTD_CCtx_setParameter(ctx, ZSTD_c_checksumFlag, c->checksum);
    size_t size = ZSTD_compress2(ctx, dst, (size_t)cap, src, (size_t)n);
    ZSTD_freeCCtx(ctx);
    if (ZSTD_isError(size)) return err_set(err, "zstd: %s", ZSTD_getErrorName(size));
    return (int64_t)size;
}

static int64_t zstd_decode(const Codec *c, CodecState *state, const void *src, int64_t n, void *dst,
                           int64_t cap, Err *err)
{
    (void)c;
    if (state->zstd == NULL) state->zstd = ZSTD_createDCtx();
    if (state->zstd == NULL) return err_set(err, "no memory for zstd");
    size_t size = ZSTD_decompressDCtx(state->zstd, dst, (size_t)cap, src, (size_t)n);
    if (ZSTD_isError(size)) return err_set(err, "its zstd data: %s", ZSTD_getErrorName(size));
    return (int64_t)size;
}

const CodecKind codec_zstd = {"zstd",      zstd_parse,  zstd_config, zstd_bound,
                              zstd_encode, zstd_decode, NULL};

/* --- gzip and zlib ---------------------------------------------------------------------------- */

enum { WINDOW = 15, GZIP_WRAP = 16, ANY_WRAP = 32 };

static int level_parse(Codec *c, const json_t *config, Err *err)
{
    return get_int(config, "level", -1, 9, 5, &c->level, err);
}

static json_t *level_config(const Codec *c)
{
    return json_pack("{s:i}", "level", c->level);
}

static int64_t deflate_bound(int64_t n)
{
    return n + n / 1000 + 64; /* stored blocks: 5 bytes per 16 KB, and the wrapping */
}

/* zlib counts in 32 bits: its window on src and dst is moved along. */
static void stream_refill(z_stream *z, const unsigned char *src_end, const unsigned char *dst_end)
{
    const int64_t most = 1 << 30;
    int64_t in = src_end - z->next_in, out = dst_end - z->next_out;
    z->avail_in = (uInt)(in < most ? in : most);
    z->avail_out = (uInt)(out < most ? out : most);
}

static int64_t deflate_encode(const Codec *c, const void *src, int64_t n, void *dst, int64_t cap,
                              Err *err)
{
    z_stream z = {.next_in = (void *)(uintptr_t)src, .next_out = dst};
    int wrap = c->kind == &codec_gzip ? GZIP_WRAP : 0;
    const unsigned char *src_end = (const unsigned char *)src + n;
    const unsigned char *dst_end = (unsigned char *)dst + cap;
    if (deflateInit2(&z, c->level, Z_DEFLATED, WINDOW + wrap, 8, Z_DEFAULT_STRATEGY) != Z_OK)
        return err_set(err, "no memory for gzip");
    int code = Z_OK;
    while (code == Z_OK) {
        stream_refill(&z, src_end, dst_end);
        bool all = src_end - z.next_in == (int64_t)z.avail_in;
        code = deflate(&z, all ? Z_FINISH : Z_NO_FLUSH);
    }
    int64_t size = z.next_out - (unsigned char *)dst;
    deflateEnd(&z);
    return code == Z_STREAM_END ? size : err_set(err, "gzip could not encode a chunk");
}

/* Members may follow on each other, as gzip allows. */
static int64_t deflate_decode(const Codec *c, CodecState *state, const void *src, int64_t n,
                              void *dst, int64_t cap, Err *err)
{
    (void)c;
    (void)state;
    z_stream z = {.next_in = (void *)(uintptr_t)src, .next_out = dst};
    const unsigned char *src_end = (const unsigned char *)src + n;
    const unsigned char *dst_end = (unsigned char *)dst + cap;
    if (inflateInit2(&z, WINDOW + ANY_WRAP) != Z_OK) return err_set(err, "no memory for gzip");
    int code = Z_OK;
    while (code == Z_OK) {
        stream_refill(&z, src_end, dst_end);
        code = inflate(&z, Z_NO_FLUSH);
        if (code == Z_STREAM_END && z.next_in < src_end) code = inflateReset(&z);
    }
    int64_t size = z.next_out - (unsigned char *)dst;
    inflateEnd(&z);
    if (code == Z_STREAM_END) return size;
    if (code == Z_BUF_ERROR && size == cap)
        return err_set(err, "its gzip data are longer than the %lld bytes of a chunk",
                       (long long)cap);
    return err_set(err, "its gzip data are damaged or cut off");
}

const CodecKind codec_gzip = {"gzip",         level_parse,    level_config, deflate_bound,
                              deflate_encode, deflate_decode, NULL};
const CodecKind codec_zlib = {"zlib",         level_parse,    level_config, deflate_bound,
                              deflate_encode, deflate_decode, NULL};

/* --- crc32c ----------------------------------------------------------------------------------- */

static int crc_parse(Codec *c, const json_t *config, Err *err)
{
    (void)c;
    (void)config;
    (void)err;
    return 0;
}

static int64_t crc_bound(int64_t n)
{
    return n + 4;
}

static int64_t crc_encode(const Codec *c, const void *src, int64_t n, void *dst, int64_t cap,
                          Err *err)
{
    (void)c;
    (void)cap;
    (void)err;
    unsigned char *out = dst;
    uint32_t crc = crc32c(src, (size_t)n);
    memcpy(out, src, (size_t)n);
    for (int i = 0; i < 4; i++) out[n + i] = (unsigned char)(crc >> (8 * i));
    return n + 4;
}

static int64_t crc_check(const void *src, int64_t n, Err *err)
{
    if (n < 4) return err_set(err, "too short for its checksum");
    const unsigned char *end = (const unsigned char *)src + n - 4;
    uint32_t stored =
        (uint32_t)end[0] | (uint32_t)end[1] << 8 | (uint32_t)end[2] << 16 | (uint32_t)end[3] << 24;
    if (crc32c(src, (size_t)n - 4) != stored) return err_set(err, "its crc32c checksum is wrong");
    return n - 4;
}

const CodecKind codec_crc32c = {"crc32c", crc_parse, NULL, crc_bound, crc_encode, NULL, crc_check};
