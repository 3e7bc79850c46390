/* zarr.json and .zarray. Foreign text: every number is bounded before anything is computed with it,
 * and what would change the meaning of the data and is not known here is refused by name. */
#include "data/zarr_parse.h"

#include <string.h>

#include "base/names.h"

/* Array lengths and chunk sizes: their products with 16, an index entry, still fit 64 bits. */
static const int64_t max_elements = (int64_t)1 << 57;

static const char *text_of(const json_t *object, const char *key)
{
    const char *text = json_string_value(json_object_get(object, key));
    return text == NULL ? "" : text;
}

/* The one number of a list like "shape": [5000]. */
static int get_extent(const json_t *list, const char *what, int64_t low, int64_t *out, Err *err)
{
    if (!json_is_array(list)) return err_set(err, "%s is missing or not a list", what);
    if (json_array_size(list) != 1)
        return err_set(err, "%s has %zu dimensions; an array of tokens has one", what,
                       json_array_size(list));
    const json_t *value = json_array_get(list, 0);
    if (!json_is_integer(value)) return err_set(err, "%s holds no integer", what);
    *out = json_integer_value(value);
    if (*out < low || *out > max_elements)
        return err_set(err, "%s is %lld, outside %lld to %lld", what, (long long)*out,
                       (long long)low, (long long)max_elements);
    return 0;
}

static int get_fill(const json_t *root, ZarrMeta *out, Err *err)
{
    const json_t *fill = json_object_get(root, "fill_value");
    if (fill == NULL || json_is_null(fill) || json_is_false(fill)) return 0;
    double real = json_real_value(fill); /* 0 unless it is a real */
    if (json_is_real(fill) && real > -9e15 && real < 9e15 && real == (double)(int64_t)real) {
        out->fill = (int64_t)real;
        return 0;
    }
    if (!json_is_integer(fill)) return err_set(err, "fill_value is not an integer");
    out->fill = json_integer_value(fill);
    int bits = 8 * out->type.size - (out->type.is_signed ? 1 : 0);
    int64_t high = bits >= 63 ? INT64_MAX : ((int64_t)1 << bits) - 1;
    int64_t low = out->type.is_signed ? -high - 1 : 0;
    if (out->fill >= low && out->fill <= high) return 0;
    return err_set(err, "fill_value %lld does not fit %s", (long long)out->fill,
                   int_type_name(out->type));
}

static int get_separator(const char *text, char fallback, char *out, Err *err)
{
    char shown[NAME_SHOWN_MAX];
    *out = text[0] == 0 ? fallback : text[0];
    if (strlen(text) <= 1 && (*out == '/' || *out == '.')) return 0;
    return err_set(err, "separator '%s' of chunk names is neither / nor .", name_show(shown, text));
}

/* --- format 3 --------------------------------------------------------------------------------- */

static const json_t *config_of(const json_t *object)
{
    return json_object_get(object, "configuration");
}

/* "bytes" with its endian, which one-byte types leave out. */
static int get_bytes_codec(const json_t *codec, bool *big_endian, Err *err)
{
    char shown[NAME_SHOWN_MAX];
    if (strcmp(text_of(codec, "name"), "bytes") != 0)
        return err_set(err,
                       "codec '%s' stands where 'bytes' is expected; this program reads "
                       "arrays of plain integers",
                       name_show(shown, text_of(codec, "name")));
    const char *endian = text_of(config_of(codec), "endian");
    *big_endian = strcmp(endian, "big") == 0;
    if (*big_endian || strcmp(endian, "little") == 0 || endian[0] == 0) return 0;
    return err_set(err, "endian '%s' is neither little nor big", name_show(shown, endian));
}

/* In one dimension a transpose changes nothing: it is passed over. */
static size_t skip_transpose(const json_t *codecs)
{
    size_t i = 0;
    while (strcmp(text_of(json_array_get(codecs, i), "name"), "transpose") == 0) i++;
    return i;
}

