/* zarr arrays: recorded ones, written ones, damaged ones; the cache under threads. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>
#include <jansson.h>
#include <pthread.h>

#include "base/file.h"
#include "data/codec_kinds.h"
#include "data/dataset_check.h"
#include "data/token_source.h"
#include "data/widen.h"
#include "data/zarr_source.h"
#include "data/zarr_writer.h"

typedef struct Fixture {
    char dir[256];
} Fixture;

static int setup(void **state)
{
    Fixture *f = calloc(1, sizeof *f);
    const char *tmp = getenv("TMPDIR");
    snprintf(f->dir, sizeof f->dir, "%.200s/ttt-zarr-XXXXXX", tmp != NULL ? tmp : "/tmp");
    assert_non_null(mkdtemp(f->dir));
    *state = f;
    return 0;
}

static int teardown(void **state)
{
    Fixture *f = *state;
    Err err;
    assert_int_equal(dir_remove(f->dir, &err), 0);
    free(f);
    return 0;
}

static void put(const char *dir, const char *name, const void *data, size_t size)
{
    char path[1024], parent[1024];
    Err err;
    snprintf(path, sizeof path, "%s/%s", dir, name);
    assert_int_equal(path_parent(parent, sizeof parent, path, &err), 0);
    assert_int_equal(dir_make(parent, &err), 0);
    assert_int_equal(file_write_atomic(path, data, size, &err), 0);
}

static void assert_mentions(const Err *err, const char *part)
{
    if (strstr(err->text, part) == NULL) fail_msg("'%s' does not mention '%s'", err->text, part);
    assert_null(strchr(err->text, '\n'));
}

static const char *source_dir(void)
{
    const char *dir = getenv("TTT_SOURCE_DIR");
    if (dir == NULL) skip();
    return dir;
}

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
    char root[512], path[600];
    snprintf(root, sizeof root, "%s/tests/fixtures/zarr", source_dir());
    snprintf(path, sizeof path, "%s/expected.json", root);
    json_t *all = json_load_file(path, 0, NULL), *expected;
    const char *name;
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
    char path[600], name[256], last[256] = "", dir[600];
    int groups = 0;
    snprintf(path, sizeof path, "%s/tests/fixtures/zarr_python.txt", source_dir());
    char *text, *save;
    size_t size;
    Err err;
    assert_int_equal(file_read(path, &text, &size, 1 << 22, &err), 0);
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
    assert_int_equal(file_read(path, &text, &size, 1 << 22, &err), 0);
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

static int32_t token_of(int64_t i)
{
    return (int32_t)(((uint64_t)i * 2654435761u >> 5) % 60000);
}

/* layout: "TYPE CHUNK SHARD CODECS", for an array of n tokens at DIR/train. */
static void write_array(const char *dir, const char *layout, int64_t n, int threads)
{
    char type[16], codecs[64], path[600];
    long long chunk, shard;
    Err err;
    ZarrWriter *writer;
    assert_int_equal(sscanf(layout, "%15s %lld %lld %63s", type, &chunk, &shard, codecs), 4);
    ZarrMeta m = {.format = 3,
                  .chunk = shard,
                  .inner = chunk,
                  .sharded = chunk != shard,
                  .index_crc = true,
                  .key_prefix = true,
                  .separator = '/'};
    assert_true(int_type_find(&m.type, type));
    if (chain_parse(&m.chain, codecs, m.type.size, &err) < 0) fail_msg("%s", err.text);
    snprintf(path, sizeof path, "%.500s/train", dir);
    assert_int_equal(zarr_writer_open(&writer, &m, path, threads, &err), 0);
    for (int64_t i = 0; i < n; i++) {
        int32_t id = token_of(i);
        assert_int_equal(zarr_writer_add(writer, &id, 1, &err), 1);
    }
    assert_int_equal(zarr_writer_finish(writer, &err), 0);
    zarr_writer_close(writer);
}

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

/* --- damage ----------------------------------------------------------------------------------- */

