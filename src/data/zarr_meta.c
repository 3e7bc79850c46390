/* The metadata files of zarr arrays: opened, and written. */
#include "data/zarr_meta.h"

#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "base/jsonl.h"
#include "base/names.h"
#include "data/zarr_parse.h"

enum { MAX_META = 1 << 24 };

static const char *const type_names[2][4] = {{"uint8", "uint16", "uint32", "uint64"},
                                             {"int8", "int16", "int32", "int64"}};

const char *int_type_name(IntType type)
{
    int log2 = 0;
    while (1 << log2 < type.size) log2++;
    return type_names[type.is_signed][log2];
}

bool int_type_find(IntType *out, const char *name)
{
    for (int s = 0; s < 2; s++)
        for (int log2 = 0; log2 < 4; log2++)
            if (strcmp(name, type_names[s][log2]) == 0) {
                *out = (IntType){1 << log2, s == 1, false};
                return true;
            }
    return false;
}

/* --- reading ---------------------------------------------------------------------------------- */

static int load_json(json_t **out, const char *path, Err *err)
{
    char *text, shown[NAME_SHOWN_MAX];
    size_t size;
    json_error_t where;
    TRY(file_read(path, &text, &size, MAX_META, err));
    *out = json_loadb(text, size, JSON_REJECT_DUPLICATES, &where);
    free(text);
    if (*out != NULL && json_is_object(*out)) return 0;
    json_decref(*out);
    return err_set(err, "%s:%d: not the JSON of a zarr array (%s); fetch it again", path,
                   where.line, name_show(shown, where.text));
}

int zarr_meta_read(ZarrMeta *out, const char *dir, Err *err)
{
    static const struct {
        const char *name;
        int (*parse)(ZarrMeta *out, const json_t *root, Err *err);
    } formats[] = {{"zarr.json", zarr_parse_v3}, {".zarray", zarr_parse_v2}};
    char path[PATH_MAX];
    json_t *root;
    for (int i = 0; i < ARRAY_LEN(formats); i++) {
        TRY(path_join(path, sizeof path, dir, formats[i].name, err));
        if (i == 0 && !file_exists(path) && !dir_exists(path)) continue;
        TRY(load_json(&root, path, err));
        int status = formats[i].parse(out, root, err);
        json_decref(root);
        return status < 0 ? err_wrap(err, "%s", path) : 0;
    }
    return -1;
}

int zarr_layout(ZarrMeta *out, IntType type, int64_t file, int64_t part, const char *codec,
                Err *err)
{
    *out = (ZarrMeta){.format = 3,
                      .type = type,
                      .chunk = file,
                      .inner = part,
                      .sharded = file != part,
                      .index_crc = true,
                      .key_prefix = true,
                      .separator = '/'};
    if (file % part != 0)
        return err_set(err, "a shard of %lld tokens does not hold whole chunks of %lld",
                       (long long)file, (long long)part);
    return chain_parse(&out->chain, codec, type.size, err);
}

bool zarr_meta_there(const char *dir)
{
    char path[PATH_MAX];
    Err ignored;
    return (path_join(path, sizeof path, dir, "zarr.json", &ignored) == 0 && file_exists(path)) ||
           (path_join(path, sizeof path, dir, ".zarray", &ignored) == 0 && file_exists(path));
}

/* --- writing ---------------------------------------------------------------------------------- */

static json_t *bytes_json(int size, bool big_endian)
{
    if (size == 1) return json_pack("{s:s}", "name", "bytes");
    return json_pack("{s:s, s:{s:s}}", "name", "bytes", "configuration", "endian",
                     big_endian ? "big" : "little");
}

static json_t *part_codecs_json(const ZarrMeta *m)
{
    json_t *codecs = chain_json(&m->chain);
    json_array_insert_new(codecs, 0, bytes_json(m->type.size, m->type.big_endian));
    return codecs;
}

static json_t *codecs_json(const ZarrMeta *m)
{
    if (!m->sharded) return part_codecs_json(m);
    json_t *index = json_pack("[o]", bytes_json(8, m->index_big_endian));
    if (m->index_crc) json_array_append_new(index, json_pack("{s:s}", "name", "crc32c"));
    return json_pack("[{s:s, s:{s:[I], s:o, s:o, s:s}}]", "name", "sharding_indexed",
                     "configuration", "chunk_shape", (json_int_t)m->inner, "codecs",
                     part_codecs_json(m), "index_codecs", index, "index_location",
                     m->index_at_start ? "start" : "end");
}

int zarr_meta_write(const ZarrMeta *m, const char *dir, Err *err)
{
    char path[PATH_MAX], separator[2] = {m->separator, 0};
    TRY(path_join(path, sizeof path, dir, "zarr.json", err));
    json_t *root = json_pack(
        "{s:i, s:s, s:[I], s:s, s:{s:s, s:{s:[I]}}, s:{s:s, s:{s:s}}, s:I, s:o, s:{}, s:[]}",
        "zarr_format", 3, "node_type", "array", "shape", (json_int_t)m->length, "data_type",
        int_type_name(m->type), "chunk_grid", "name", "regular", "configuration", "chunk_shape",
        (json_int_t)m->chunk, "chunk_key_encoding", "name", m->key_prefix ? "default" : "v2",
        "configuration", "separator", separator, "fill_value", (json_int_t)m->fill, "codecs",
        codecs_json(m), "attributes", "storage_transformers");
    if (root == NULL) return err_set(err, "%s: no memory to write it", path);
    return json_write_atomic(path, root, JSON_INDENT(2), err);
}

int zarr_group_write(const char *dir, Err *err)
{
    char path[PATH_MAX];
    TRY(path_join(path, sizeof path, dir, "zarr.json", err));
    json_t *root =
        json_pack("{s:{}, s:i, s:s}", "attributes", "zarr_format", 3, "node_type", "group");
    if (root == NULL) return err_set(err, "%s: no memory to write it", path);
    return json_write_atomic(path, root, JSON_INDENT(2), err);
}

/* --- sizes and names -------------------------------------------------------------------------- */

int64_t zarr_files(const ZarrMeta *m)
{
    return m->length / m->chunk + (m->length % m->chunk != 0);
}

int64_t zarr_parts(const ZarrMeta *m)
{
    return m->chunk / m->inner;
}

int64_t zarr_part_bytes(const ZarrMeta *m)
{
    return m->inner * m->type.size;
}

int64_t zarr_index_bytes(const ZarrMeta *m)
{
    return 16 * zarr_parts(m) + (m->index_crc ? 4 : 0);
}

int zarr_file_path(const ZarrMeta *m, const char *dir, int64_t file, char *out, size_t size,
                   Err *err)
{
    char key[32];
    if (m->key_prefix)
        snprintf(key, sizeof key, "c%c%lld", m->separator, (long long)file);
    else
        snprintf(key, sizeof key, "%lld", (long long)file);
    return path_join(out, size, dir, key, err);
}
