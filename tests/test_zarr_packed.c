/* Ids in the cache: packed to the bits of the vocabulary, and what does not fit into them. */
#include "zarr_fixture.h"

#include "data/packed.h"
#include "data/widen.h"
#include "data/zarr_array.h"

static int32_t id_below(int64_t i, int64_t limit)
{
    return (int32_t)((((uint64_t)i + 1) * 0x9e3779b97f4a7c15u >> 20) % (uint64_t)limit);
}

static void bits_follow_the_vocabulary(void **state)
{
    (void)state;
    assert_int_equal(packing_high(1, 4), 0);
    assert_int_equal(packing_high(65536, 4), 0);
    assert_int_equal(packing_high(65537, 4), 1);
    assert_int_equal(packing_high(128256, 4), 1);
    assert_int_equal(packing_high(202048, 4), 2);
    assert_int_equal(packing_high((1 << 20) - 1, 4), 4);
    assert_int_equal(packing_high(1 << 24, 4), 8);
    assert_int_equal(packing_high((1 << 24) + 1, 4), NOT_PACKED);
    assert_int_equal(packing_high(INT32_MAX, 8), NOT_PACKED);
    assert_int_equal(packing_high(100, 2), NOT_PACKED);
    assert_int_equal(packing_high(100, 1), NOT_PACKED);
    assert_int_equal(packing_bytes((Packing){32768, 1}), 2 * 32768 + 4096);
    assert_int_equal(packing_bytes((Packing){1, 0}), 64);
}

/* --- packing and unpacking -------------------------------------------------------------------- */

enum { MOST = 5003 };

static void store_all(IntType type, const int32_t *ids, int64_t n, unsigned char *out)
{
    for (int64_t i = 0; i < n; i++) int_store(type, ids[i], out + i * type.size);
}

static void planes_of(const int32_t *ids, int64_t n, unsigned char *out)
{
    for (int64_t i = 0; i < n; i++)
        for (int k = 0; k < 4; k++) out[k * n + i] = (unsigned char)((uint32_t)ids[i] >> (8 * k));
}

static void check_ranges(Packing p, const unsigned char *packed, const int32_t *ids, int32_t limit)
{
    static int32_t out[MOST];
    for (int64_t from = 0; from < p.n; from += 1 + p.n / 5) {
        int64_t count = (p.n - from) * 2 / 3 + 1;
        assert_int_equal(unpack(p, packed, from, count, limit, out), -1);
        assert_memory_equal(out, ids + from, (size_t)count * sizeof *out);
    }
    int64_t largest = 0;
    for (int64_t i = 0; i < p.n; i++)
        if (ids[i] > ids[largest]) largest = i;
    if (ids[largest] > 0) assert_int_equal(unpack(p, packed, 0, p.n, ids[largest], out), largest);
}

static void check_size(int64_t n, int32_t limit)
{
    static const IntType types[] = {
        {4, true, false}, {4, false, false}, {4, true, true}, {8, true, false}, {8, false, true}};
    static int32_t ids[MOST], out[MOST];
    static unsigned char stored[8 * MOST], planes[4 * MOST], packed[4 * MOST];
    Packing p = {n, packing_high(limit, 4)};
    for (int64_t i = 0; i < n; i++) ids[i] = id_below(i, limit);
    for (int k = 0; k < ARRAY_LEN(types); k++) {
        store_all(types[k], ids, n, stored);
        memset(packed, 0xa5, sizeof packed);
        assert_true(pack_ints(p, types[k], stored, packed));
        check_ranges(p, packed, ids, limit);
        for (int64_t i = packing_bytes(p); i < (int64_t)sizeof packed; i++)
            assert_int_equal(packed[i], 0xa5);
    }
    planes_of(ids, n, planes);
    memset(packed, 0xa5, sizeof packed);
    assert_true(pack_planes(p, planes, packed));
    check_ranges(p, packed, ids, limit);
    assert_int_equal(unpack_planes(n, planes, n / 2, n - n / 2, limit, out), -1);
    assert_memory_equal(out, ids + n / 2, (size_t)(n - n / 2) * sizeof *out);
}

static const int32_t limits[] = {1, 300, 65536, 128256, 202048, 1 << 20, 1 << 24};

static void what_is_packed_comes_back(void **state)
{
    (void)state;
    static const int64_t sizes[] = {1, 7, 8, 9, 63, 1024, 1025, 4096, MOST};
    for (int i = 0; i < ARRAY_LEN(sizes); i++)
        for (int k = 0; k < ARRAY_LEN(limits); k++) check_size(sizes[i], limits[k]);
}

