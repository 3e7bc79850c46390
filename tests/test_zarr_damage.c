/* Bad zarr arrays: metadata that cannot be, chunks that are damaged, indices that lie. Each is
 * refused in one line that names the file. */
#include "zarr_fixture.h"

#include <sys/stat.h>

#include "data/dataset_check.h"
#include "data/token_source.h"

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
    token_source_close(source);
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
/* A file that shrinks while it is open is an error like others, not the end of the process. */
static void file_cut_short(void **state)
{
    const Fixture *f = *state;
    static const char *const layouts[] = {"int32 200000 200000 none", "int32 1000 200000 none",
                                          "int32 500 200000 crc32c"};
    for (int i = 0; i < ARRAY_LEN(layouts); i++) {
        char dir[600], path[700];
        TokenSource *source;
        Err err;
        int32_t ids[2000];
        snprintf(dir, sizeof dir, "%s/short%d", f->dir, i);
        snprintf(path, sizeof path, "%s/train/c/0", dir);
        write_array(dir, layouts[i], 200000, 1);
        assert_int_equal(token_source_open(&source, dir, "train", &err), 0);
        assert_int_equal(token_source_read(source, 0, 100, ids, &err), 0);
        assert_int_equal(truncate(path, 5000), 0);
        assert_int_equal(token_source_read(source, 190000, 2000, ids, &err), -1);
        assert_mentions(&err, "cut short");
        assert_mentions(&err, "train/c/0: ");
        token_source_close(source);
    }
}

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
        cmocka_unit_test_setup_teardown(bad_metadata, setup, teardown),
        cmocka_unit_test_setup_teardown(damaged_chunks, setup, teardown),
        cmocka_unit_test_setup_teardown(file_cut_short, setup, teardown),
        cmocka_unit_test_setup_teardown(foreign_index, setup, teardown),
        cmocka_unit_test_setup_teardown(version_two, setup, teardown),
        cmocka_unit_test_setup_teardown(check_names_the_file, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