/* [transpose...] bytes [byte codecs...] */
static int get_chain(const json_t *codecs, ZarrMeta *out, Err *err)
{
    size_t i = skip_transpose(codecs);
    if (i >= json_array_size(codecs)) return err_set(err, "codecs do not say how bytes are made");
    TRY(get_bytes_codec(json_array_get(codecs, i), &out->type.big_endian, err));
    while (++i < json_array_size(codecs))
        TRY(chain_add_json(&out->chain, json_array_get(codecs, i), err));
    return 0;
}

/* The index has a size known beforehand, so only crc32c may follow its bytes. */
static int get_index_codecs(const json_t *codecs, ZarrMeta *out, Err *err)
{
    size_t n = json_array_size(codecs);
    if (n < 1 || n > 2) return err_set(err, "index_codecs must be bytes, or bytes and crc32c");
    TRY(get_bytes_codec(json_array_get(codecs, 0), &out->index_big_endian, err));
    out->index_crc = n == 2;
    if (n == 2 && strcmp(text_of(json_array_get(codecs, 1), "name"), "crc32c") != 0)
        return err_set(err, "index_codecs must be bytes, or bytes and crc32c");
    return 0;
}

static int get_sharding(const json_t *config, ZarrMeta *out, Err *err)
{
    out->sharded = true;
    TRY(get_extent(json_object_get(config, "chunk_shape"), "chunk_shape of the shards", 1,
                   &out->inner, err));
    if (out->chunk % out->inner != 0)
        return err_set(err, "shards of %lld elements are not whole chunks of %lld",
                       (long long)out->chunk, (long long)out->inner);
    const char *location = text_of(config, "index_location");
    out->index_at_start = strcmp(location, "start") == 0;
    if (!out->index_at_start && location[0] != 0 && strcmp(location, "end") != 0)
        return err_set(err, "index_location is neither start nor end");
    TRY(get_index_codecs(json_object_get(config, "index_codecs"), out, err));
    const json_t *codecs = json_object_get(config, "codecs");
    const json_t *first = json_array_get(codecs, skip_transpose(codecs));
    if (strcmp(text_of(first, "name"), "sharding_indexed") == 0)
        return err_set(err, "shards inside shards; write the array with one level of them");
    return get_chain(codecs, out, err);
}

static int get_codecs(const json_t *root, ZarrMeta *out, Err *err)
{
    const json_t *codecs = json_object_get(root, "codecs");
    size_t i = skip_transpose(codecs);
    const json_t *first = json_array_get(codecs, i);
    if (strcmp(text_of(first, "name"), "sharding_indexed") != 0) return get_chain(codecs, out, err);
    if (json_array_size(codecs) > i + 1)
        return err_set(err, "codecs after sharding_indexed, so that no part can be read by itself; "
                            "write the array without them");
    return get_sharding(config_of(first), out, err);
}

static int get_chunk_keys(const json_t *root, ZarrMeta *out, Err *err)
{
    char shown[NAME_SHOWN_MAX];
    const json_t *keys = json_object_get(root, "chunk_key_encoding");
    const char *name = text_of(keys, "name");
    out->key_prefix = strcmp(name, "default") == 0 || keys == NULL;
    if (!out->key_prefix && strcmp(name, "v2") != 0)
        return err_set(err, "chunk_key_encoding '%s' is neither default nor v2",
                       name_show(shown, name));
    return get_separator(text_of(config_of(keys), "separator"), out->key_prefix ? '/' : '.',
                         &out->separator, err);
}

/* An extension that a reader may not pass over says so by being there without
 * "must_understand": false. */
static int check_extensions(const json_t *root, Err *err)
{
    static const char *const known[] = {
        "zarr_format",        "node_type",  "shape",  "data_type",  "chunk_grid",
        "chunk_key_encoding", "fill_value", "codecs", "attributes", "storage_transformers",
        "dimension_names"};
    const char *key;
    json_t *value;
    json_object_foreach((json_t *)(uintptr_t)root, key, value)
    {
        bool fine = json_is_false(json_object_get(value, "must_understand"));
        for (int i = 0; i < ARRAY_LEN(known) && !fine; i++) fine = strcmp(key, known[i]) == 0;
        char shown[NAME_SHOWN_MAX];
        if (!fine)
            return err_set(err, "'%s' is an extension that this program does not know",
                           name_show(shown, key));
    }
    if (json_array_size(json_object_get(root, "storage_transformers")) > 0)
        return err_set(err, "storage_transformers are not supported; write the array without them");
    return 0;
}

