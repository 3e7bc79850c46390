/* Reading safetensors: the file is mapped, its JSON header parsed, and every entry checked against
 * the file before any of it is used. Names and metadata stay in the parsed header. */
#include "base/safetensors.h"

#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/crc32c.h"
#include "base/file.h"
#include "base/mem.h"
#include "base/names.h"

/* The format's own limit; a longer header is a foreign file. */
enum { MAX_HEADER = 100000000, LENGTH_SIZE = 8 };

typedef struct Entry {
    StTensor tensor;
    uint64_t begin, end; /* bytes after the header */
    int place;           /* in the header: keeps tensors without data in a fixed order */
} Entry;

struct StFile {
    unsigned char *map;
    size_t map_size;
    const unsigned char *data; /* the bytes after the header */
    size_t data_size;
    json_t *header;
    const json_t *meta; /* NULL: none */
    Entry *entries;     /* in the order of the data */
    const StTensor **by_name;
    int n;
};

static int bad_file(const char *path, Err *err, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));
static int bad_tensor(const char *path, const char *name, Err *err, const char *fmt, ...)
    __attribute__((format(printf, 4, 5)));

static int bad_file(const char *path, Err *err, const char *fmt, ...)
{
    char reason[512];
    va_list args;
    va_start(args, fmt);
    vsnprintf(reason, sizeof reason, fmt, args);
    va_end(args);
    return err_set(err, "%s: %s; it is damaged or no safetensors file: copy or export it again",
                   path, reason);
}

static int bad_tensor(const char *path, const char *name, Err *err, const char *fmt, ...)
{
    char reason[512], shown[NAME_SHOWN_MAX];
    va_list args;
    va_start(args, fmt);
    vsnprintf(reason, sizeof reason, fmt, args);
    va_end(args);
    return err_set(err, "%s: tensor '%s' %s; the file is damaged: copy or export it again", path,
                   name_show(shown, name), reason);
}

static int map_file(StFile *file, const char *path, Err *err)
{
    struct stat info;
    /* Without O_NONBLOCK, opening a pipe would wait for its writer. */
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (fd < 0) return file_error(err, "open", path);
    if (fstat(fd, &info) != 0 || !S_ISREG(info.st_mode)) {
        close(fd);
        return err_set(err, "%s is not a regular file: name a .safetensors file", path);
    }
    if (info.st_size < LENGTH_SIZE) {
        close(fd);
        return bad_file(path, err, "it has only %lld bytes", (long long)info.st_size);
    }
    size_t size = (size_t)info.st_size;
    void *map = mmap(NULL, size, PROT_READ, MAP_PRIVATE, fd, 0);
    int code = errno;
    close(fd);
    errno = code;
    if (map == MAP_FAILED) return file_error(err, "map", path);
    file->map = map;
    file->map_size = size;
    return 0;
}

static int load_header(StFile *file, const char *path, Err *err)
{
    uint64_t length = 0;
    for (int i = LENGTH_SIZE - 1; i >= 0; i--) length = length << 8 | file->map[i];
    size_t rest = file->map_size - LENGTH_SIZE;
    if (length > MAX_HEADER)
        return bad_file(path, err, "its header claims %llu bytes (limit %d)",
                        (unsigned long long)length, MAX_HEADER);
    if (length > rest)
        return bad_file(path, err, "its header claims %llu bytes but only %zu follow",
                        (unsigned long long)length, rest);
    const char *text = (const char *)file->map + LENGTH_SIZE;
    if (length == 0 || text[0] != '{')
        return bad_file(path, err, "its header is not a JSON object");
    json_error_t where;
    char shown[NAME_SHOWN_MAX];
    file->header = json_loadb(text, (size_t)length, JSON_REJECT_DUPLICATES, &where);
    if (!file->header)
        return bad_file(path, err, "its header is not valid JSON at byte %d (%s)",
                        LENGTH_SIZE + where.position, name_show(shown, where.text));
    file->data = file->map + LENGTH_SIZE + length;
    file->data_size = rest - (size_t)length;
    return 0;
}

