/* zarr arrays: recorded ones, written ones; the cache under threads. */
#include "paths.h"
#include "zarr_fixture.h"

#include <jansson.h>
#include <pthread.h>

#include "base/crc32c.h"
#include "base/file.h"
#include "data/token_source.h"
#include "data/widen.h"
#include "data/zarr_source.h"
#include "data/zarr_writer.h"

/* --- recorded arrays -------------------------------------------------------------------------- */

static int64_t whole(const json_t *list, size_t i)
{
    return json_integer_value(json_array_get(list, i));
}

static void check_recorded(const char *root, const char *name, const json_t *expected)
{
    char dir[600], group[64], split[16];
    Err err;
    TokenSource *source;
    assert_int_equal(sscanf(name, "%63[^/]/%15s", group, split), 2);
    snprintf(dir, sizeof dir, "%s/%s", root, group);
    if (token_source_open(&source, dir, split, &err) < 0) fail_msg("%s", err.text);
    int64_t n = token_source_length(source), sum = 0, dot = 0;
    assert_int_equal(n, whole(json_object_get(expected, "shape"), 0));
    int32_t *ids = calloc((size_t)n, sizeof *ids);
    if (token_source_read(source, 0, n, ids, &err) < 0) fail_msg("%s", err.text);
    for (int64_t i = 0; i < n; i++) {
        sum += ids[i];
        dot += ids[i] * (i % 97);
    }
    assert_int_equal(sum, json_integer_value(json_object_get(expected, "sum")));
    assert_int_equal(dot, json_integer_value(json_object_get(expected, "dot")));
    const json_t *first = json_object_get(expected, "first"),
                 *last = json_object_get(expected, "last");
    for (size_t i = 0; i < json_array_size(first); i++) {
        assert_int_equal(ids[i], whole(first, i));
        assert_int_equal(ids[(size_t)n - json_array_size(last) + i], whole(last, i));
    }
    assert_string_equal(int_type_name(zarr_array_meta(zarr_source_array(source))->type),
                        json_string_value(json_object_get(expected, "dtype")));
    free(ids);
    token_source_close(source);
}

static void recorded_arrays(void **state)
{
    (void)state;
    json_t *all = json_load_file(source_file("tests/fixtures/zarr/expected.json"), 0, NULL);
    json_t *expected;
    const char *name, *root = source_file("tests/fixtures/zarr");
    assert_int_equal(json_object_size(all), 8);
    json_object_foreach(all, name, expected) check_recorded(root, name, expected);
    json_decref(all);
}

/* The tokens of zarr_peer.py. */
static int32_t peer_token(int64_t i, IntType type)
{
    int bits = 8 * type.size - (type.is_signed ? 1 : 0);
    uint64_t most = bits >= 31 ? INT32_MAX - 1 : ((uint64_t)1 << bits) - 1;
    uint64_t limit = most + 1 < 130000 ? most + 1 : 130000;
    return (int32_t)((((uint64_t)i * 2654435761u) >> 7) % limit);
}

static void check_peer_group(const char *dir, const char *split, int64_t length)
{
    Err err;
    TokenSource *source;
    int32_t ids[500];
    if (token_source_open(&source, dir, split, &err) < 0) fail_msg("%s", err.text);
    IntType type = zarr_array_meta(zarr_source_array(source))->type;
    assert_int_equal(token_source_length(source), length);
    if (token_source_read(source, 0, length, ids, &err) < 0) fail_msg("%s", err.text);
    for (int64_t i = 0; i < length; i++)
        if (ids[i] != peer_token(i, type))
            fail_msg("%s/%s: token %d is %d, not %d", dir, split, (int)i, ids[i],
                     peer_token(i, type));
    token_source_close(source);
}

