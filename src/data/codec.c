/* Chains of codecs, and the table of kinds. The codecs themselves are in codec_kinds.c. */
#include "data/codec.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <zstd.h>

#include "base/names.h"
#include "data/codec_kinds.h"

static const CodecKind *const kinds[] = {&codec_blosc, &codec_zstd, &codec_gzip, &codec_zlib,
                                         &codec_crc32c};

const CodecKind *codec_find(const char *name)
{
    /* zarr-python writes codecs that zarr's specification does not have under this prefix. */
    static const char prefix[] = "numcodecs.";
    if (strncmp(name, prefix, sizeof prefix - 1) == 0) name += sizeof prefix - 1;
    for (int i = 0; i < ARRAY_LEN(kinds); i++)
        if (strcmp(kinds[i]->name, name) == 0) return kinds[i];
    return NULL;
}

void codec_state_free(CodecState *state)
{
    ZSTD_freeDCtx(state->zstd);
    for (int i = 0; i < ARRAY_LEN(state->buffers); i++) free(state->buffers[i]);
    *state = (CodecState){0};
}

unsigned char *codec_state_buffer(CodecState *state, int which, int64_t size, Err *err)
{
    if (size > state->capacity[which]) {
        free(state->buffers[which]);
        state->buffers[which] = malloc((size_t)size);
        state->capacity[which] = state->buffers[which] == NULL ? 0 : size;
    }
    if (state->buffers[which] == NULL) err_set(err, "no memory for %lld bytes", (long long)size);
    return state->buffers[which];
}

static Codec *chain_next(CodecChain *chain, Err *err)
{
    if (chain->n < CODEC_MAX_CHAIN) return &chain->codecs[chain->n];
    err_set(err, "more than %d codecs; write the array with fewer", CODEC_MAX_CHAIN);
    return NULL;
}

static int unknown_codec(const char *name, Err *err)
{
    char shown[NAME_SHOWN_MAX];
    return err_set(err,
                   "codec '%s' is not known here: blosc, zstd, gzip, zlib and crc32c are; "
                   "write the array with one of them",
                   name_show(shown, name));
}

int chain_add_json(CodecChain *chain, const json_t *codec, Err *err)
{
    const char *name = json_string_value(json_object_get(codec, "name"));
    Codec *c = chain_next(chain, err);
    if (c == NULL) return -1;
    if (name == NULL) return err_set(err, "a codec without a name; write the array again");
    *c = (Codec){.kind = codec_find(name)};
    if (c->kind == NULL) return unknown_codec(name, err);
    TRY(c->kind->parse(c, json_object_get(codec, "configuration"), err));
    chain->n++;
    return 0;
}

/* --- as text ---------------------------------------------------------------------------------- */

static int item_number(const char *text, int high, int *out, Err *err)
{
    char *end;
    long value = strtol(text, &end, 10);
    if (end == text || *end != 0 || value < 0 || value > high)
        return err_set(err, "codec level '%.40s' is not a number from 0 to %d", text, high);
    *out = (int)value;
    return 0;
}

/* blosc:CNAME:LEVEL:SHUFFLE, of which any tail may be missing. */
static int item_blosc(Codec *c, char *rest, Err *err)
{
    char *save, *cname = strtok_r(rest, ":", &save), *level = strtok_r(NULL, ":", &save);
    const char *shuffle = strtok_r(NULL, ":", &save);
    snprintf(c->cname, sizeof c->cname, "%s", cname == NULL ? "lz4" : cname);
    c->level = 5;
    c->shuffle = 1;
    if (level != NULL) TRY(item_number(level, 9, &c->level, err));
    if (shuffle != NULL) c->shuffle = blosc_shuffle_find(shuffle, err);
    TRY(c->shuffle);
    return blosc_check_name(c->cname, err);
}

static int item_parse(CodecChain *chain, char *item, int typesize, Err *err)
{
    Codec *c = chain_next(chain, err);
    if (c == NULL) return -1;
    char *rest = strchr(item, ':');
    if (rest != NULL) *rest++ = 0;
    *c = (Codec){.kind = codec_find(item), .typesize = typesize};
    if (c->kind == NULL) return unknown_codec(item, err);
    if (c->kind == &codec_zlib)
        return err_set(err,
                       "zlib is no codec of zarr format 3, only read from format 2: take gzip");
    if (c->kind == &codec_blosc) TRY(item_blosc(c, rest == NULL ? item + strlen(item) : rest, err));
    if (c->kind == &codec_zstd || c->kind == &codec_gzip) {
        int high = c->kind == &codec_zstd ? 22 : 9;
        c->level = 3;
        if (rest != NULL) TRY(item_number(rest, high, &c->level, err));
    }
    chain->n++;
    return 0;
}

