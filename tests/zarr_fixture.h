/* What the tests of zarr arrays share: a folder of their own, and arrays to read. */
#ifndef TTT_TESTS_ZARR_FIXTURE_H
#define TTT_TESTS_ZARR_FIXTURE_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/file.h"
#include "data/zarr_writer.h"
#include "paths.h"

typedef struct Fixture {
    char dir[256];
} Fixture;

static inline int setup(void **state)
{
    Fixture *f = calloc(1, sizeof *f);
    assert_int_equal(temp_folder(f->dir, sizeof f->dir), 0);
    *state = f;
    return 0;
}

static inline int teardown(void **state)
{
    Fixture *f = *state;
    Err err;
    assert_int_equal(dir_remove(f->dir, &err), 0);
    free(f);
    return 0;
}

static inline void put(const char *dir, const char *name, const void *data, size_t size)
{
    char path[1024], parent[1024];
    Err err;
    snprintf(path, sizeof path, "%s/%s", dir, name);
    assert_int_equal(path_parent(parent, sizeof parent, path, &err), 0);
    assert_int_equal(dir_make(parent, &err), 0);
    assert_int_equal(file_write_atomic(path, data, size, &err), 0);
}

static inline void assert_mentions(const Err *err, const char *part)
{
    if (strstr(err->text, part) == NULL) fail_msg("'%s' does not mention '%s'", err->text, part);
    assert_null(strchr(err->text, '\n'));
}

static inline int32_t token_of(int64_t i)
{
    return (int32_t)(((uint64_t)i * 2654435761u >> 5) % 60000);
}

/* layout: "TYPE CHUNK SHARD CODECS", for an array at DIR/train of n ids, the i-th id_at(i). */
static inline void write_ids(const char *dir, const char *layout, int64_t n, int threads,
                             int32_t (*id_at)(int64_t i))
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
        int32_t id = id_at(i);
        assert_int_equal(zarr_writer_add(writer, &id, 1, &err), 1);
    }
    assert_int_equal(zarr_writer_finish(writer, &err), 0);
    zarr_writer_close(writer);
}

static inline void write_array(const char *dir, const char *layout, int64_t n, int threads)
{
    write_ids(dir, layout, n, threads, token_of);
}

#endif