static void assert_read_fails(const char *dir, const char *part, const char *more)
{
    Err err;
    TokenSource *source;
    int32_t ids[2000];
    int status = token_source_open(&source, dir, "train", &err);
    if (status == 0) {
        int64_t n = token_source_length(source);
        status = token_source_read(source, 0, n < 2000 ? n : 2000, ids, &err);
        token_source_close(source);
    }
    assert_int_equal(status, -1);
    assert_mentions(&err, part);
    assert_mentions(&err, more);
    assert_mentions(&err, dir);
}

static const char good_meta[] =
    "{\"zarr_format\": 3, \"node_type\": \"array\", \"shape\": [1000], \"data_type\": \"uint16\","
    " \"chunk_grid\": {\"name\": \"regular\", \"configuration\": {\"chunk_shape\": [400]}},"
    " \"chunk_key_encoding\": {\"name\": \"default\", \"configuration\": {\"separator\": \"/\"}},"
    " \"fill_value\": 0, \"codecs\": [{\"name\": \"bytes\", \"configuration\": {\"endian\": "
    "\"little\"}}, {\"name\": \"zstd\", \"configuration\": {\"level\": 3}}],"
    " \"attributes\": {}, \"storage_transformers\": []}";

static void bad_metadata(void **state)
{
    const Fixture *f = *state;
    static const char *const edits[][3] = {
        {"[1000]", "[1000, 2]", "2 dimensions"},
        {"[1000]", "[]", "0 dimensions"},
        {"[1000]", "[-1]", "shape is -1"},
        {"[1000]", "[1152921504606846976]", "outside 0 to"},
        {"[1000]", "[99999999999999999999]", "zarr.json:1"},
        {"[1000]", "\"x\"", "shape is missing"},
        {"[400]", "[0]", "chunk_shape is 0"},
        {"[400]", "[-400]", "chunk_shape is -400"},
        {"[400]", "[1152921504606846976]", "outside 1 to"},
        {"[400]", "[100000000000000]", "MB decoded"},
        {"\"uint16\"", "\"float32\"", "float32"},
        {"\"zstd\"", "\"lz5\"", "codec 'lz5'"},
        {"{\"level\": 3}", "{\"level\": \"x\"}", "level"},
        {"\"bytes\"", "\"vlen-utf8\"", "vlen-utf8"},
        {"\"little\"", "\"middle\"", "middle"},
        {"\"regular\"", "\"rectangular\"", "chunk_grid"},
        {"\"default\"", "\"other\"", "chunk_key_encoding"},
        {"\"separator\": \"/\"", "\"separator\": \"../../\"", "separator"},
        {"\"fill_value\": 0", "\"fill_value\": 65536", "fill_value"},
        {"\"fill_value\": 0", "\"fill_value\": \"NaN\"", "fill_value"},
        {"\"storage_transformers\": []", "\"storage_transformers\": [{}]", "storage_transformers"},
        {"\"attributes\": {}", "\"new_thing\": {}", "new_thing"},
        {"\"array\"", "\"group\"", "node_type"},
        {"\"zarr_format\": 3", "\"zarr_format\": 4", "zarr_format"},
        {"{", "", "zarr.json:1"}};
    for (int i = 0; i < ARRAY_LEN(edits); i++) {
        char changed[2048];
        const char *at = strstr(good_meta, edits[i][0]);
        assert_non_null(at);
        int n = snprintf(changed, sizeof changed, "%.*s%s%s", (int)(at - good_meta), good_meta,
                         edits[i][1], at + strlen(edits[i][0]));
        put(f->dir, "train/zarr.json", changed, (size_t)n);
        assert_read_fails(f->dir, edits[i][2], "/train");
    }
    put(f->dir, "train/zarr.json", good_meta, strlen(good_meta)); /* all gaps: all 0 */
    TokenSource *source;
    Err err;
    int32_t ids[1000];
    assert_int_equal(token_source_open(&source, f->dir, "train", &err), 0);
    assert_int_equal(token_source_read(source, 0, 1000, ids, &err), 0);
    assert_int_equal(ids[999], 0);
    assert_int_equal(token_source_open(&source, f->dir, "..", &err), -1);
    assert_int_equal(token_source_open(&source, f->dir, "test", &err), -1);
    assert_mentions(&err, "no array 'test'");
}

