/* safetensors files: what is written is read back, and no damaged file is let through. */
#include <dirent.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/file.h"
#include "base/rng.h"
#include "base/safetensors.h"
#include "own_folder.h"

/* Opening the file must fail, in one line that has all of: the file's name, part, a next step. */
static void assert_refused(const char *path, const char *part)
{
    Err err = {""};
    StFile *file = NULL;
    if (st_open(&file, path, &err) == 0) fail_msg("accepted, but wanted '%s'", part);
    assert_null(file);
    if (!strstr(err.text, part)) fail_msg("'%s' is not in '%s'", part, err.text);
    assert_non_null(strstr(err.text, path));
    assert_true(strstr(err.text, ": ") && !strchr(err.text, '\n'));
}

static void put_file(const char *path, uint64_t claimed, const char *rest, size_t size)
{
    Err err;
    AtomicFile file;
    assert_int_equal(atomic_open(&file, path, &err), 0);
    assert_int_equal(atomic_write(&file, &claimed, 8, &err), 0);
    assert_int_equal(atomic_write(&file, rest, size, &err), 0);
    assert_int_equal(atomic_commit(&file, &err), 0);
}

/* A file of this header and n_data zero bytes. */
static void put_header(const char *header, size_t n_data)
{
    size_t length = strlen(header);
    char *rest = calloc(1, length + n_data + 1);
    memcpy(rest, header, length);
    put_file("x.safetensors", length, rest, length + n_data);
    free(rest);
}

static void assert_header_refused(const char *header, size_t n_data, const char *part)
{
    put_header(header, n_data);
    assert_refused("x.safetensors", part);
}

static const float weights[6] = {1, -2, 3.5f, 0, -0.0f, 1e-40f};
static const double wide[2] = {0.1, -1e300};
static const int32_t tokens[3] = {5, -6, 7};

static int write_sample(const char *path, Err *err)
{
    const StTensor tensors[] = {
        {"z.weight", ST_F32, 2, {2, 3}, 6, weights}, {"empty", ST_F32, 2, {0, 4}, 0, NULL},
        {"odd", ST_U8, 1, {5}, 5, "hello"},          {"a", ST_F64, 1, {2}, 2, wide},
        {"scalar", ST_BF16, 0, {0}, 1, "\x80\x3f"},  {"tokens", ST_I32, 1, {3}, 3, tokens},
    };
    const StMeta meta[] = {{"model", "e2e \"quoted\"\n"}, {"empty", ""}};
    return st_write(path, tensors, ARRAY_LEN(tensors), meta, ARRAY_LEN(meta), err);
}

static void test_round_trip(void **state)
{
    (void)state;
    static const char *const order[] = {"z.weight", "empty", "odd", "a", "scalar", "tokens"};
    Err err;
    StFile *file;
    assert_int_equal(write_sample("s.safetensors", &err), 0);
    assert_int_equal(st_open(&file, "s.safetensors", &err), 0);
    assert_int_equal(st_count(file), 6);
    for (int i = 0; i < 6; i++) {
        assert_string_equal(st_at(file, i)->name, order[i]);
        assert_ptr_equal(st_find(file, order[i]), st_at(file, i));
    }
    const StTensor *t = st_at(file, 0);
    assert_true(t->type == ST_F32 && t->n_dims == 2 && t->n_elements == 6);
    assert_true(t->shape[0] == 2 && t->shape[1] == 3);
    assert_int_equal((uintptr_t)t->data % 8, 0);
    assert_memory_equal(t->data, weights, sizeof weights);
    assert_memory_equal(st_find(file, "odd")->data, "hello", 5);
    assert_memory_equal(st_find(file, "tokens")->data, tokens, sizeof tokens);
    assert_int_equal(st_find(file, "empty")->n_elements, 0);
    assert_null(st_find(file, "z"));
    assert_null(st_find(file, "__metadata__"));
    assert_string_equal(st_meta(file, "model"), "e2e \"quoted\"\n");
    assert_string_equal(st_meta(file, "empty"), "");
    assert_null(st_meta(file, "absent"));
    st_close(file);
    st_close(NULL);
}

