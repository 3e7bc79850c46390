/* The same tokens in another zarr layout: other chunks, codecs, integers. */
#ifndef TTT_DATA_REPACK_H
#define TTT_DATA_REPACK_H

#include <signal.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"

typedef struct RepackOptions {
    const char *in_dir, *out_dir;       /* in: anything that token_source_open reads */
    const char *dtype;                  /* "uint16"; NULL: as it was */
    const char *codec;                  /* see chain_parse */
    int64_t chunk_tokens, shard_tokens; /* equal: no shards */
    bool big_endian, index_at_start;
    bool v2_keys; /* chunks are 0, 1, ..., not c/0, c/1 */
    int threads;
    bool force, quiet;
    const volatile sig_atomic_t *stop; /* not zero: give up; NULL is fine */
} RepackOptions;

/* On failure out_dir is as it was; what was written stays beside it (OUT.partial) for a run with
 * the same options, which goes on from there. */
int dataset_repack(const RepackOptions *options, Err *err);

#endif