/* Changes the file of a chunk and says what reading it must say. */
static void damage_file(const char *dir, const char *part, int64_t at, int value, int64_t cut)
{
    char path[600], *data;
    size_t size;
    Err err;
    snprintf(path, sizeof path, "%.500s/train/c/1", dir);
    assert_int_equal(file_read(path, &data, &size, 1 << 20, &err), 0);
    char *copy = malloc(size + 1);
    memcpy(copy, data, size);
    int64_t place = at < 0 ? (int64_t)size + at : at;
    copy[place] = (char)value;
    assert_int_equal(file_write_atomic(path, copy, size - (size_t)cut, &err), 0);
    assert_read_fails(dir, part, "train/c/1: ");
    assert_int_equal(file_write_atomic(path, data, size, &err), 0);
    free(copy);
    free(data);
}

static void damaged_chunks(void **state)
{
    const Fixture *f = *state;
    static const struct {
        const char *layout, *part;
        int64_t at;
        int value;
        int64_t cut;
    } cases[] = {
        {"uint16 400 400 none", "bytes, not 800", 0, 0, 1},
        {"uint16 400 400 zstd:3", "zstd", 0, 0, 0},
        {"uint16 400 400 zstd:3", "zstd", 20, 0, 9},
        {"uint16 400 400 gzip:3", "gzip", 0, 0, 0},
        {"uint16 400 400 gzip:3", "gzip", 30, 1, 20},
        {"uint16 400 400 crc32c", "crc32c", 5, 99, 0},
        {"uint16 400 400 blosc:lz4:5:shuffle", "blosc", 0, 0, 1},      /* cut off */
        {"uint16 400 400 blosc:lz4:5:shuffle", "blosc", 4, 0x7f, 0},   /* decoded size */
        {"uint16 400 400 blosc:lz4:5:shuffle", "blosc", 5, 1, 0},      /* the same, smaller */
        {"uint16 400 400 blosc:zstd:5:shuffle", "blosc", 7, 0x7f, 0},  /* 2 GB */
        {"uint16 400 400 blosc:zstd:5:shuffle", "blosc", 11, 0x80, 0}, /* block: negative */
        {"uint16 400 400 blosc:zstd:5:shuffle", "blosc", 16, 0xff, 0}, /* start of a block */
        {"uint16 400 400 blosc:zstd:5:shuffle", "blosc", 23, 0x7f, 0}, /* size of a stream */
        {"uint16 100 400 zstd:3", "index", -1, 0, 1},                  /* index checksum */
        {"uint16 100 400 zstd:3", "index", -10, 0x55, 0},
        {"uint16 100 400 zstd:3+crc32c", "chunk 0 of the shard", 3, 0x55, 0},
    };
    for (int i = 0; i < ARRAY_LEN(cases); i++) {
        char dir[600];
        snprintf(dir, sizeof dir, "%s/%d", f->dir, i);
        write_array(dir, cases[i].layout, 1000, 1);
        damage_file(dir, cases[i].part, cases[i].at, cases[i].value, cases[i].cut);
    }
}