/* The digits count as zeros. A key cannot be found inside a text: its quotes would be escaped. */
static int check_sum(const StFile *file, const char *path, Err *err)
{
    char key[32], found[16];
    const char *stored = json_string_value(json_object_get(file->meta, st_checksum.key));
    size_t header = (size_t)(file->data - file->map), digits = strlen(st_checksum.value);
    if (!stored) return 0;
    snprintf(key, sizeof key, "\"%s\":\"", st_checksum.key);
    const unsigned char *at = memmem(file->map, header, key, strlen(key));
    if (!at || strlen(stored) != digits) return bad_file(path, err, "its checksum is none");
    at += strlen(key);
    uint32_t crc = crc32c(file->map, (size_t)(at - file->map));
    crc = crc32c_more(crc, st_checksum.value, digits);
    at += digits;
    crc = crc32c_more(crc, at, file->map_size - (size_t)(at - file->map));
    snprintf(found, sizeof found, "%08x", crc);
    if (strcmp(found, stored) == 0) return 0;
    return err_set(err,
                   "%s: its bytes are not those that were written (checksum %s, not %s): the "
                   "file is damaged; use a copy, or make it again",
                   path, found, stored);
}

static int check_meta(const char *path, json_t *meta, Err *err)
{
    char shown[NAME_SHOWN_MAX];
    if (!json_is_object(meta)) return bad_file(path, err, "its __metadata__ is not an object");
    for (void *at = json_object_iter(meta); at; at = json_object_iter_next(meta, at)) {
        if (!json_is_string(json_object_iter_value(at)))
            return bad_file(path, err, "its __metadata__ entry '%s' is not a string",
                            name_show(shown, json_object_iter_key(at)));
    }
    return 0;
}

static int parse_type(StTensor *t, const json_t *dtype, const char *path, Err *err)
{
    char shown[NAME_SHOWN_MAX], shown_type[NAME_SHOWN_MAX];
    const char *text = json_string_value(dtype);
    if (!text) return bad_tensor(path, t->name, err, "has no dtype string");
    for (int type = 0; type <= ST_BOOL; type++) {
        t->type = (StType)type;
        if (strcmp(text, st_type_name(t->type)) == 0) return 0;
    }
    return err_set(err,
                   "%s: tensor '%s' has the type '%s', which is not supported: convert it to "
                   "F32 or BF16",
                   path, name_show(shown, t->name), name_show(shown_type, text));
}

static int parse_shape(StTensor *t, const json_t *shape, const char *path, Err *err)
{
    if (!json_is_array(shape)) return bad_tensor(path, t->name, err, "has no shape array");
    size_t n = json_array_size(shape);
    if (n > ST_MAX_DIMS)
        return bad_tensor(path, t->name, err, "has %zu dimensions (limit %d)", n, ST_MAX_DIMS);
    t->n_dims = (int)n;
    t->n_elements = 1;
    for (size_t i = 0; i < n; i++) {
        const json_t *dim = json_array_get(shape, i);
        t->shape[i] = json_integer_value(dim);
        if (!json_is_integer(dim) || t->shape[i] < 0)
            return bad_tensor(path, t->name, err, "has a shape that is not of whole numbers");
        if (__builtin_mul_overflow(t->n_elements, t->shape[i], &t->n_elements))
            return bad_tensor(path, t->name, err, "has an absurdly large shape");
    }
    return 0;
}

static int parse_span(Entry *e, const json_t *offsets, const StFile *file, const char *path,
                      Err *err)
{
    const StTensor *t = &e->tensor;
    const json_t *first = json_array_get(offsets, 0), *second = json_array_get(offsets, 1);
    if (json_array_size(offsets) != 2 || !json_is_integer(first) || !json_is_integer(second))
        return bad_tensor(path, t->name, err, "has no pair of data_offsets");
    json_int_t begin = json_integer_value(first), end = json_integer_value(second);
    if (begin < 0 || begin > end || (uint64_t)end > file->data_size)
        return bad_tensor(path, t->name, err, "claims bytes %lld to %lld of %zu", (long long)begin,
                          (long long)end, file->data_size);
    int64_t size;
    if (__builtin_mul_overflow(t->n_elements, (int64_t)st_type_size(t->type), &size) ||
        size != end - begin)
        return bad_tensor(path, t->name, err, "needs %lld %s elements but has %lld bytes",
                          (long long)t->n_elements, st_type_name(t->type),
                          (long long)(end - begin));
    e->begin = (uint64_t)begin;
    e->end = (uint64_t)end;
    return 0;
}

