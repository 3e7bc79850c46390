/* Batches from a token source. The shuffle is a small block cipher on the sequence index: a
 * permutation that needs no memory and no state, whatever the number of sequences. */
#include "data/loader.h"

#include <stdlib.h>

#include "data/mix.h"

enum { FEISTEL_ROUNDS = 8, FEISTEL_MIN_HALF = 3, MAX_SIDE = INT32_MAX };

struct Loader {
    const TokenSource *source;
    LoaderOptions options;
    int64_t n_sequences;
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

int loader_open(Loader **out, const TokenSource *source, LoaderOptions options, Err *err)
{
    *out = NULL;
    int64_t T = options.seq_length, B = options.batch_size, N = token_source_length(source);
    if (T < 1 || B < 1 || T > MAX_SIDE || B > MAX_SIDE)
        return err_set(err, "sequence length %lld and batch size %lld must be 1 to 2^31 - 1",
                       (long long)T, (long long)B);
    if ((N - 1) / T < 1)
        return err_set(err,
                       "%s: %lld tokens are too few for one sequence of %lld, which needs at least "
                       "%lld; add text or lower training.seq_length",
                       source->name, (long long)N, (long long)T, (long long)T + 1);
    Loader *l = malloc(sizeof *l);
    if (l == NULL) return err_set(err, "no memory for the loader");
    *l = (Loader){.source = source, .options = options, .n_sequences = (N - 1) / T};
    *out = l;
    return 0;
}

void loader_close(Loader *l)
{
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

int loader_rows(const Loader *l, int64_t batch_index, int64_t first, int64_t n, int32_t *out,
                Err *err)
{
    int64_t T = l->options.seq_length, B = l->options.batch_size;
    CHECK(batch_index >= 0 && batch_index < INT64_MAX / B, "batch %lld", (long long)batch_index);
    CHECK(first >= 0 && n >= 0 && n <= B - first, "rows %lld + %lld of %lld", (long long)first,
          (long long)n, (long long)B);
    for (int64_t b = 0; b < n; b++) {
        int64_t sequence = loader_sequence_at(l, batch_index * B + first + b);
        TRY(token_source_read(l->source, sequence * T, T + 1, out + b * (T + 1), err));
    }
    return 0;
}

int loader_batch(const Loader *l, int64_t batch_index, int32_t *out, Err *err)
{
    return loader_rows(l, batch_index, 0, l->options.batch_size, out, err);
}
