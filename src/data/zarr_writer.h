/* Writes a zarr array from its first element to its last: file by file, each complete or not there.
 * The same elements give the same bytes, however many threads encode them. */
#ifndef TTT_DATA_ZARR_WRITER_H
#define TTT_DATA_ZARR_WRITER_H

#include "data/zarr_meta.h"

typedef struct ZarrWriter ZarrWriter;

/* layout->length: how many elements are there already, from an earlier run, a multiple of the
 * chunk. The folder is made. */
int zarr_writer_open(ZarrWriter **out, const ZarrMeta *layout, const char *dir, int threads,
                     Err *err);
void zarr_writer_close(ZarrWriter *w); /* NULL is fine */

/* Takes ids until a file is full and written; returns how many were taken. An id that the type
 * cannot hold is the caller's mistake. */
int64_t zarr_writer_add(ZarrWriter *w, const int32_t *ids, int64_t n, Err *err);
/* Elements taken so far, and how many of them are in files that are written. */
int64_t zarr_writer_length(const ZarrWriter *w);
int64_t zarr_writer_saved(const ZarrWriter *w);
/* Writes what is left and zarr.json. */
int zarr_writer_finish(ZarrWriter *w, Err *err);

#endif
