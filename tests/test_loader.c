/* The loader: the shuffle, batches, reading ahead, shares of ranks. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "data/loader.h"
#include "memory_source.h"

static void assert_mentions(const Err *err, const char *part)
{
    if (strstr(err->text, part) == NULL) fail_msg("'%s' does not mention '%s'", err->text, part);
    assert_null(strchr(err->text, '\n'));
}

static Loader *count_loader(TokenSource **source, int32_t *tokens, int64_t n, LoaderOptions options)
{
    Loader *loader;
    Err err;
    for (int64_t i = 0; i < n; i++) tokens[i] = (int32_t)i;
    *source = memory_source(tokens, n, INT32_MAX, -1);
    assert_int_equal(loader_open(&loader, *source, options, &err), 0);
    return loader;
}

static void shuffle_is_permutation(void **state)
{
    (void)state;
    static const int64_t lengths[] = {1, 2, 3, 4, 5, 63, 64, 65, 100, 255, 256, 257, 4099};
    for (int k = 0; k < ARRAY_LEN(lengths); k++) {
        int64_t n = lengths[k], fixed = 0;
        for (uint64_t key = 0; key < 3; key++) {
            unsigned char seen[4099] = {0};
            for (int64_t i = 0; i < n; i++) {
                int64_t to = permute_index(i, n, key);
                assert_in_range(to, 0, n - 1);
                assert_int_equal(seen[to]++, 0);
                fixed += to == i;
            }
        }
        if (n > 50) assert_in_range(fixed, 0, 20); /* 3 expected over three keys */
    }
    int64_t far = permute_index(((int64_t)1 << 40) - 1, (int64_t)1 << 40, 1);
    assert_in_range(far, 0, ((int64_t)1 << 40) - 1);
}

/* Where index 0 goes is spread evenly over the keys, for tiny lengths too. */
static void shuffle_is_even(void **state)
{
    (void)state;
    for (int64_t n = 2; n <= 6; n++) {
        int counts[6] = {0};
        for (uint64_t key = 0; key < 6000; key++) counts[permute_index(0, n, key * 77)]++;
        for (int64_t i = 0; i < n; i++)
            assert_in_range(counts[i], 6000 / n * 85 / 100, 6000 / n * 115 / 100);
    }
}

static void loader_layout(void **state)
{
    (void)state;
    enum { N = 42, T = 4, B = 3, SEQUENCES = (N - 1) / T };
    int32_t tokens[N], out[B * (T + 1)], rows[T + 1];
    TokenSource *source;
    Err err;
    LoaderOptions options = {.seq_length = T, .batch_size = B, .seed = 9};
    Loader *loader = count_loader(&source, tokens, N, options);
    assert_int_equal(loader_sequences(loader), SEQUENCES);
    int seen[2][SEQUENCES] = {{0}}, order_differs = 0;
    for (int64_t row = 0; row < 2 * SEQUENCES; row++) {
        assert_int_equal(loader_batch(loader, row / B, out, &err), 0);
        const int32_t *sequence = out + row % B * (T + 1);
        assert_int_equal(sequence[0] % T, 0);
        for (int t = 0; t <= T; t++) assert_int_equal(sequence[t], sequence[0] + t);
        seen[row / SEQUENCES][sequence[0] / T]++;
        assert_int_equal(loader_rows(loader, row / B, row % B, 1, rows, &err), 0);
        assert_memory_equal(rows, sequence, sizeof rows);
        if (row >= SEQUENCES)
            order_differs |=
                loader_sequence_at(loader, row) != loader_sequence_at(loader, row - SEQUENCES);
    }
    for (int i = 0; i < SEQUENCES; i++) assert_true(seen[0][i] == 1 && seen[1][i] == 1);
    assert_true(order_differs);
    loader_close(loader);
    token_source_close(source);
}

/* Any batch, asked for in any order by any loader of the same seed, is the same. */
static void loader_is_pure(void **state)
{
    (void)state;
    enum { N = 101, T = 7, B = 4 };
    int32_t tokens[N], first[B * (T + 1)], again[B * (T + 1)];
    TokenSource *source, *other_source;
    Err err;
    LoaderOptions options = {.seq_length = T, .batch_size = B, .seed = 1};
    Loader *loader = count_loader(&source, tokens, N, options);
    assert_int_equal(loader_batch(loader, 1234567, first, &err), 0);
    assert_int_equal(loader_batch(loader, 3, again, &err), 0);
    assert_int_equal(loader_batch(loader, 1234567, again, &err), 0);
    assert_memory_equal(first, again, sizeof first);
    options.seed = 2;
    Loader *other = count_loader(&other_source, tokens, N, options);
    assert_int_equal(loader_batch(other, 1234567, again, &err), 0);
    assert_memory_not_equal(first, again, sizeof first);
    loader_close(other);
    token_source_close(other_source);
    loader_close(loader);
    token_source_close(source);
}

