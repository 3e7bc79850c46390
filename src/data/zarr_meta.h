/* The metadata of a one-dimensional zarr array of integers: zarr.json of format 3, .zarray of
 * format 2. docs/data.md says what is supported. */
#ifndef TTT_DATA_ZARR_META_H
#define TTT_DATA_ZARR_META_H

#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"
#include "data/codec.h"

typedef struct IntType {
    int size; /* bytes: 1, 2, 4, 8 */
    bool is_signed, big_endian;
} IntType;

typedef struct ZarrMeta {
    int format; /* 2 or 3 */
    IntType type;
    int64_t length; /* elements of the array */
    int64_t chunk;  /* elements per file */
    int64_t inner; /* elements of the smallest part that is encoded by itself: chunk if no shards */
    int64_t fill;  /* the element of a chunk that is not there */
    bool sharded;  /* a file holds chunk / inner parts and an index of them */
    bool index_at_start, index_crc, index_big_endian;
    bool key_prefix;  /* files are c/0, not 0 */
    char separator;   /* of the key: '/' or '.' */
    CodecChain chain; /* of a part */
} ZarrMeta;

/* "uint16" and the like. */
const char *int_type_name(IntType type);
/* "uint8" .. "int64"; false for another name. */
bool int_type_find(IntType *out, const char *name);

/* What we write, but for the length: format 3, files of `file` elements in parts of `part`, with a
 * checked index where those are shorter; codec: see chain_parse. */
int zarr_layout(ZarrMeta *out, IntType type, int64_t file, int64_t part, const char *codec,
                Err *err);

/* Reads DIR/zarr.json, or DIR/.zarray where that is missing. */
int zarr_meta_read(ZarrMeta *out, const char *dir, Err *err);
/* Whether the folder has one of the two. */
bool zarr_meta_there(const char *dir);
/* Writes DIR/zarr.json of an array, and of a group. */
int zarr_meta_write(const ZarrMeta *meta, const char *dir, Err *err);
int zarr_group_write(const char *dir, Err *err);

/* Files of the array; parts of a file; bytes of a part, decoded. */
int64_t zarr_files(const ZarrMeta *meta);
int64_t zarr_parts(const ZarrMeta *meta);
int64_t zarr_part_bytes(const ZarrMeta *meta);
/* The path of a file. */
int zarr_file_path(const ZarrMeta *meta, const char *dir, int64_t file, char *out, size_t size,
                   Err *err);

/* The index of a shard: 16 bytes per part (offset, size), and a crc32c if index_crc. */
int64_t zarr_index_bytes(const ZarrMeta *meta);

#endif