static void what_does_not_fit_is_told(void **state)
{
    (void)state;
    enum { N = 1500 };
    static const IntType type = {4, true, false};
    static int32_t ids[N], out[N];
    static unsigned char stored[4 * N], planes[4 * N], packed[4 * N];
    for (int k = 0; k < ARRAY_LEN(limits); k++)
        for (int bit = 16; bit < 32; bit++) {
            Packing p = {N, packing_high(limits[k], 4)};
            for (int i = 0; i < N; i++) ids[i] = id_below(i, 256);
            ids[1234] |= (int32_t)((uint32_t)1 << bit);
            store_all(type, ids, N, stored);
            planes_of(ids, N, planes);
            assert_int_equal(pack_ints(p, type, stored, packed), bit < 16 + p.high);
            assert_int_equal(pack_planes(p, planes, packed), bit < 16 + p.high);
            assert_int_equal(unpack_planes(N, planes, 1000, 300, 256, out), 234);
        }
}

/* --- arrays ----------------------------------------------------------------------------------- */

enum { LENGTH = 300001, VOCAB = 128256, STRAY_AT = 150000, STRAY = 1 << 25 };

static int32_t stored_id(int64_t i)
{
    return i == STRAY_AT ? STRAY : id_below(i, VOCAB);
}

/* In no order, so that units come from the cache; the stray value stays outside what is read. */
static void check_scattered(ZarrArray *a, int32_t limit)
{
    static int32_t ids[3000];
    Err err;
    for (int64_t i = 0; i < 150; i++) {
        int64_t from = i * 104729 % (LENGTH - 3000), n = 1 + i * 7919 % 3000;
        if (from <= STRAY_AT && from + n > STRAY_AT) continue;
        if (zarr_array_read(a, from, n, limit, ids, &err) < 0) fail_msg("%s", err.text);
        for (int64_t k = 0; k < n; k++) assert_int_equal(ids[k], stored_id(from + k));
    }
}

static void check_stray(ZarrArray *a, const char *file)
{
    int32_t id;
    Err err;
    assert_int_equal(zarr_array_read(a, STRAY_AT, 1, VOCAB, &id, &err), -1);
    assert_mentions(&err, file);
    assert_mentions(&err, "token 150000 is 33554432, outside the vocabulary of 128256");
    assert_int_equal(zarr_array_read(a, STRAY_AT - 1, 1, VOCAB, &id, &err), 0);
    assert_int_equal(id, stored_id(STRAY_AT - 1));
    assert_int_equal(zarr_array_read(a, STRAY_AT, 1, INT32_MAX, &id, &err), 0);
    assert_int_equal(id, STRAY);
}

static void arrays_with_a_stray_id(void **state)
{
    static const struct {
        const char *array; /* TYPE CHUNK SHARD CODECS */
        const char *file;  /* of the stray id */
    } layouts[] = {{"int32 300001 300001 blosc:zstd:3:shuffle", "c/0"},
                   {"int32 8192 8192 blosc:zstd:3:shuffle", "c/18"},
                   {"uint32 8192 65536 blosc:zstd:3:shuffle", "c/2"},
                   {"int32 4096 65536 blosc:lz4:5:shuffle+crc32c", "c/2"},
                   {"int64 10000 10000 zstd:1", "c/15"},
                   {"int32 100000 100000 blosc:zstd:3:bitshuffle", "c/1"}};
    const Fixture *f = *state;
    for (int k = 0; k < ARRAY_LEN(layouts); k++) {
        char dir[600], array[700];
        snprintf(dir, sizeof dir, "%s/%d", f->dir, k);
        snprintf(array, sizeof array, "%.500s/train", dir);
        write_ids(dir, layouts[k].array, LENGTH, 1, stored_id);
        for (int wide = 0; wide < 2; wide++) {
            ZarrArray *a;
            Err err;
            assert_int_equal(zarr_array_open(&a, array, 1 << 24, &err), 0);
            check_scattered(a, wide ? INT32_MAX : VOCAB);
            check_stray(a, layouts[k].file);
            check_scattered(a, VOCAB);
            zarr_array_close(a);
        }
    }
}

/* The same memory has room for nearly twice as many ids as int32. */
static void more_fits_into_the_cache(void **state)
{
    const Fixture *f = *state;
    char array[600];
    Err err;
    ZarrArray *a;
    write_ids(f->dir, "int32 1024 1024 blosc:zstd:3:shuffle", LENGTH, 1, stored_id);
    snprintf(array, sizeof array, "%.500s/train", f->dir);
    assert_int_equal(zarr_array_open(&a, array, 1 << 18, &err), 0);
    assert_int_equal(zarr_array_cached(a, INT32_MAX), (1 << 18) / 4);
    assert_int_equal(zarr_array_cached(a, VOCAB), (1 << 18) / (2 * 1024 + 128) * 1024);
    assert_int_equal(zarr_array_decode(a, LENGTH - 1, &err), 1024);
    zarr_array_close(a);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(bits_follow_the_vocabulary),
        cmocka_unit_test(what_is_packed_comes_back),
        cmocka_unit_test(what_does_not_fit_is_told),
        cmocka_unit_test_setup_teardown(arrays_with_a_stray_id, setup, teardown),
        cmocka_unit_test_setup_teardown(more_fits_into_the_cache, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