static void peer_arrays(void **state)
{
    const Fixture *f = *state;
    const char *hashes = source_file("tests/fixtures/zarr_python.txt");
    char name[256], last[256] = "", dir[600];
    int groups = 0;
    char *text, *save;
    size_t size;
    Err err;
    assert_int_equal(file_read(hashes, &text, &size, 1 << 22, &err), 0);
    for (char *line = strtok_r(text, "\n", &save); line; line = strtok_r(NULL, "\n", &save)) {
        char *hex = strchr(line, ' ');
        assert_non_null(hex);
        *hex++ = 0;
        size_t n = strlen(hex) / 2;
        unsigned char *bytes = malloc(n + 1);
        for (size_t i = 0; i < n; i++) {
            unsigned value;
            assert_int_equal(sscanf(hex + 2 * i, "%2x", &value), 1);
            bytes[i] = (unsigned char)value;
        }
        put(f->dir, line, bytes, n);
        free(bytes);
        snprintf(name, sizeof name, "%.*s", (int)strcspn(line, "/"), line);
        if (strcmp(name, last) != 0) groups++;
        memcpy(last, name, sizeof last);
    }
    assert_int_equal(groups, 20);
    free(text);
    assert_int_equal(file_read(hashes, &text, &size, 1 << 22, &err), 0);
    last[0] = 0;
    for (char *line = strtok_r(text, "\n", &save); line; line = strtok_r(NULL, "\n", &save)) {
        snprintf(name, sizeof name, "%.*s", (int)strcspn(line, "/"), line);
        if (strcmp(name, last) == 0) continue;
        memcpy(last, name, sizeof last);
        snprintf(dir, sizeof dir, "%s/%s", f->dir, name);
        check_peer_group(dir, "train", 500);
        check_peer_group(dir, "val", 30);
    }
    free(text);
}

/* --- written arrays --------------------------------------------------------------------------- */

static void check_read(ZarrArray *a, int64_t from, int64_t n)
{
    Err err;
    int32_t *ids = calloc((size_t)n + 1, sizeof *ids);
    if (zarr_array_read(a, from, n, 60000, ids, &err) < 0) fail_msg("%s", err.text);
    for (int64_t i = 0; i < n; i++) assert_int_equal(ids[i], token_of(from + i));
    free(ids);
}

/* Reads of all sizes, in order and not, with room for everything and for next to nothing. */
static void written_arrays(void **state)
{
    const Fixture *f = *state;
    static const char *const layouts[] = {"uint16 100 100 none",
                                          "uint16 64 640 blosc:lz4:5:shuffle+crc32c",
                                          "int32 100000 100000 blosc:zstd:3:shuffle",
                                          "uint32 1 7 zstd:3",
                                          "int64 333 999 gzip:1",
                                          "int32 200000 200000 blosc:lz4:1:bitshuffle",
                                          "int32 131072 131072 blosc:zstd:3:noshuffle",
                                          "uint64 70000 70000 blosc:zstd:1:shuffle"};
    enum { N = 150001 };
    for (int k = 0; k < ARRAY_LEN(layouts); k++) {
        char dir[600], array[700];
        int64_t n = k == 3 ? 1001 : N;
        snprintf(dir, sizeof dir, "%s/%d", f->dir, k);
        snprintf(array, sizeof array, "%.500s/train", dir);
        write_array(dir, layouts[k], n, 2);
        for (int64_t cache = 1; cache <= 1 << 24; cache *= 1 << 12) {
            ZarrArray *a;
            Err err;
            assert_int_equal(zarr_array_open(&a, array, cache, &err), 0);
            check_read(a, 0, n);
            for (int64_t i = 0; i < 50; i++) {
                int64_t from = i * 7919 % n, size = i * 131 % 1000;
                check_read(a, from, size < n - from ? size : n - from);
            }
            for (int64_t at = 0; at < n - 300; at += 299) check_read(a, at, 300); /* a stream */
            zarr_array_close(a);
        }
    }
}