static int parse_entry(Entry *e, const char *name, const json_t *value, const StFile *file,
                       const char *path, Err *err)
{
    e->tensor.name = name;
    if (!json_is_object(value)) return bad_tensor(path, name, err, "is not described by an object");
    TRY(parse_type(&e->tensor, json_object_get(value, "dtype"), path, err));
    TRY(parse_shape(&e->tensor, json_object_get(value, "shape"), path, err));
    TRY(parse_span(e, json_object_get(value, "data_offsets"), file, path, err));
    e->tensor.data = file->data + e->begin;
    return 0;
}

static int parse_entries(StFile *file, const char *path, Err *err)
{
    json_t *header = file->header;
    size_t n = json_object_size(header);
    file->entries = calloc(n + 1, sizeof *file->entries);
    file->by_name = calloc(n + 1, sizeof *file->by_name);
    mem_need(file->entries && file->by_name, "%zu tensors", n);
    for (void *at = json_object_iter(header); at; at = json_object_iter_next(header, at)) {
        const char *key = json_object_iter_key(at);
        json_t *value = json_object_iter_value(at);
        if (strcmp(key, "__metadata__") == 0) {
            TRY(check_meta(path, value, err));
            file->meta = value;
            continue;
        }
        Entry *e = &file->entries[file->n];
        TRY(parse_entry(e, key, value, file, path, err));
        e->place = file->n++;
    }
    return 0;
}

static int compare_begin(const void *a, const void *b)
{
    const Entry *x = a, *y = b;
    if (x->begin != y->begin) return x->begin < y->begin ? -1 : 1;
    if (x->end != y->end) return x->end < y->end ? -1 : 1;
    return x->place < y->place ? -1 : 1;
}

static int compare_name(const void *a, const void *b)
{
    const StTensor *const *x = a, *const *y = b;
    return strcmp((*x)->name, (*y)->name);
}

/* The format allows neither holes nor overlaps: in order, each tensor begins where one ended. */
static int check_tiling(const StFile *file, const char *path, Err *err)
{
    uint64_t at = 0;
    for (int i = 0; i < file->n; i++) {
        const Entry *e = &file->entries[i];
        if (e->begin != at)
            return bad_tensor(path, e->tensor.name, err, "begins at byte %llu, %s byte %llu",
                              (unsigned long long)e->begin,
                              e->begin < at ? "inside another that ends at" : "after a hole from",
                              (unsigned long long)at);
        at = e->end;
    }
    if (at != file->data_size)
        return bad_file(path, err, "%llu bytes of it belong to no tensor",
                        (unsigned long long)(file->data_size - at));
    return 0;
}

static int load(StFile *file, const char *path, Err *err)
{
    TRY(map_file(file, path, err));
    TRY(load_header(file, path, err));
    TRY(parse_entries(file, path, err));
    qsort(file->entries, (size_t)file->n, sizeof *file->entries, compare_begin);
    TRY(check_tiling(file, path, err));
    TRY(check_sum(file, path, err));
    for (int i = 0; i < file->n; i++) file->by_name[i] = &file->entries[i].tensor;
    qsort(file->by_name, (size_t)file->n, sizeof *file->by_name, compare_name);
    return 0;
}

int st_open(StFile **out, const char *path, Err *err)
{
    StFile *file = calloc(1, sizeof *file);
    mem_need(file, "%s", path);
    if (load(file, path, err) < 0) {
        st_close(file);
        return -1;
    }
    *out = file;
    return 0;
}

void st_close(StFile *file)
{
    if (!file) return;
    if (file->map) munmap(file->map, file->map_size);
    json_decref(file->header);
    free(file->entries);
    free(file->by_name);
    free(file);
}

int st_count(const StFile *file)
{
    return file->n;
}

const StTensor *st_at(const StFile *file, int i)
{
    CHECK(i >= 0 && i < file->n, "tensor %d of %d", i, file->n);
    return &file->entries[i].tensor;
}

const StTensor *st_find(const StFile *file, const char *name)
{
    const StTensor key = {.name = name}, *wanted = &key;
    const StTensor **found =
        bsearch(&wanted, file->by_name, (size_t)file->n, sizeof *file->by_name, compare_name);
    return found ? *found : NULL;
}

const char *st_meta(const StFile *file, const char *key)
{
    return json_string_value(json_object_get(file->meta, key));
}
