/* Feeds any bytes to a zarr array as its metadata and its chunks, and reads all that it lets
 * through. Input: a mode byte, the metadata, a NUL, the chunk file. Modes with bit 0 put fitting
 * metadata in place of the given, one of several layouts (bits 1-5), so that decoders and shard
 * indices are reached; bit 6 makes it format 2. With bit 7 it is read as a model does, which has a
 * vocabulary, and fitting metadata say int32. */
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/file.h"
#include "data/token_source.h"
#include "data/zarr_array.h"
#include "data/zarr_source.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const char *const codecs[] = {
    "{\"name\":\"zstd\"}",
    "{\"name\":\"gzip\"}",
    "{\"name\":\"crc32c\"}",
    "{\"name\":\"blosc\",\"configuration\":{\"cname\":\"zstd\",\"typesize\":2}}",
    "{\"name\":\"zstd\"},{\"name\":\"crc32c\"}",
    "{\"name\":\"crc32c\"},{\"name\":\"zstd\"}",
    "{\"name\":\"gzip\"},{\"name\":\"blosc\",\"configuration\":{\"cname\":\"lz4\"}}",
    ""};

static int layout_text(char *out, size_t size, uint8_t mode)
{
    if (mode & 64)
        return snprintf(out, size,
                        "{\"zarr_format\":2,\"shape\":[60],\"chunks\":[64],\"dtype\":\"<u2\","
                        "\"compressor\":{\"id\":\"%s\"}}",
                        mode & 2 ? "blosc" : "zlib");
    const char *codec = codecs[(mode >> 1) % 8];
    char chain[512], shards[1024];
    snprintf(chain, sizeof chain, "{\"name\":\"bytes\"}%s%s", codec[0] != 0 ? "," : "", codec);
    snprintf(shards, sizeof shards,
             "{\"name\":\"sharding_indexed\",\"configuration\":{\"chunk_shape\":[16],"
             "\"codecs\":[%s],\"index_codecs\":[{\"name\":\"bytes\"}],\"index_location\":\"%s\"}}",
             chain, mode & 32 ? "start" : "end");
    return snprintf(out, size,
                    "{\"zarr_format\":3,\"node_type\":\"array\",\"shape\":[60],"
                    "\"data_type\":\"%s\",\"chunk_grid\":{\"name\":\"regular\","
                    "\"configuration\":{\"chunk_shape\":[64]}},\"fill_value\":0,\"codecs\":[%s]}",
                    mode & 128 ? "int32" : "uint16", mode & 16 ? shards : chain);
}

static void write_part(const char *dir, const char *name, const void *data, size_t size)
{
    char path[128];
    snprintf(path, sizeof path, "%s/%s", dir, name);
    FILE *file = fopen(path, "wb");
    CHECK(file != NULL, "cannot write %s", path);
    if (size > 0) fwrite(data, 1, size, file);
    fclose(file);
}

/* Under both names that a first chunk can have. */
static void write_chunk(const char *array, const void *data, size_t size)
{
    char folder[100];
    snprintf(folder, sizeof folder, "%s/c", array);
    mkdir(folder, 0700);
    write_part(folder, "0", data, size);
    write_part(array, "0", data, size);
}

static void touch(TokenSource *source)
{
    Err err = {""};
    int32_t ids[64];
    int64_t length = token_source_length(source), n = length < 64 ? length : 64;
    token_source_read(source, 0, n, ids, &err);
    if (token_source_read(source, length - n, n, ids, &err) == 0)
        for (int64_t i = 0; i < n; i++) CHECK(ids[i] >= 0 && ids[i] < INT32_MAX, "id %d", ids[i]);
    for (int64_t at = 0; at < length && at < 100; at++) token_source_read(source, at, 1, ids, &err);
    CHECK(strchr(err.text, '\n') == NULL, "bad error text: %s", err.text);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size == 0) return 0;
    char dir[64], array[80], meta[2048];
    Err err = {""};
    TokenSource *source;
    const uint8_t *rest = data + 1, *nul = size > 1 ? memchr(rest, 0, size - 1) : NULL;
    size_t meta_size = nul == NULL ? size - 1 : (size_t)(nul - rest);
    size_t chunk_size = nul == NULL ? 0 : size - 2 - meta_size;
    bool fits = (data[0] & 1) != 0;
    snprintf(dir, sizeof dir, "/dev/shm/ttt-fuzz-zarr-%ld", (long)getpid());
    snprintf(array, sizeof array, "%s/train", dir);
    mkdir(dir, 0700);
    mkdir(array, 0700);
    const char *name = data[0] & 64 ? ".zarray" : "zarr.json";
    if (fits) {
        write_part(array, name, meta, (size_t)layout_text(meta, sizeof meta, data[0]));
        write_chunk(array, rest, size - 1);
    } else {
        write_part(array, name, rest, meta_size);
        write_chunk(array, nul == NULL ? rest : nul + 1, chunk_size);
    }
    if (token_source_open(&source, dir, "train", &err) == 0) {
        if (data[0] & 128) token_source_declare(source, 100000, -1);
        touch(source);
        token_source_close(source);
    } else {
        CHECK(strstr(err.text, dir) && !strchr(err.text, '\n'), "bad error text: %s", err.text);
    }
    CHECK(dir_remove(dir, &err) == 0, "%s", err.text);
    return 0;
}
