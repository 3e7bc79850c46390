/* Reading and writing dataset.json. Everything that is read is checked against what this program
 * could have written, because the sizes of the token files are judged by it. */
#include "data/dataset.h"

#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "base/jsonl.h"
#include "base/names.h"

/* The version says how tokens are stored. */
enum { VERSION_RAW = 1, VERSION_ZARR = 2, MAX_JSON = 1 << 20 };
static const char format_name[] = "ttt-tokens";

/* Where a value comes from, for messages. */
typedef struct Place {
    const json_t *object;
    const char *path;    /* of the file */
    const char *section; /* "" or "splits.train." */
} Place;

const char *split_name(int split)
{
    return split == SPLIT_TRAIN ? "train" : "val";
}

int split_find(const char *name, Err *err)
{
    char shown[NAME_SHOWN_MAX];
    for (int s = 0; s < SPLIT_COUNT; s++)
        if (strcmp(name, split_name(s)) == 0) return s;
    return err_set(err, "no split '%s' in a dataset; name 'train' or 'val'",
                   name_show(shown, name));
}

static int get_int(Place place, const char *key, int64_t low, int64_t high, int64_t *out, Err *err)
{
    const json_t *value = json_object_get(place.object, key);
    if (!json_is_integer(value))
        return err_set(err, "%s: %s%s is missing or not an integer; encode the dataset again",
                       place.path, place.section, key);
    *out = json_integer_value(value);
    if (*out < low || *out > high)
        return err_set(err, "%s: %s%s is %lld, outside %lld to %lld; encode the dataset again",
                       place.path, place.section, key, (long long)*out, (long long)low,
                       (long long)high);
    return 0;
}

static int get_text(Place place, const char *key, char *out, size_t size, Err *err)
{
    const char *value = json_string_value(json_object_get(place.object, key));
    if (value == NULL || value[0] == 0 || strlen(value) >= size)
        return err_set(err,
                       "%s: %s%s is missing or not a text of 1 to %zu bytes; encode the "
                       "dataset again",
                       place.path, place.section, key, size - 1);
    memcpy(out, value, strlen(value) + 1);
    return 0;
}

/* A file's name may not lead out of the folder. */
static int get_file(Place place, const char *key, char out[DATASET_TEXT], Err *err)
{
    TRY(get_text(place, key, out, DATASET_TEXT, err));
    if (!path_is_name(out))
        return err_set(err, "%s: %s%s must be the name of a file in the folder itself", place.path,
                       place.section, key);
    return 0;
}

static int get_digest(Place place, char out[65], Err *err)
{
    TRY(get_text(place, "sha256", out, 65, err));
    if (strspn(out, "0123456789abcdef") != 64)
        return err_set(err, "%s: %ssha256 must be 64 hexadecimal digits", place.path,
                       place.section);
    return 0;
}

/* The key that names where the tokens are. */
static const char *tokens_key(bool is_zarr)
{
    return is_zarr ? "token_array" : "token_file";
}

static int get_split(Place place, int split, bool is_zarr, SplitInfo *out, Err *err)
{
    const json_t *splits = json_object_get(place.object, "splits");
    char section[32];
    snprintf(section, sizeof section, "splits.%s.", split_name(split));
    Place inner = {json_object_get(splits, split_name(split)), place.path, section};
    TRY(get_int(inner, "tokens", 0, INT64_MAX / 8, &out->tokens, err));
    TRY(get_int(inner, "documents", 0, out->tokens, &out->documents, err));
    TRY(get_file(inner, tokens_key(is_zarr), out->token_file, err));
    TRY(get_file(inner, "documents_file", out->docs_file, err));
    return get_digest(inner, out->sha256, err);
}

static int get_dtype(Place place, DatasetInfo *out, Err *err)
{
    char dtype[16];
    TRY(get_text(place, "dtype", dtype, sizeof dtype, err));
    out->token_size = strcmp(dtype, "uint16") == 0 ? 2 : strcmp(dtype, "int32") == 0 ? 4 : 0;
    if (out->token_size == 0) return err_set(err, "%s: dtype must be uint16 or int32", place.path);
    if (out->token_size == 2 && out->vocab_size > 65536)
        return err_set(err, "%s: a vocabulary of %d does not fit dtype uint16", place.path,
                       out->vocab_size);
    return 0;
}