/* Whatever byte of such a file changes, but for the name of the checksum itself. */
static void test_checksum(void **state)
{
    (void)state;
    const StTensor t = {"a", ST_F32, 1, {6}, 6, weights};
    const StMeta meta[] = {{"format", "x"}, st_checksum, {"last", "\"crc32c\":\""}};
    Err err;
    StFile *file;
    char *bytes;
    size_t size, noticed = 0;
    assert_int_equal(st_write("c.safetensors", &t, 1, meta, ARRAY_LEN(meta), &err), 0);
    assert_int_equal(st_open(&file, "c.safetensors", &err), 0);
    assert_int_equal(strlen(st_meta(file, st_checksum.key)), 8);
    assert_string_not_equal(st_meta(file, st_checksum.key), st_checksum.value);
    st_close(file);
    assert_int_equal(file_read("c.safetensors", &bytes, &size, 1 << 20, &err), 0);
    for (size_t i = 0; i < size; i++) {
        bytes[i] ^= 1;
        assert_int_equal(file_write_atomic("d.safetensors", bytes, size, &err), 0);
        bytes[i] ^= 1;
        if (st_open(&file, "d.safetensors", &err) == 0) {
            st_close(file);
            continue;
        }
        assert_non_null(strstr(err.text, "d.safetensors"));
        noticed++;
    }
    assert_in_range(noticed, size - strlen(st_checksum.key), size);
    bytes[size - 1] ^= 1;
    assert_int_equal(file_write_atomic("d.safetensors", bytes, size, &err), 0);
    assert_int_equal(st_open(&file, "d.safetensors", &err), -1);
    assert_non_null(strstr(err.text, "not those that were written (checksum "));
    free(bytes);
}

static void test_empty_file(void **state)
{
    (void)state;
    Err err;
    StFile *file;
    assert_int_equal(st_write("none.safetensors", NULL, 0, NULL, 0, &err), 0);
    assert_int_equal(st_open(&file, "none.safetensors", &err), 0);
    assert_int_equal(st_count(file), 0);
    assert_null(st_find(file, "a"));
    assert_null(st_meta(file, "a"));
    st_close(file);
}

static void test_many(void **state)
{
    (void)state;
    enum { N = 5000 };
    static char names[N][16];
    static StTensor tensors[N];
    static int32_t values[N];
    Err err;
    StFile *file;
    for (int i = 0; i < N; i++) {
        snprintf(names[i], sizeof names[i], "t.%d", i * 7919 % N);
        values[i] = i;
        tensors[i] = (StTensor){names[i], ST_I32, 1, {1}, 1, &values[i]};
    }
    assert_int_equal(st_write("many.safetensors", tensors, N, NULL, 0, &err), 0);
    assert_int_equal(st_open(&file, "many.safetensors", &err), 0);
    assert_int_equal(st_count(file), N);
    for (int i = 0; i < N; i++)
        assert_memory_equal(st_find(file, names[i])->data, &values[i], sizeof *values);
    st_close(file);
}

