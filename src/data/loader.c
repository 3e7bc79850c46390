/* Batches from a token source. The shuffle is a small block cipher on the sequence index: a
 * permutation that needs no memory and no state, whatever the number of sequences. */
#include "data/loader.h"

#include <stdlib.h>

#include "data/mix.h"
#include "data/read_ahead.h"

enum { FEISTEL_ROUNDS = 8, FEISTEL_MIN_HALF = 3, MAX_SIDE = INT32_MAX };
enum { AHEAD_TOKENS = 1 << 24 }; /* the most that is kept read: 64 MiB */

struct Loader {
    const TokenSource *source;
    LoaderOptions options;
    int64_t n_sequences, batch_rows;
    ReadAhead *ahead; /* or NULL */
};

/* One pass over the domain [0, 4^half): each round exchanges the halves and mixes one into the
 * other, which can be undone, so distinct inputs stay distinct. */
static uint64_t feistel(uint64_t x, int half, uint64_t key)
{
    uint64_t mask = ((uint64_t)1 << half) - 1;
    uint64_t left = x >> half, right = x & mask;
    for (uint64_t round = 0; round < FEISTEL_ROUNDS; round++) {
        uint64_t mixed = left ^ (mix64(mix64(key + round) ^ right) & mask);
        left = right;
        right = mixed;
    }
    return left << half | right;
}

/* Steps outside 0 .. n-1 are walked through: the cycle of a permutation comes back inside. The
 * domain is less than 4 n (or 64), so a few steps do. */
int64_t permute_index(int64_t i, int64_t n, uint64_t key)
{
    CHECK(i >= 0 && i < n && n <= (int64_t)1 << 62, "index %lld of %lld", (long long)i,
          (long long)n);
    int half = FEISTEL_MIN_HALF;
    while (half < 31 && (int64_t)1 << (2 * half) < n) half++;
    uint64_t x = (uint64_t)i;
    do x = feistel(x, half, key);
    while (x >= (uint64_t)n);
    return (int64_t)x;
}

static int read_row(const void *context, int64_t row, int32_t *out, Err *err)
{
    const Loader *l = context;
    int64_t T = l->options.seq_length, rows = l->batch_rows;
    int64_t global = row / rows * l->options.batch_size + l->options.rank * rows + row % rows;
    return token_source_read(l->source, loader_sequence_at(l, global) * T, T + 1, out, err);
}

/* Two batches ahead, as far as that is not too much memory. */
static int start_ahead(Loader *l, Err *err)
{
    int64_t row_tokens = l->options.seq_length + 1, n = AHEAD_TOKENS / row_tokens;
    if (n > 2 * l->batch_rows) n = 2 * l->batch_rows;
    return read_ahead_open(&l->ahead, read_row, l, row_tokens, n < 2 ? 2 : n, err);
}

static int check_options(const TokenSource *source, LoaderOptions o, Err *err)
{
    int64_t T = o.seq_length, B = o.batch_size, N = token_source_length(source);
    if (T < 1 || B < 1 || T > MAX_SIDE || B > MAX_SIDE)
        return err_set(err, "sequence length %lld and batch size %lld must be 1 to 2^31 - 1",
                       (long long)T, (long long)B);
    CHECK(o.world >= 1 && o.rank >= 0 && o.rank < o.world, "rank %d of %d", o.rank, o.world);
    if (B % o.world != 0)
        return err_set(err,
                       "a batch of %lld sequences cannot be shared out evenly among %d processes: "
                       "make training.global_batch_size a multiple of their number",
                       (long long)B, o.world);
    if ((N - 1) / T >= 1) return 0;
    return err_set(err,
                   "%s: %lld tokens are too few for one sequence of %lld, which needs at least "
                   "%lld; add text or lower training.seq_length",
                   source->name, (long long)N, (long long)T, (long long)T + 1);
}

int loader_open(Loader **out, const TokenSource *source, LoaderOptions options, Err *err)
{
    *out = NULL;
    if (options.world == 0) options.world = 1;
    TRY(check_options(source, options, err));
    Loader *l = malloc(sizeof *l);
    if (l == NULL) return err_set(err, "no memory for the loader");
    *l = (Loader){.source = source,
                  .options = options,
                  .n_sequences = (token_source_length(source) - 1) / options.seq_length,
                  .batch_rows = options.batch_size / options.world};
    if (options.ahead && start_ahead(l, err) < 0) {
        loader_close(l);
        return -1;
    }
    *out = l;
    return 0;
}

void loader_close(Loader *l)
{
    if (l == NULL) return;
    read_ahead_close(l->ahead);
    free(l);
}

int64_t loader_sequences(const Loader *l)
{
    return l->n_sequences;
}

int64_t loader_sequence_at(const Loader *l, int64_t row)
{
    int64_t epoch = row / l->n_sequences, i = row % l->n_sequences;
    if (l->options.sequential) return i;
    return permute_index(i, l->n_sequences, mix64(mix64(l->options.seed) ^ (uint64_t)epoch));
}

int64_t loader_batch_rows(const Loader *l)
{
    return l->batch_rows;
}

int loader_rows(const Loader *l, int64_t batch_index, int64_t first, int64_t n, int32_t *out,
                Err *err)
{
    int64_t T = l->options.seq_length, rows = l->batch_rows;
    CHECK(batch_index >= 0 && batch_index < INT64_MAX / l->options.batch_size, "batch %lld",
          (long long)batch_index);
    CHECK(first >= 0 && n >= 0 && n <= rows - first, "rows %lld + %lld of %lld", (long long)first,
          (long long)n, (long long)rows);
    for (int64_t i = 0; i < n; i++) {
        int64_t row = batch_index * rows + first + i;
        int32_t *to = out + i * (T + 1);
        if (l->ahead != NULL)
            TRY(read_ahead_get(l->ahead, row, to, err));
        else
            TRY(read_row(l, row, to, err));
    }
    return 0;
}

int loader_batch(const Loader *l, int64_t batch_index, int32_t *out, Err *err)
{
    return loader_rows(l, batch_index, 0, l->batch_rows, out, err);
}