/* The same bytes whatever the number of threads. */
static void writing_is_the_same(void **state)
{
    const Fixture *f = *state;
    char dirs[2][600], path[700], *files[2];
    size_t sizes[2];
    Err err;
    for (int k = 0; k < 2; k++) {
        snprintf(dirs[k], sizeof dirs[k], "%s/%d", f->dir, k);
        write_array(dirs[k], "uint16 500 5000 blosc:zstd:3:shuffle+crc32c", 12345, 1 + 3 * k);
        snprintf(path, sizeof path, "%.500s/train/c/2", dirs[k]);
        assert_int_equal(file_read(path, &files[k], &sizes[k], 1 << 20, &err), 0);
    }
    assert_int_equal(sizes[0], sizes[1]);
    assert_memory_equal(files[0], files[1], sizes[0]);
    free(files[0]);
    free(files[1]);
}

typedef struct Reader {
    ZarrArray *array;
    int64_t seed, n;
    int wrong;
} Reader;

static void *read_on_thread(void *context)
{
    Reader *r = context;
    int32_t ids[700];
    Err err;
    for (int64_t i = 0; i < 300; i++) {
        int64_t from = (i * 7919 + r->seed * 104729) % (r->n - 700);
        if (zarr_array_read(r->array, from, 700, 60000, ids, &err) < 0) r->wrong++;
        for (int64_t k = 0; k < 700; k++) r->wrong += ids[k] != token_of(from + k);
    }
    return NULL;
}

/* Several threads on one array with a cache of fewer units than threads want at once. */
static void threads_share_an_array(void **state)
{
    const Fixture *f = *state;
    enum { THREADS = 4, N = 50000 };
    char path[600];
    Err err;
    ZarrArray *a;
    pthread_t threads[THREADS];
    Reader readers[THREADS];
    write_array(f->dir, "uint16 64 128 blosc:zstd:1:shuffle", N, 1);
    snprintf(path, sizeof path, "%.500s/train", f->dir);
    assert_int_equal(zarr_array_open(&a, path, 1, &err), 0);
    for (int i = 0; i < THREADS; i++) {
        readers[i] = (Reader){.array = a, .seed = i, .n = N};
        assert_int_equal(pthread_create(&threads[i], NULL, read_on_thread, &readers[i]), 0);
    }
    for (int i = 0; i < THREADS; i++) {
        pthread_join(threads[i], NULL);
        assert_int_equal(readers[i].wrong, 0);
    }
    zarr_array_close(a);
}

static void integers_widen(void **state)
{
    (void)state;
    static const int sizes[] = {1, 2, 4, 8};
    enum { N = 2100 };
    static unsigned char bytes[8 * N];
    static int32_t out[N];
    for (int s = 0; s < 4; s++)
        for (int form = 0; form < 4; form++) {
            IntType type = {sizes[s], (form & 1) != 0, (form & 2) != 0};
            for (int i = 0; i < N; i++) int_store(type, i % 120, bytes + i * type.size);
            assert_int_equal(widen(type, bytes, N, 120, out), -1);
            for (int i = 0; i < N; i++) assert_int_equal(out[i], i % 120);
            assert_int_equal(widen(type, bytes, N, 119, out), 119);
            int_store(type, -1, bytes + 1500 * type.size);
            assert_int_equal(widen(type, bytes, N, 120, out), 1500);
            if (type.size < 8) continue;
            int_store(type, ((int64_t)1 << 32) + 5, bytes + 1500 * type.size);
            assert_int_equal(widen(type, bytes, N, 120, out), 1500);
        }
    assert_int_equal(crc32c("123456789", 9), 0xe3069283); /* the check value of CRC-32C */
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(recorded_arrays),
        cmocka_unit_test_setup_teardown(peer_arrays, setup, teardown),
        cmocka_unit_test_setup_teardown(written_arrays, setup, teardown),
        cmocka_unit_test_setup_teardown(writing_is_the_same, setup, teardown),
        cmocka_unit_test_setup_teardown(threads_share_an_array, setup, teardown),
        cmocka_unit_test(integers_widen),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