static void loader_small_and_sequential(void **state)
{
    (void)state;
    enum { T = 4, B = 5 };
    int32_t tokens[9], out[B * (T + 1)];
    TokenSource *source;
    Err err;
    LoaderOptions options = {.seq_length = T, .batch_size = B, .sequential = true};
    Loader *loader = count_loader(&source, tokens, 9, options); /* two sequences */
    assert_int_equal(loader_batch(loader, 0, out, &err), 0);
    for (int b = 0; b < B; b++) assert_int_equal(out[b * (T + 1)], b % 2 * T);
    loader_close(loader);
    options.seq_length = 8;
    assert_int_equal(loader_open(&loader, source, options, &err), 0);
    loader_close(loader);
    options.seq_length = 9;
    assert_int_equal(loader_open(&loader, source, options, &err), -1);
    assert_mentions(&err, "tokens in memory");
    assert_mentions(&err, "10");
    options.seq_length = 0;
    assert_int_equal(loader_open(&loader, source, options, &err), -1);
    token_source_close(source);
    assert_int_equal(token_source_dummy(&source, 0, 5, 1, &err), 0);
    options.seq_length = 1;
    assert_int_equal(loader_open(&loader, source, options, &err), -1);
    token_source_close(source);
}

/* Read ahead on a thread, any batch from anywhere on is the same as without: so a run that goes on
 * in the middle of an epoch reads what it would have read. */
static void loader_reads_ahead(void **state)
{
    (void)state;
    enum { N = 501, T = 7, B = 4 };
    int32_t tokens[N], plain[B * (T + 1)], ahead[B * (T + 1)];
    TokenSource *source;
    Loader *other;
    Err err;
    LoaderOptions options = {.seq_length = T, .batch_size = B, .seed = 1};
    Loader *loader = count_loader(&source, tokens, N, options);
    options.ahead = true;
    static const int64_t starts[] = {0, 9, 1234567, 3, 4};
    for (int s = 0; s < ARRAY_LEN(starts); s++) {
        assert_int_equal(loader_open(&other, source, options, &err), 0);
        for (int64_t k = starts[s]; k < starts[s] + 40; k++) {
            assert_int_equal(loader_batch(loader, k, plain, &err), 0);
            assert_int_equal(loader_batch(other, k, ahead, &err), 0);
            assert_memory_equal(plain, ahead, sizeof plain);
            if (k % 5 != 0) continue; /* and out of turn */
            assert_int_equal(loader_rows(loader, 77 + k, 1, 2, plain, &err), 0);
            assert_int_equal(loader_rows(other, 77 + k, 1, 2, ahead, &err), 0);
            assert_memory_equal(plain, ahead, 2 * (T + 1) * sizeof *plain);
        }
        loader_close(other);
    }
    loader_close(loader);
    token_source_close(source);
}

/* A token that cannot be read fails the batch that holds it and no other. */
static void loader_ahead_fails_in_turn(void **state)
{
    (void)state;
    enum { N = 101, T = 4, BAD = 42 };
    int32_t tokens[N], out[T + 1];
    TokenSource *source;
    Loader *loader;
    Err err;
    for (int i = 0; i < N; i++) tokens[i] = i == BAD ? -5 : i;
    source = memory_source(tokens, N, 1000, -1);
    LoaderOptions options = {.seq_length = T, .batch_size = 1, .sequential = true, .ahead = true};
    assert_int_equal(loader_open(&loader, source, options, &err), 0);
    for (int64_t k = 0; k < 25; k++) {
        bool bad = BAD >= k * T && BAD <= (k + 1) * T;
        assert_int_equal(loader_batch(loader, k, out, &err), bad ? -1 : 0);
        if (bad) assert_mentions(&err, "token 42");
    }
    loader_close(loader);
    token_source_close(source);
}

/* All ranks together read the batch that one process would. */
static void ranks_share_batches(void **state)
{
    (void)state;
    enum { N = 301, T = 5, B = 6, WORLD = 3 };
    int32_t tokens[N], all[B * (T + 1)], part[B / WORLD * (T + 1)];
    TokenSource *source;
    Loader *rank;
    Err err;
    LoaderOptions options = {.seq_length = T, .batch_size = B, .seed = 4};
    Loader *loader = count_loader(&source, tokens, N, options);
    for (int r = 0; r < WORLD; r++) {
        options.rank = r;
        options.world = WORLD;
        options.ahead = r == 1;
        assert_int_equal(loader_open(&rank, source, options, &err), 0);
        assert_int_equal(loader_batch_rows(rank), B / WORLD);
        for (int64_t k = 0; k < 30; k++) {
            assert_int_equal(loader_batch(loader, k, all, &err), 0);
            assert_int_equal(loader_batch(rank, k, part, &err), 0);
            assert_memory_equal(all + r * (B / WORLD) * (T + 1), part, sizeof part);
        }
        loader_close(rank);
    }
    options.batch_size = 7;
    assert_int_equal(loader_open(&rank, source, options, &err), -1);
    assert_mentions(&err, "multiple");
    loader_close(loader);
    token_source_close(source);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(shuffle_is_permutation),
        cmocka_unit_test(shuffle_is_even),
        cmocka_unit_test(loader_layout),
        cmocka_unit_test(loader_is_pure),
        cmocka_unit_test(loader_small_and_sequential),
        cmocka_unit_test(loader_reads_ahead),
        cmocka_unit_test(loader_ahead_fails_in_turn),
        cmocka_unit_test(ranks_share_batches),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