static int parse_info(DatasetInfo *out, Place place, Err *err)
{
    char format[32];
    int64_t version = 0, vocab = 0, bos = 0, eos = 0;
    if (get_text(place, "format", format, sizeof format, err) < 0 ||
        strcmp(format, format_name) != 0)
        return err_set(err,
                       "%s: format is not \"%s\"; this is no dataset of ttt: make one with "
                       "`ttt data encode`",
                       place.path, format_name);
    TRY(get_int(place, "version", 1, INT_MAX, &version, err));
    if (version > VERSION_ZARR)
        return err_set(err, "%s: version %lld; this program reads up to %d: use a newer one",
                       place.path, (long long)version, VERSION_ZARR);
    out->is_zarr = version == VERSION_ZARR;
    TRY(get_text(place, "tokenizer", out->tokenizer, sizeof out->tokenizer, err));
    TRY(get_int(place, "vocab_size", 1, INT32_MAX, &vocab, err));
    TRY(get_int(place, "bos", 0, vocab - 1, &bos, err));
    TRY(get_int(place, "eos", 0, vocab - 1, &eos, err));
    out->vocab_size = (int32_t)vocab;
    out->bos = (int32_t)bos;
    out->eos = (int32_t)eos;
    TRY(get_dtype(place, out, err));
    for (int s = 0; s < SPLIT_COUNT; s++)
        TRY(get_split(place, s, out->is_zarr, &out->splits[s], err));
    return 0;
}

int dataset_read(DatasetInfo *out, const char *dir, Err *err)
{
    char path[PATH_MAX], *text;
    size_t size;
    TRY(path_join(path, sizeof path, dir, "dataset.json", err));
    if (!dir_exists(dir))
        return err_set(err, "%s is not a dataset folder; make one with `ttt data encode`", dir);
    if (!file_exists(path))
        return err_set(err, "%s: no dataset.json there; make a dataset with `ttt data encode`",
                       dir);
    TRY(file_read(path, &text, &size, MAX_JSON, err));
    json_error_t where;
    json_t *root = json_loadb(text, size, JSON_REJECT_DUPLICATES, &where);
    free(text);
    if (root == NULL) {
        char shown[NAME_SHOWN_MAX];
        return err_set(err, "%s:%d: not JSON (%s); encode the dataset again", path, where.line,
                       name_show(shown, where.text));
    }
    memset(out, 0, sizeof *out);
    int status = parse_info(out, (Place){root, path, ""}, err);
    json_decref(root);
    return status;
}

static json_t *split_json(const SplitInfo *split, bool is_zarr)
{
    return json_pack("{s:I, s:I, s:s, s:s, s:s}", "tokens", (json_int_t)split->tokens, "documents",
                     (json_int_t)split->documents, tokens_key(is_zarr), split->token_file,
                     "documents_file", split->docs_file, "sha256", split->sha256);
}

int dataset_write(const DatasetInfo *info, const char *dir, Err *err)
{
    char path[PATH_MAX];
    TRY(path_join(path, sizeof path, dir, "dataset.json", err));
    json_t *root =
        json_pack("{s:s, s:i, s:s, s:i, s:i, s:i, s:s, s:{s:o, s:o}}", "format", format_name,
                  "version", info->is_zarr ? VERSION_ZARR : VERSION_RAW, "tokenizer",
                  info->tokenizer, "vocab_size", info->vocab_size, "bos", info->bos, "eos",
                  info->eos, "dtype", info->token_size == 2 ? "uint16" : "int32", "splits", "train",
                  split_json(&info->splits[SPLIT_TRAIN], info->is_zarr), "val",
                  split_json(&info->splits[SPLIT_VAL], info->is_zarr));
    return json_write_atomic(path, root, JSON_INDENT(2), err);
}