static void test_types(void **state)
{
    (void)state;
    static const uint16_t halves[] = {0x3c00, 0xc000, 0x0001, 0x03ff,
                                      0x7bff, 0x7c00, 0xfc00, 0x8000};
    static const double half_values[] = {1,     -2,       0x1p-24,   0x3ffp-24,
                                         65504, INFINITY, -INFINITY, -0.0};
    static const uint16_t brains[] = {0x3f80, 0xc000, 0x7f80, 0x0001, 0x4049};
    static const double brain_values[] = {1, -2, INFINITY, 0x1p-133, 3.140625};
    double out[8];
    float out32[8];
    const StTensor half = {"h", ST_F16, 1, {8}, 8, halves},
                   brain = {"b", ST_BF16, 1, {5}, 5, brains};
    st_to_f64(&half, out);
    st_to_f32(&half, out32);
    for (int i = 0; i < 8; i++) assert_true(out[i] == half_values[i] && out32[i] == half_values[i]);
    assert_true(signbit(out[7]));
    st_to_f64(&brain, out);
    st_to_f32(&brain, out32);
    for (int i = 0; i < 5; i++)
        assert_true(out[i] == brain_values[i] && out32[i] == brain_values[i]);
    const uint16_t nan16 = 0x7e00;
    st_to_f64(&(StTensor){"n", ST_F16, 0, {0}, 1, &nan16}, out);
    assert_true(isnan(out[0]));
    char unaligned[1 + sizeof wide + sizeof weights];
    memcpy(unaligned + 1, wide, sizeof wide);
    memcpy(unaligned + 1 + sizeof wide, weights, sizeof weights);
    st_to_f32(&(StTensor){"d", ST_F64, 1, {2}, 2, unaligned + 1}, out32);
    assert_true(out32[0] == 0.1f && isinf(out32[1]));
    st_to_f64(&(StTensor){"f", ST_F32, 1, {6}, 6, unaligned + 1 + sizeof wide}, out);
    for (int i = 0; i < 6; i++) assert_true(out[i] == (double)weights[i]);
    st_to_f32(&(StTensor){"e", ST_F64, 1, {0}, 0, NULL}, NULL);
    assert_int_equal(st_type_size(ST_F64), 8);
    assert_int_equal(st_type_size(ST_BOOL), 1);
    assert_string_equal(st_type_name(ST_U16), "U16");
}

static void test_foreign(void **state)
{
    (void)state;
    Err err;
    char noise[4096];
    Rng rng;
    rng_seed(&rng, 1, 0);
    for (size_t i = 0; i < sizeof noise; i++) noise[i] = (char)rng_u64(&rng);
    assert_int_equal(file_write_atomic("empty", "", 0, &err), 0);
    assert_refused("empty", "it has only 0 bytes");
    assert_int_equal(file_write_atomic("short", "1234567", 7, &err), 0);
    assert_refused("short", "it has only 7 bytes");
    assert_refused("none", "cannot open none: No such file");
    assert_refused(".", "not a regular file");
    assert_refused("/dev/null", "not a regular file");
    assert_int_equal(mkfifo("pipe", 0666), 0);
    assert_refused("pipe", "not a regular file");
    put_file("noise", 300, noise, sizeof noise);
    assert_refused("noise", "not a JSON object");
    put_file("text", 0x6c6c6f7720656854u, noise, 100);
    assert_refused("text", "its header claims 7812742011016276052 bytes (limit 100000000)");
    put_file("long", 101, noise, 100);
    assert_refused("long", "claims 101 bytes but only 100 follow");
    put_file("wraps", UINT64_MAX - 7, noise, 100);
    assert_refused("wraps", "its header claims 18446744073709551608 bytes");
    put_file("zero", 0, noise, 100);
    assert_refused("zero", "not a JSON object");
}

/* Every proper prefix of a good file is refused. */
static void test_truncated(void **state)
{
    (void)state;
    Err err;
    char *data;
    size_t size;
    assert_int_equal(write_sample("s.safetensors", &err), 0);
    assert_int_equal(file_read("s.safetensors", &data, &size, 1 << 20, &err), 0);
    for (size_t n = 0; n < size; n++) {
        assert_int_equal(truncate("s.safetensors", (off_t)(size - 1 - n)), 0);
        assert_refused("s.safetensors", "copy or export it again");
    }
    free(data);
}

#define T(dtype, shape, offsets)                                                                   \
    "{\"dtype\":" dtype ",\"shape\":" shape ",\"data_offsets\":" offsets "}"