int zarr_parse_v3(ZarrMeta *out, const json_t *root, Err *err)
{
    char shown[NAME_SHOWN_MAX];
    *out = (ZarrMeta){.format = 3};
    if (json_integer_value(json_object_get(root, "zarr_format")) != 3)
        return err_set(err, "zarr_format is not 3");
    if (strcmp(text_of(root, "node_type"), "array") != 0)
        return err_set(err, "node_type is '%s', not array",
                       name_show(shown, text_of(root, "node_type")));
    TRY(check_extensions(root, err));
    if (!int_type_find(&out->type, text_of(root, "data_type")))
        return err_set(err, "data_type '%s' is not an integer type; tokens are integers",
                       name_show(shown, text_of(root, "data_type")));
    const json_t *grid = json_object_get(root, "chunk_grid");
    if (strcmp(text_of(grid, "name"), "regular") != 0)
        return err_set(err, "chunk_grid is not regular");
    TRY(get_extent(json_object_get(root, "shape"), "shape", 0, &out->length, err));
    TRY(get_extent(json_object_get(config_of(grid), "chunk_shape"), "chunk_shape", 1, &out->chunk,
                   err));
    out->inner = out->chunk;
    TRY(get_chunk_keys(root, out, err));
    TRY(get_fill(root, out, err));
    return get_codecs(root, out, err);
}

/* --- format 2 --------------------------------------------------------------------------------- */

/* "<i4", ">u2", "|u1": byte order, kind, bytes. */
static int get_dtype_v2(const json_t *root, IntType *out, Err *err)
{
    char shown[NAME_SHOWN_MAX];
    const char *dtype = text_of(root, "dtype");
    bool fits = strlen(dtype) == 3 && strchr("<>|", dtype[0]) && strchr("iu", dtype[1]) &&
                strchr("1248", dtype[2]);
    if (!fits)
        return err_set(err, "dtype '%s' is not an integer type; tokens are integers",
                       name_show(shown, dtype));
    *out = (IntType){dtype[2] - '0', dtype[1] == 'i', dtype[0] == '>'};
    return 0;
}

/* What a codec was told when it encoded does not matter for decoding: only its name is looked at.
 */
static int get_compressor_v2(const json_t *root, ZarrMeta *out, Err *err)
{
    char shown[NAME_SHOWN_MAX];
    const json_t *compressor = json_object_get(root, "compressor");
    const json_t *filters = json_object_get(root, "filters");
    if (json_array_size(filters) > 0)
        return err_set(err, "filters are not supported; write the array without them");
    if (compressor == NULL || json_is_null(compressor)) return 0;
    const char *name = text_of(compressor, "id");
    const CodecKind *kind = codec_find(name);
    if (kind == NULL)
        return err_set(err,
                       "compressor '%s' is not known here: blosc, zstd, gzip and zlib are; "
                       "write the array with one of them",
                       name_show(shown, name));
    out->chain = (CodecChain){.codecs = {{.kind = kind}}, .n = 1};
    return 0;
}

int zarr_parse_v2(ZarrMeta *out, const json_t *root, Err *err)
{
    *out = (ZarrMeta){.format = 2};
    if (json_integer_value(json_object_get(root, "zarr_format")) != 2)
        return err_set(err, "zarr_format is not 2");
    TRY(get_dtype_v2(root, &out->type, err));
    TRY(get_extent(json_object_get(root, "shape"), "shape", 0, &out->length, err));
    TRY(get_extent(json_object_get(root, "chunks"), "chunks", 1, &out->chunk, err));
    out->inner = out->chunk;
    TRY(get_separator(text_of(root, "dimension_separator"), '.', &out->separator, err));
    TRY(get_fill(root, out, err));
    return get_compressor_v2(root, out, err);
}