int chain_parse(CodecChain *chain, const char *text, int typesize, Err *err)
{
    char copy[256], *save;
    *chain = (CodecChain){0};
    if (strcmp(text, "none") == 0) return 0;
    if (strlen(text) >= sizeof copy) return err_set(err, "codec '%.60s...' is too long", text);
    strcpy(copy, text);
    for (char *item = strtok_r(copy, "+", &save); item != NULL; item = strtok_r(NULL, "+", &save))
        TRY(item_parse(chain, item, typesize, err));
    return 0;
}

void chain_text(const CodecChain *chain, char *out, int size)
{
    int used = snprintf(out, (size_t)size, "%s", chain->n == 0 ? "none" : "");
    for (int i = 0; i < chain->n && used < size; i++) {
        const Codec *c = &chain->codecs[i];
        used +=
            snprintf(out + used, (size_t)(size - used), "%s%s", i > 0 ? "+" : "", c->kind->name);
        if (used < size && c->kind == &codec_blosc && c->cname[0] != 0)
            used += snprintf(out + used, (size_t)(size - used), ":%s:%d:%s", c->cname, c->level,
                             blosc_shuffles[c->shuffle]);
    }
}

json_t *chain_json(const CodecChain *chain)
{
    json_t *list = json_array();
    for (int i = 0; i < chain->n; i++) {
        const Codec *c = &chain->codecs[i];
        json_t *item = json_pack("{s:s}", "name", c->kind->name);
        if (c->kind->config != NULL) json_object_set_new(item, "configuration", c->kind->config(c));
        json_array_append_new(list, item);
    }
    return list;
}

/* --- to and from bytes ------------------------------------------------------------------------ */

/* The bound after the first `count` codecs. */
static int64_t prefix_bound(const CodecChain *chain, int count, int64_t n)
{
    for (int i = 0; i < count; i++) n = chain->codecs[i].kind->bound(n);
    return n;
}

int64_t chain_bound(const CodecChain *chain, int64_t n)
{
    int64_t bound = n; /* stages before the last need room too */
    for (int i = 1; i <= chain->n; i++) {
        int64_t stage = prefix_bound(chain, i, n);
        if (stage > bound) bound = stage;
    }
    return bound;
}

int64_t chain_encode(const CodecChain *chain, const void *src, int64_t n, void *dst, Err *err)
{
    int64_t cap = chain_bound(chain, n);
    if (chain->n == 0) memcpy(dst, src, (size_t)n);
    void *spare = chain->n > 1 ? malloc((size_t)cap) : NULL;
    if (chain->n > 1 && spare == NULL) return err_set(err, "no memory to encode a chunk");
    /* The last stage ends in dst: start so that swapping gets there. */
    void *to[2] = {dst, spare};
    for (int i = 0; i < chain->n && n >= 0; i++) {
        const Codec *c = &chain->codecs[i];
        void *out = to[(chain->n - 1 - i) % 2];
        n = c->kind->encode(c, src, n, out, cap, err);
        src = out;
    }
    free(spare);
    return n;
}

/* Which codec of the chain, from the end, is the last to move bytes: it decodes into dst. */
static int first_mover(const CodecChain *chain)
{
    int i = 0;
    while (i < chain->n && chain->codecs[i].kind->check != NULL) i++;
    return i;
}

static int wrong_size(int64_t n, int64_t size, Err *err)
{
    return err_set(err, "it decodes to %lld bytes, not the %lld that the metadata says",
                   (long long)n, (long long)size);
}

int chain_decode(const CodecChain *chain, CodecState *state, const void *src, int64_t n, void *dst,
                 int64_t size, Err *err)
{
    int first = first_mover(chain), turn = 0;
    for (int i = chain->n - 1; i >= 0; i--) {
        const Codec *c = &chain->codecs[i];
        if (c->kind->check != NULL) {
            n = c->kind->check(src, n, err);
        } else {
            /* A checksum before the first compressor makes what it decodes to longer than dst. */
            int64_t cap = prefix_bound(chain, i, size);
            bool last = i == first && first == 0;
            void *out = last ? dst : codec_state_buffer(state, turn++ % 2, cap, err);
            if (out == NULL) return -1;
            n = c->kind->decode(c, state, src, n, out, cap, err);
            src = out;
        }
        TRY(n);
    }
    if (n != size) return wrong_size(n, size, err);
    if (src != dst) memcpy(dst, src, (size_t)size);
    return 0;
}