static void test_header_json(void **state)
{
    (void)state;
    assert_header_refused("[]", 0, "not a JSON object");
    assert_header_refused("{\"a\":}", 0, "not valid JSON at byte 14");
    assert_header_refused("{} x", 0, "not valid JSON");
    assert_header_refused("{\"a\\u0000\":1}", 0, "not valid JSON");
    assert_header_refused("{\"\xff\":1}", 0, "not valid JSON");
    assert_header_refused("{\"a\":" T("\"U8\"", "[]", "[0,1]") ",\"a\":1}", 1, "duplicate");
    assert_header_refused("{\"a\":1}", 0, "tensor 'a' is not described by an object");
    assert_header_refused("{\"a\\n\\u001b\":1}", 0, "tensor 'a\?\?'");
    assert_header_refused("{\"__metadata__\":[]}", 0, "__metadata__ is not an object");
    assert_header_refused("{\"__metadata__\":{\"k\":1}}", 0, "'k' is not a string");
    char deep[20010];
    memset(deep, '[', sizeof deep);
    memcpy(deep, "{\"a\":", 5);
    deep[sizeof deep - 1] = '\0';
    assert_header_refused(deep, 0, "not valid JSON");
    put_header("{\"__metadata__\":{}}   ", 0);
    StFile *file;
    Err err;
    assert_int_equal(st_open(&file, "x.safetensors", &err), 0);
    st_close(file);
}

static void test_header_entries(void **state)
{
    (void)state;
    assert_header_refused("{\"a\":{}}", 0, "tensor 'a' has no dtype string");
    assert_header_refused("{\"a\":" T("4", "[]", "[0,1]") "}", 1, "no dtype string");
    assert_header_refused("{\"a\":" T("\"F8_E5M2\"", "[]", "[0,1]") "}", 1,
                          "'F8_E5M2', which is not supported");
    assert_header_refused("{\"a\":" T("\"U8\"", "1", "[0,1]") "}", 1, "no shape array");
    assert_header_refused("{\"a\":" T("\"U8\"", "[-1]", "[0,1]") "}", 1, "not of whole numbers");
    assert_header_refused("{\"a\":" T("\"U8\"", "[1.0]", "[0,1]") "}", 1, "not of whole numbers");
    assert_header_refused("{\"a\":" T("\"U8\"", "[1,1,1,1,1,1,1,1,1]", "[0,1]") "}", 1,
                          "9 dimensions (limit 8)");
    assert_header_refused("{\"a\":" T("\"U8\"", "[4294967296,4294967296]", "[0,1]") "}", 1,
                          "absurdly large shape");
    assert_header_refused("{\"a\":" T("\"F64\"", "[2305843009213693952]", "[0,0]") "}", 0,
                          "needs 2305843009213693952 F64 elements but has 0 bytes");
    assert_header_refused("{\"a\":" T("\"U8\"", "[99999999999999999999]", "[0,1]") "}", 1,
                          "not valid JSON");
    assert_header_refused("{\"a\":" T("\"U8\"", "[1]", "[0]") "}", 1, "no pair of data_offsets");
    assert_header_refused("{\"a\":" T("\"U8\"", "[1]", "[0,1,2]") "}", 1, "no pair");
    assert_header_refused("{\"a\":" T("\"U8\"", "[1]", "[0,1.5]") "}", 1, "no pair");
    assert_header_refused("{\"a\":" T("\"U8\"", "[1]", "{}") "}", 1, "no pair");
    assert_header_refused("{\"a\":" T("\"U8\"", "[1]", "[0,2]") "}", 1, "claims bytes 0 to 2 of 1");
    assert_header_refused("{\"a\":" T("\"U8\"", "[1]", "[-1,0]") "}", 1, "claims bytes -1 to 0");
    assert_header_refused("{\"a\":" T("\"U8\"", "[1]", "[1,0]") "}", 1, "claims bytes 1 to 0");
    assert_header_refused("{\"a\":" T("\"F32\"", "[1]", "[0,3]") "}", 3,
                          "needs 1 F32 elements but has 3 bytes");
}

