/* Batches of training sequences. Sequence i of N tokens is tokens[i T .. (i + 1) T], both ends
 * included: T inputs and, one place on, T targets. Every epoch visits each sequence once in an
 * order of its own; batch k is a pure function of (seed, k), so resuming needs only the step. */
#ifndef TTT_DATA_LOADER_H
#define TTT_DATA_LOADER_H

#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"
#include "data/token_source.h"

typedef struct LoaderOptions {
    int64_t seq_length; /* T */
    int64_t batch_size; /* B, of the whole step over all ranks; accumulation takes rows of it */
    uint64_t seed;
    bool sequential; /* in file order, every epoch the same: for evaluation */
    bool ahead; /* read the rows that come next on a thread; close the loader before the source */
    int rank,
        world; /* rank of world processes takes its share of each batch; world 0: one process */
} LoaderOptions;

typedef struct Loader Loader;

/* The source is borrowed and outlives the loader. Fails when it holds no whole sequence: the
 * message names it and the T + 1 tokens it needs; and when B is not a multiple of world. */
int loader_open(Loader **out, const TokenSource *source, LoaderOptions options, Err *err);
void loader_close(Loader *l); /* NULL is fine */

/* Sequences per epoch: (N - 1) / T. */
int64_t loader_sequences(const Loader *l);
/* Which sequence is row `row` of the endless stream of epochs; batch k holds rows k B .. k B + B-1,
 * so a batch may span epochs and none is dropped. */
int64_t loader_sequence_at(const Loader *l, int64_t row);

/* Rows of a batch that are this rank's: B / world. Rank r has rows r B / world and on, so that all
 * ranks together read what one process would. */
int64_t loader_batch_rows(const Loader *l);

/* Reads this rank's rows of batch k = 0, 1, ... into out (B / world, T + 1). Errors as
 * token_source_read. */
int loader_batch(const Loader *l, int64_t batch_index, int32_t *out, Err *err);
/* Rows [first, first + n) of these into out (n, T + 1). */
int loader_rows(const Loader *l, int64_t batch_index, int64_t first, int64_t n, int32_t *out,
                Err *err);

/* The shuffle: where index i of 0 .. n-1 goes in the order drawn by key. A permutation for any n.
 */
int64_t permute_index(int64_t i, int64_t n, uint64_t key);

#endif
