/* Memory files: arrays as tensors, everything else in the header's metadata. Numbers are written as
 * JSON, which brings every double back bit for bit whatever the locale; a NaN is null. */
#include "api/memory_file.h"

#include <jansson.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/jsonl.h"
#include "base/mem.h"
#include "base/st_real.h"
#include "data/escape.h"

static const char FORMAT[] = "ttt-memory", VERSION[] = "1";

enum { META_KEYS = 16, ALIGNMENT = 64, MAX_ARRAYS = ARRAY_LEN(((ReaderSnapshot *)0)->array) };

/* --- writing -----------------------------------------------------------------------------------
 */

/* Metadata under way: values are owned and freed by meta_free. Keys are literals. */
typedef struct MetaList {
    int n;
    bool failed; /* out of memory */
    StMeta entry[META_KEYS];
} MetaList;

static void meta_add_owned(MetaList *list, const char *key, char *value)
{
    CHECK(list->n < META_KEYS, "too many metadata keys in a memory file");
    list->failed |= value == NULL;
    list->entry[list->n++] = (StMeta){key, value};
}

static void meta_add(MetaList *list, const char *key, const char *value)
{
    meta_add_owned(list, key, escape_text(value, false));
}

/* Takes the value over. */
static void meta_add_json(MetaList *list, const char *key, json_t *value)
{
    size_t flags = JSON_ENCODE_ANY | JSON_COMPACT | JSON_REAL_PRECISION(17);
    meta_add_owned(list, key, value ? json_dumps(value, flags) : NULL);
    json_decref(value);
}

static void meta_free(MetaList *list)
{
    for (int i = 0; i < list->n; i++) free((char *)list->entry[i].value);
}

static json_t *sources_json(const ttt_source *sources, int n)
{
    json_t *list = json_array();
    for (int i = 0; i < n; i++) {
        char *name = escape_text(sources[i].name, false);
        json_t *one = json_pack("{s:s*, s:s, s:I}", "name", name, "sha256", sources[i].sha256,
                                "tokens", (json_int_t)sources[i].tokens);
        free(name);
        if (json_array_append_new(list, one) < 0) {
            json_decref(list);
            return NULL;
        }
    }
    return list;
}

static void meta_collect(MetaList *list, const MemoryHeader *h)
{
    char created[TIME_TEXT_SIZE];
    time_text(created);
    meta_add(list, "format", FORMAT);
    meta_add(list, "format_version", VERSION);
    meta_add(list, st_checksum.key, st_checksum.value);
    meta_add(list, "model_digest", h->model_digest);
    meta_add(list, "model_name", h->model_name);
    if (h->tokenizer[0]) meta_add(list, "tokenizer", h->tokenizer);
    meta_add(list, "created", created);
    meta_add_json(list, "chunk", json_integer(h->chunk));
    meta_add_json(list, "window", json_integer(h->window));
    meta_add_json(list, "inner_lr", json_number(h->inner_lr));
    meta_add_json(list, "tokens", json_integer(h->counters.tokens));
    meta_add_json(list, "steps", json_integer(h->counters.steps));
    meta_add_json(list, "pending", json_integer(h->counters.pending));
    meta_add_json(list, "last_chunk_loss", json_number(h->counters.last_chunk_loss));
    meta_add_json(list, "last_grad_norm", json_number(h->counters.last_grad_norm));
    meta_add_json(list, "sources", sources_json(h->sources, h->n_sources));
}

int memory_write(const char *path, const ReaderSnapshot *s, const MemoryHeader *header, Err *err)
{
    StTensor tensor[MAX_ARRAYS];
    for (int i = 0; i < s->n; i++) {
        const ReaderArray *a = &s->array[i];
        tensor[i] = (StTensor){.name = a->name,
                               .type = a->integer ? ST_I32 : ST_REAL,
                               .n_dims = a->n_dims,
                               .n_elements = 1,
                               .data = a->data};
        for (int d = 0; d < a->n_dims; d++) {
            tensor[i].shape[d] = a->shape[d];
            tensor[i].n_elements *= a->shape[d];
        }
    }
    MetaList list = {0};
    meta_collect(&list, header);
    int status = list.failed ? err_set(err, "%s: no memory to save it: free some", path)
                             : st_write(path, tensor, s->n, list.entry, list.n, err);
    meta_free(&list);
    return status;
}