static void test_tiling(void **state)
{
    (void)state;
    StFile *file;
    Err err;
    put_header("{\"b\":" T("\"U8\"", "[2]", "[1,3]") ",\"a\":" T(
                   "\"U8\"", "[1]", "[0,1]") ",\"c\":" T("\"U8\"", "[0]", "[1,1]") "}",
               3);
    assert_int_equal(st_open(&file, "x.safetensors", &err), 0);
    assert_string_equal(st_at(file, 0)->name, "a");
    assert_string_equal(st_at(file, 2)->name, "b");
    st_close(file);
    assert_header_refused(
        "{\"a\":" T("\"U8\"", "[2]", "[0,2]") ",\"b\":" T("\"U8\"", "[2]", "[1,3]") "}", 3,
        "tensor 'b' begins at byte 1, inside");
    assert_header_refused(
        "{\"a\":" T("\"U8\"", "[2]", "[0,2]") ",\"b\":" T("\"U8\"", "[2]", "[0,2]") "}", 2,
        "tensor 'b' begins at byte 0, inside");
    assert_header_refused(
        "{\"a\":" T("\"U8\"", "[1]", "[0,1]") ",\"b\":" T("\"U8\"", "[1]", "[2,3]") "}", 3,
        "after a hole from byte 1");
    assert_header_refused("{\"a\":" T("\"U8\"", "[1]", "[1,2]") "}", 2, "after a hole from byte 0");
    assert_header_refused("{\"a\":" T("\"U8\"", "[1]", "[0,1]") "}", 9,
                          "8 bytes of it belong to no");
    assert_header_refused(
        "{\"z\":" T("\"U8\"", "[0]", "[1,1]") ",\"a\":" T("\"U8\"", "[2]", "[0,2]") "}", 2,
        "tensor 'z' begins at byte 1, inside");
    assert_header_refused("{}", 1, "1 bytes of it belong to no tensor");
}

static bool is_whole(const char *path)
{
    Err err;
    StFile *file;
    if (st_open(&file, path, &err) < 0) return false;
    st_close(file);
    return true;
}

static bool is_empty(const char *folder)
{
    int n = 0;
    DIR *dir = opendir(folder);
    while (dir && readdir(dir)) n++;
    if (dir) closedir(dir);
    return n == 2; /* "." and ".." */
}

static void test_no_space(void **state)
{
    (void)state;
    enum { SIZE = 200000 };
    Err err = {""};
    StTensor large = {"large", ST_U8, 1, {SIZE}, SIZE, NULL};
    assert_int_equal(mkdir("disk", 0777), 0);
    if (mount("tmpfs", "disk", "tmpfs", 0, "size=64k") != 0) skip();
    large.data = calloc(1, SIZE);
    int first = write_sample("disk/m.safetensors", &err);
    int second = st_write("disk/m.safetensors", &large, 1, NULL, 0, &err);
    bool whole = is_whole("disk/m.safetensors");
    bool alone = unlink("disk/m.safetensors") == 0 && is_empty("disk");
    int unmounted = umount("disk");
    free((void *)large.data);
    assert_int_equal(first, 0);
    assert_int_equal(second, -1);
    assert_non_null(
        strstr(err.text, "cannot write disk/m.safetensors: No space left on device; free"));
    assert_true(whole);
    assert_true(alone);
    assert_int_equal(unmounted, 0);
}

static void test_cannot_write(void **state)
{
    (void)state;
    Err err;
    const StTensor latin1 = {"caf\xe9", ST_U8, 0, {0}, 1, "x"};
    const StMeta meta = {"file", "caf\xe9.txt"};
    assert_int_equal(write_sample("none/s.safetensors", &err), -1);
    assert_non_null(strstr(err.text, "cannot create none/s.safetensors.tmp-"));
    assert_int_equal(st_write("s.safetensors", &latin1, 1, NULL, 0, &err), -1);
    assert_non_null(strstr(err.text, "is not UTF-8"));
    assert_int_equal(st_write("s.safetensors", NULL, 0, &meta, 1, &err), -1);
    assert_non_null(strstr(err.text, "'file' or its value is not UTF-8"));
    assert_false(file_exists("s.safetensors"));
}

