/* The files of a zarr array, mapped as they are needed; the last few hundred stay mapped. Threads
 * may share one. */
#ifndef TTT_DATA_CHUNK_FILES_H
#define TTT_DATA_CHUNK_FILES_H

#include "data/zarr_meta.h"

typedef struct ChunkFiles ChunkFiles;

/* A mapped file, held until it is put back. */
typedef struct ChunkFile {
    const unsigned char *bytes; /* NULL when the file is not there: the chunk is fill_value */
    int64_t size;
    int64_t room;   /* of the memory a small file is read into; 0: it is mapped */
    int64_t number; /* of the file in the array */
    int fd;         /* of a mapped file, to see whether it is still as long; else -1 */
    int slot;
} ChunkFile;

/* The encoded bytes of a part; bytes is NULL when the part is not there. */
typedef struct ChunkPart {
    const unsigned char *bytes;
    int64_t size;
} ChunkPart;

/* meta is borrowed. */
int chunk_files_open(ChunkFiles **out, const ZarrMeta *meta, const char *dir, Err *err);
void chunk_files_close(ChunkFiles *files); /* NULL is fine */

/* Checks the index of a shard when it maps it. */
int chunk_files_get(ChunkFiles *files, int64_t number, ChunkFile *out, Err *err);
void chunk_files_put(ChunkFiles *files, ChunkFile *file);

/* Where part 0 .. zarr_parts - 1 lies in the file. Fails where the file has become shorter since it
 * was mapped: touching what is gone would end the process (SIGBUS). */
int chunk_part(const ChunkFiles *files, const ChunkFile *file, int64_t part, ChunkPart *out,
               Err *err);

/* Puts the file's path in front of the text and the next step behind it; returns -1. */
int chunk_fail(const ChunkFiles *files, int64_t number, Err *err);

#endif