/* --- reading -----------------------------------------------------------------------------------
 */

static int damaged(const char *path, const char *key, Err *err)
{
    return err_set(err,
                   "%s: '%s' is missing from the memory file or makes no sense; the file is "
                   "damaged: use a copy, or read the texts again",
                   path, key);
}

static int text_get(const MemoryFile *f, const char *path, const char *key, char *out, size_t size,
                    Err *err)
{
    const char *value = st_meta(f->tensors, key);
    if (value == NULL || strlen(value) >= size) return damaged(path, key, err);
    memcpy(out, value, strlen(value) + 1);
    return 0;
}

static int json_get(const MemoryFile *f, const char *path, const char *key, json_t **out, Err *err)
{
    const char *value = st_meta(f->tensors, key);
    *out = value ? json_loads(value, JSON_DECODE_ANY, NULL) : NULL;
    return *out ? 0 : damaged(path, key, err);
}

/* An integer from 0 to max. */
static int count_get(const MemoryFile *f, const char *path, const char *key, int64_t max,
                     int64_t *out, Err *err)
{
    json_t *value;
    TRY(json_get(f, path, key, &value, err));
    bool ok = json_is_integer(value);
    *out = json_integer_value(value);
    json_decref(value);
    return ok && *out >= 0 && *out <= max ? 0 : damaged(path, key, err);
}

static int number_get(const MemoryFile *f, const char *path, const char *key, double *out, Err *err)
{
    json_t *value;
    TRY(json_get(f, path, key, &value, err));
    bool ok = json_is_number(value) || json_is_null(value);
    *out = json_is_null(value) ? (double)NAN : json_number_value(value);
    json_decref(value);
    return ok ? 0 : damaged(path, key, err);
}

static bool source_read(ttt_source *s, const json_t *one)
{
    const char *name = json_string_value(json_object_get(one, "name"));
    const char *sha256 = json_string_value(json_object_get(one, "sha256"));
    const json_t *tokens = json_object_get(one, "tokens");
    if (!name || !sha256 || !json_is_integer(tokens)) return false;
    s->tokens = json_integer_value(tokens);
    if (s->tokens < 0 || strlen(sha256) >= sizeof s->sha256) return false;
    memcpy(s->sha256, sha256, strlen(sha256) + 1);
    size_t n = strlen(name);
    if (n >= sizeof s->name) { /* a long name is cut, but never inside a character */
        n = sizeof s->name - 1;
        while (n > 0 && ((unsigned char)name[n] & 0xc0) == 0x80) n--;
    }
    memcpy(s->name, name, n);
    s->name[n] = 0;
    return true;
}

static int sources_get(MemoryFile *f, const char *path, Err *err)
{
    json_t *list;
    TRY(json_get(f, path, "sources", &list, err));
    size_t n = json_array_size(list);
    bool ok = json_is_array(list) && n < 1u << 24;
    if (ok) {
        f->header.sources = mem_try((n + 1) * sizeof *f->header.sources, path, err);
        if (!f->header.sources) {
            json_decref(list);
            return -1;
        }
    }
    for (size_t i = 0; ok && i < n; i++)
        ok = source_read(&f->header.sources[i], json_array_get(list, i));
    f->header.n_sources = ok ? (int)n : 0;
    json_decref(list);
    return ok ? 0 : damaged(path, "sources", err);
}

static int format_check(const MemoryFile *f, const char *path, Err *err)
{
    const char *format = st_meta(f->tensors, "format");
    const char *version = st_meta(f->tensors, "format_version");
    if (format == NULL || strcmp(format, FORMAT) != 0)
        return err_set(err,
                       "%s is a safetensors file but no memory file: name one that "
                       "`ttt read --memory` wrote",
                       path);
    if (version == NULL || strcmp(version, VERSION) != 0)
        return err_set(
            err, "%s has another version of the memory format than %s: use the ttt that wrote it",
            path, VERSION);
    return 0;
}