static void test_read_only(void **state)
{
    (void)state;
    Err err;
    if (geteuid() == 0) skip(); /* root may write anywhere */
    assert_int_equal(mkdir("locked", 0555), 0);
    assert_int_equal(write_sample("locked/s.safetensors", &err), -1);
    assert_non_null(strstr(err.text, "Permission denied; check its permissions"));
}

/* To nearest, ties to even; what is not a number stays none. */
static void test_to_bf16(void **state)
{
    (void)state;
    static const float from[] = {1, 1.00390625f, 1.01171875f, 1.004f, -0.0f, INFINITY, 3.4e38f};
    static const uint16_t want[] = {0x3f80, 0x3f80, 0x3f82, 0x3f81, 0x8000, 0x7f80, 0x7f80};
    uint16_t got[ARRAY_LEN(want)], nan;
    st_from_f32(got, ST_BF16, from, ARRAY_LEN(want));
    assert_memory_equal(got, want, sizeof want);
    uint32_t bits = 0x7f800001; /* a NaN whose mark is in the bits that are cut off */
    float value;
    memcpy(&value, &bits, sizeof value);
    st_from_f32(&nan, ST_BF16, &value, 1);
    assert_true((nan & 0x7f80) == 0x7f80 && (nan & 0x7f));
}

static int fill_two(void *context, int i, void *out, Err *err)
{
    const float values[2] = {(float)i, 5};
    if (i == *(int *)context) return err_set(err, "tensor %d cannot be had", i);
    memcpy(out, values, sizeof values);
    return 0;
}

/* Tensors made one at a time; when one cannot be, the file is as it was. */
static void test_filled(void **state)
{
    (void)state;
    Err err;
    StFile *file;
    StTensor t[2] = {{.name = "a", .type = ST_F32, .n_dims = 1, .shape = {2}, .n_elements = 2},
                     {.name = "b", .type = ST_F32, .n_dims = 1, .shape = {2}, .n_elements = 2}};
    int bad = -1;
    assert_int_equal(st_write_filled("f.safetensors", t, 2, NULL, 0, fill_two, &bad, &err), 0);
    t[1].name = "c";
    bad = 1;
    assert_int_equal(st_write_filled("f.safetensors", t, 2, NULL, 0, fill_two, &bad, &err), -1);
    assert_string_equal(err.text, "tensor 1 cannot be had");
    assert_int_equal(st_open(&file, "f.safetensors", &err), 0);
    assert_non_null(st_find(file, "b"));
    assert_true(((const float *)st_find(file, "b")->data)[0] == 1);
    st_close(file);
    DIR *dir = opendir(".");
    int n = 0;
    for (struct dirent *e; (e = readdir(dir));) n += e->d_name[0] != '.';
    closedir(dir);
    assert_int_equal(n, 1);
}

int main(void)
{
    struct CMUnitTest tests[] = {
        cmocka_unit_test(test_round_trip),     cmocka_unit_test(test_empty_file),
        cmocka_unit_test(test_checksum),       cmocka_unit_test(test_many),
        cmocka_unit_test(test_types),          cmocka_unit_test(test_foreign),
        cmocka_unit_test(test_truncated),      cmocka_unit_test(test_header_json),
        cmocka_unit_test(test_header_entries), cmocka_unit_test(test_tiling),
        cmocka_unit_test(test_no_space),       cmocka_unit_test(test_cannot_write),
        cmocka_unit_test(test_read_only),      cmocka_unit_test(test_to_bf16),
        cmocka_unit_test(test_filled),
    };
    for (int i = 0; i < ARRAY_LEN(tests); i++) {
        tests[i].setup_func = folder_enter;
        tests[i].teardown_func = folder_leave;
    }
    return cmocka_run_group_tests(tests, NULL, NULL);
}