/* An index without a checksum may say anything. */
static void foreign_index(void **state)
{
    const Fixture *f = *state;
    static const uint64_t entries[][2] = {{0, 1 << 20},        {1 << 20, 10},
                                          {UINT64_MAX, 5},     {5, UINT64_MAX},
                                          {UINT64_MAX - 3, 8}, {(uint64_t)1 << 63, 1}};
    static const char meta[] =
        "{\"zarr_format\": 3, \"node_type\": \"array\", \"shape\": [4], \"data_type\": \"uint16\","
        " \"chunk_grid\": {\"name\": \"regular\", \"configuration\": {\"chunk_shape\": [4]}},"
        " \"fill_value\": 0, \"codecs\": [{\"name\": \"sharding_indexed\", \"configuration\": "
        "{\"chunk_shape\": [4], \"codecs\": [{\"name\": \"bytes\"}], \"index_codecs\": "
        "[{\"name\": \"bytes\"}]}}]}";
    put(f->dir, "train/zarr.json", meta, strlen(meta));
    for (int i = 0; i < ARRAY_LEN(entries); i++) {
        unsigned char shard[8 + 16] = {1, 0, 2, 0, 3, 0, 4, 0};
        for (int k = 0; k < 16; k++)
            shard[8 + k] = (unsigned char)(entries[i][k / 8] >> (8 * (k % 8)));
        put(f->dir, "train/c/0", shard, sizeof shard);
        assert_read_fails(f->dir, "outside the shard", "c/0");
    }
    put(f->dir, "train/c/0", "short", 5);
    assert_read_fails(f->dir, "too few for the index", "c/0");
    put(f->dir, "train/c/0", "", 0);
    assert_read_fails(f->dir, "is empty", "c/0");
    char path[600];
    snprintf(path, sizeof path, "%.500s/train/c/0", f->dir);
    assert_int_equal(remove(path), 0);
    assert_int_equal(mkdir(path, 0700), 0);
    assert_read_fails(f->dir, "not a file", "c/0");
}

static void version_two(void **state)
{
    const Fixture *f = *state;
    static const char *const cases[][2] = {
        {"{\"zarr_format\": 2, \"shape\": [4], \"chunks\": [4], \"dtype\": \"<f4\"}", "<f4"},
        {"{\"zarr_format\": 2, \"shape\": [4], \"chunks\": [4], \"dtype\": \"<i4\", "
         "\"filters\": [{\"id\": \"delta\"}]}",
         "filters"},
        {"{\"zarr_format\": 2, \"shape\": [4], \"chunks\": [4], \"dtype\": \"<i4\", "
         "\"compressor\": {\"id\": \"lzma\"}}",
         "compressor 'lzma'"},
        {"{\"zarr_format\": 2, \"shape\": [4], \"chunks\": [0], \"dtype\": \"<i4\"}",
         "chunks is 0"},
        {"{\"zarr_format\": 3, \"shape\": [4], \"chunks\": [4], \"dtype\": \"<i4\"}",
         "zarr_format"}};
    for (int i = 0; i < ARRAY_LEN(cases); i++) {
        put(f->dir, "train/.zarray", cases[i][0], strlen(cases[i][0]));
        assert_read_fails(f->dir, cases[i][1], ".zarray");
    }
}

/* `check` names the first file that is not right. */
static void check_names_the_file(void **state)
{
    const Fixture *f = *state;
    char path[600];
    CheckReport report;
    CheckOptions options = {.quiet = true};
    Err err;
    write_array(f->dir, "uint16 100 100 zstd:3", 1000, 1);
    assert_int_equal(dataset_check(&report, f->dir, "train", &options, &err), 0);
    assert_int_equal(report.tokens, 1000);
    assert_int_equal(report.files, 10);
    options.vocab_size = 1000;
    assert_int_equal(dataset_check(&report, f->dir, "train", &options, &err), -1);
    assert_mentions(&err, "outside the vocabulary of 1000");
    options.vocab_size = 0;
    snprintf(path, sizeof path, "%.500s/train/c/7", f->dir);
    assert_int_equal(remove(path), 0);
    assert_int_equal(dataset_check(&report, f->dir, "train", &options, &err), -1);
    assert_mentions(&err, "c/7 is missing (1 of 10");
    options.gaps_are_fine = true;
    assert_int_equal(dataset_check(&report, f->dir, "train", &options, &err), 0);
    assert_int_equal(report.missing, 1);
    put(f->dir, "train/c/4", "damaged", 7);
    put(f->dir, "train/c/6", "damaged", 7);
    assert_int_equal(dataset_check(&report, f->dir, "train", &options, &err), -1);
    assert_mentions(&err, "c/4: ");
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
        cmocka_unit_test_setup_teardown(bad_metadata, setup, teardown),
        cmocka_unit_test_setup_teardown(damaged_chunks, setup, teardown),
        cmocka_unit_test_setup_teardown(foreign_index, setup, teardown),
        cmocka_unit_test_setup_teardown(version_two, setup, teardown),
        cmocka_unit_test_setup_teardown(check_names_the_file, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
