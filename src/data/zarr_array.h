/* A zarr array that is open for reading anywhere in it. Threads may share one. */
#ifndef TTT_DATA_ZARR_ARRAY_H
#define TTT_DATA_ZARR_ARRAY_H

#include "data/zarr_meta.h"

typedef struct ZarrArray ZarrArray;

/* dir: the folder with zarr.json or .zarray. cache_bytes: the most memory for decoded chunks; 0
 * takes an eighth of what is free, and never more than the array itself. The cache packs tokens by
 * the `limit` of the first read: larger ones are right, but chunks that hold any are not kept. */
int zarr_array_open(ZarrArray **out, const char *dir, int64_t cache_bytes, Err *err);
void zarr_array_close(ZarrArray *a); /* NULL is fine */

const ZarrMeta *zarr_array_meta(const ZarrArray *a);
const char *zarr_array_dir(const ZarrArray *a);

/* Reads elements [start, start + n), which are in the array, as token ids. A value outside
 * 0 .. limit - 1 is an error that names the file and the position. */
int zarr_array_read(ZarrArray *a, int64_t start, int64_t n, int32_t limit, int32_t *out, Err *err);

/* Only decodes what has to be decoded for that element, and keeps nothing: what reading costs at
 * least. Returns how many elements that is. */
int64_t zarr_array_decode(ZarrArray *a, int64_t position, Err *err);

/* Elements that can be decoded by themselves, and those below `limit` the cache has room for. */
int64_t zarr_array_unit(const ZarrArray *a);
int64_t zarr_array_cached(const ZarrArray *a, int32_t limit);

#endif
