/* From files and folders to a dataset folder: one document per file, split by whole documents. */
#ifndef TTT_DATA_ENCODE_H
#define TTT_DATA_ENCODE_H

#include <signal.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"
#include "data/dataset.h"

typedef struct EncodeOptions {
    const char *const *paths; /* (n_paths), files and folders */
    int n_paths;
    const char *out_dir;
    const char *tokenizer;
    double val_fraction;           /* 0 <= f < 1 of all bytes; not used with val_list */
    const char *val_list;          /* a file naming the held-out documents, a line each; or NULL */
    uint64_t seed;                 /* of the split */
    const char *const *extensions; /* (n_extensions), for files found in folders */
    int n_extensions;
    int64_t min_bytes, max_files;       /* max_files 0: no limit */
    int64_t chunk_tokens, shard_tokens; /* 0: the usual */
    const char *codec;                  /* see chain_parse; NULL: the usual */
    int threads;                        /* 0: one per core */
    bool force;                         /* replace a dataset that is there */
    bool quiet;                         /* no progress on standard error */
    const volatile sig_atomic_t *stop;  /* not zero: give up; NULL is fine */
} EncodeOptions;

typedef struct EncodeReport {
    DatasetInfo info;
    int64_t bytes; /* read */
    int64_t skipped_empty, skipped_small, skipped_links, skipped_hidden, skipped_special;
    int64_t shared; /* documents of val whose equal is in train, by the list's will */
} EncodeReport;

enum { ENCODE_CHUNK_TOKENS = 1 << 12, ENCODE_SHARD_TOKENS = 1 << 22 };
extern const char encode_codec[];
/* The usual shard for chunks of that many tokens. */
int64_t encode_shard_tokens(int64_t chunk_tokens);

/* Fails on input without any document. On failure out_dir is as it was; what was done may be kept
 * beside it (the text says so), and the same call goes on from there, as it does after a kill. */
int dataset_encode(const EncodeOptions *options, EncodeReport *out, Err *err);

#endif