static int header_read(MemoryFile *f, const char *path, Err *err)
{
    MemoryHeader *h = &f->header;
    ReaderCounters *c = &h->counters;
    TRY(format_check(f, path, err));
    TRY(text_get(f, path, "model_digest", h->model_digest, sizeof h->model_digest, err));
    TRY(text_get(f, path, "model_name", h->model_name, sizeof h->model_name, err));
    if (st_meta(f->tensors, "tokenizer"))
        TRY(text_get(f, path, "tokenizer", h->tokenizer, sizeof h->tokenizer, err));
    TRY(text_get(f, path, "created", h->created, sizeof h->created, err));
    TRY(count_get(f, path, "chunk", INT64_MAX, &h->chunk, err));
    TRY(count_get(f, path, "window", INT64_MAX, &h->window, err));
    TRY(count_get(f, path, "tokens", INT64_MAX, &c->tokens, err));
    TRY(count_get(f, path, "steps", c->tokens, &c->steps, err));
    TRY(count_get(f, path, "pending", c->tokens, &c->pending, err));
    TRY(number_get(f, path, "inner_lr", &h->inner_lr, err));
    TRY(number_get(f, path, "last_chunk_loss", &c->last_chunk_loss, err));
    TRY(number_get(f, path, "last_grad_norm", &c->last_grad_norm, err));
    if (!(h->inner_lr >= 0)) return damaged(path, "inner_lr", err);
    return sources_get(f, path, err);
}

int memory_open(MemoryFile *file, const char *path, Err *err)
{
    memset(file, 0, sizeof *file);
    TRY(st_open(&file->tensors, path, err));
    struct stat info;
    if (stat(path, &info) == 0) file->file_bytes = (size_t)info.st_size;
    if (header_read(file, path, err) < 0) {
        memory_close(file);
        return -1;
    }
    return 0;
}

void memory_close(MemoryFile *file)
{
    st_close(file->tensors);
    mem_free(file->header.sources);
    memset(file, 0, sizeof *file);
}

static size_t array_bytes(const StTensor *t)
{
    size_t bytes = (size_t)t->n_elements * st_type_size(t->type);
    return (bytes + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT;
}

/* Token ids are the only integers: arrays called ".../tokens". */
static bool holds_tokens(const StTensor *t)
{
    const char *slash = strrchr(t->name, '/');
    return slash && strcmp(slash, "/tokens") == 0;
}

/* Adds what the arrays take to *bytes. */
static int arrays_check(const MemoryFile *file, const char *path, size_t *bytes, Err *err)
{
    int n = st_count(file->tensors);
    if (n > MAX_ARRAYS) return damaged(path, "number of tensors", err);
    for (int i = 0; i < n; i++) {
        const StTensor *t = st_at(file->tensors, i);
        if (t->n_dims > 4 || t->type != (holds_tokens(t) ? ST_I32 : ST_REAL))
            return err_set(err,
                           "%s: tensor '%.100s' is %s with %d dimensions, which this build's "
                           "memory files do not have: use the program that wrote it",
                           path, t->name, st_type_name(t->type), t->n_dims);
        *bytes += array_bytes(t);
    }
    return 0;
}

int memory_snapshot(const MemoryFile *file, const char *path, ReaderSnapshot *s, Err *err)
{
    memset(s, 0, sizeof *s);
    size_t bytes = 0, used = 0;
    TRY(arrays_check(file, path, &bytes, err));
    s->n = st_count(file->tensors);
    s->counters = file->header.counters;
    s->storage = mem_try(bytes + ALIGNMENT, path, err);
    if (!s->storage) return -1;
    for (int i = 0; i < s->n; i++) {
        const StTensor *t = st_at(file->tensors, i);
        char *data = (char *)s->storage + used; /* in the file it may lie at any address */
        memcpy(data, t->data, (size_t)t->n_elements * st_type_size(t->type));
        used += array_bytes(t);
        s->array[i] = (ReaderArray){
            .name = t->name, .integer = t->type == ST_I32, .n_dims = t->n_dims, .data = data};
        for (int d = 0; d < t->n_dims; d++) s->array[i].shape[d] = t->shape[d];
    }
    return 0;
}

void memory_snapshot_free(ReaderSnapshot *s)
{
    mem_free(s->storage);
    memset(s, 0, sizeof *s);
}
