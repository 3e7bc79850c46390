/* Writing safetensors: the header from the tensors in the order given, then their bytes. */
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/crc32c.h"
#include "base/file.h"
#include "base/mem.h"
#include "base/names.h"
#include "base/safetensors.h"

const StMeta st_checksum = {"crc32c", "00000000"};

static size_t tensor_size(const StTensor *t)
{
    return (size_t)t->n_elements * st_type_size(t->type);
}

typedef struct Source {
    StFill *fill; /* NULL: the tensors bring their data */
    void *context;
} Source;

static void check_tensor(const StTensor *t, const Source *from)
{
    int64_t n = 1;
    CHECK(t->n_dims >= 0 && t->n_dims <= ST_MAX_DIMS, "tensor '%s' of %d dims", t->name, t->n_dims);
    for (int i = 0; i < t->n_dims; i++) n *= t->shape[i];
    CHECK(n == t->n_elements, "tensor '%s': n_elements %lld, but its shape holds %lld", t->name,
          (long long)t->n_elements, (long long)n);
    CHECK(n == 0 || t->data || from->fill, "tensor '%s' has no data", t->name);
}

static json_t *describe(const StTensor *t, size_t begin)
{
    json_t *shape = json_array();
    for (int i = 0; i < t->n_dims; i++) json_array_append_new(shape, json_integer(t->shape[i]));
    return json_pack("{s:s, s:o, s:[I, I]}", "dtype", st_type_name(t->type), "shape", shape,
                     "data_offsets", (json_int_t)begin, (json_int_t)(begin + tensor_size(t)));
}

/* Fails for text that is not UTF-8, which JSON cannot hold: it may come from a file's name. */
static int put_text(json_t *object, const char *key, json_t *value, const char *path, Err *err)
{
    char shown[NAME_SHOWN_MAX];
    CHECK(!json_object_get(object, key), "'%s' is written to %s twice", key, path);
    if (json_object_set_new(object, key, value) == 0) return 0;
    return err_set(err, "cannot write %s: the entry '%s' or its value is not UTF-8 text; rename it",
                   path, name_show(shown, key));
}

static int put_meta(json_t *header, const StMeta *meta, int n_meta, const char *path, Err *err)
{
    if (n_meta == 0) return 0;
    json_t *object = json_object();
    TRY(put_text(header, "__metadata__", object, path, err));
    for (int i = 0; i < n_meta; i++)
        TRY(put_text(object, meta[i].key, json_string(meta[i].value), path, err));
    return 0;
}

static int put_tensors(json_t *header, const StTensor *tensors, int n, const Source *from,
                       const char *path, Err *err)
{
    size_t begin = 0;
    for (int i = 0; i < n; i++) {
        const StTensor *t = &tensors[i];
        check_tensor(t, from);
        CHECK(strcmp(t->name, "__metadata__") != 0, "a tensor cannot be named __metadata__");
        TRY(put_text(header, t->name, describe(t, begin), path, err));
        begin += tensor_size(t);
    }
    return 0;
}

/* The header's bytes, with their length in front, padded so that the data begins at a multiple of
 * 8. The caller frees them. NULL: err says why. */
static char *header_bytes(const json_t *header, size_t *size, const char *path, Err *err)
{
    enum { LENGTH_SIZE = 8, MAX_HEADER = 100000000 };
    char *text = json_dumps(header, JSON_COMPACT);
    mem_need(text, "the header of %s", path);
    size_t used = strlen(text), padded = (used + 7) / 8 * 8;
    if (padded > MAX_HEADER) {
        err_set(err,
                "cannot write %s: its header has %zu bytes, more than the format's %d; write "
                "fewer tensors to one file",
                path, padded, MAX_HEADER);
        free(text);
        return NULL;
    }
    char *bytes = malloc(LENGTH_SIZE + padded);
    mem_need(bytes, "the header of %s", path);
    for (int i = 0; i < LENGTH_SIZE; i++) bytes[i] = (char)(padded >> (8 * i) & 0xff);
    memcpy(bytes + LENGTH_SIZE, text, used);
    memset(bytes + LENGTH_SIZE + used, ' ', padded - used);
    free(text);
    *size = LENGTH_SIZE + padded;
    return bytes;
}

static int write_bytes(AtomicFile *file, const void *bytes, size_t size, uint32_t *sum, Err *err)
{
    *sum = crc32c_more(*sum, bytes, size);
    return atomic_write(file, bytes, size, err);
}

/* What fill gives for tensor i, or what it brings; on failure the temporary file is gone. */
static int write_tensor(AtomicFile *file, const StTensor *t, int i, const Source *from,
                        uint32_t *sum, Err *err)
{
    size_t size = tensor_size(t);
    if (!from->fill) return write_bytes(file, t->data, size, sum, err);
    void *bytes = malloc(size ? size : 1);
    int status = bytes ? from->fill(from->context, i, bytes, err)
                       : err_set(err, "cannot write %s: no memory for the %zu bytes of '%s'",
                                 file->path, size, t->name);
    if (status < 0)
        atomic_abort(file);
    else
        status = write_bytes(file, bytes, size, sum, err);
    free(bytes);
    return status < 0 ? -1 : 0;
}

/* Puts the checksum in the place of its zeros; a file without that entry has none. */
static int write_sum(AtomicFile *file, const char *header, size_t header_size, uint32_t sum,
                     Err *err)
{
    char entry[64], digits[16];
    snprintf(entry, sizeof entry, "\"%s\":\"%s\"", st_checksum.key, st_checksum.value);
    snprintf(digits, sizeof digits, "%08x", sum);
    const char *at = memmem(header, header_size, entry, strlen(entry));
    if (!at) return 0;
    at += strlen(entry) - strlen(digits) - 1;
    return atomic_patch(file, (size_t)(at - header), digits, strlen(digits), err);
}

static int write_file(const char *path, const char *header, size_t header_size,
                      const StTensor *tensors, int n, const Source *from, Err *err)
{
    AtomicFile file;
    uint32_t sum = crc32c(header, header_size);
    TRY(atomic_open(&file, path, err));
    TRY(atomic_write(&file, header, header_size, err));
    for (int i = 0; i < n; i++) TRY(write_tensor(&file, &tensors[i], i, from, &sum, err));
    TRY(write_sum(&file, header, header_size, sum, err));
    return atomic_commit(&file, err);
}

static int write_from(const char *path, const StTensor *tensors, int n_tensors, const StMeta *meta,
                      int n_meta, const Source *from, Err *err)
{
    int status = -1;
    size_t size = 0;
    json_t *header = json_object();
    if (put_meta(header, meta, n_meta, path, err) == 0 &&
        put_tensors(header, tensors, n_tensors, from, path, err) == 0) {
        char *bytes = header_bytes(header, &size, path, err);
        if (bytes) status = write_file(path, bytes, size, tensors, n_tensors, from, err);
        free(bytes);
    }
    json_decref(header);
    return status;
}

int st_write(const char *path, const StTensor *tensors, int n_tensors, const StMeta *meta,
             int n_meta, Err *err)
{
    return write_from(path, tensors, n_tensors, meta, n_meta, &(Source){NULL, NULL}, err);
}

int st_write_filled(const char *path, const StTensor *tensors, int n_tensors, const StMeta *meta,
                    int n_meta, StFill *fill, void *context, Err *err)
{
    return write_from(path, tensors, n_tensors, meta, n_meta, &(Source){fill, context}, err);
}
