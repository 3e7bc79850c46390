/* The published evaluation against the published numbers: the first sequence of a fixture as a data
 * set of its own; then batches, bounds and files. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/file.h"
#include "memory_source.h"
#include "own_folder.h"
#include "paths.h"
#include "run/holdout.h"
#include "run/parity.h"

enum { ROOM = 1 << 30, TINY_T = 24 };

/* The elements of a float32 .npy of that shape text; the caller frees *data. */
static const float *npy_read(const char *folder, const char *name, const char *shape, char **data)
{
    Err err;
    char path[PATH_MAX];
    size_t size, head;
    assert_int_equal(path_join(path, sizeof path, folder, name, &err), 0);
    assert_int_equal(file_read(path, data, &size, 1 << 24, &err), 0);
    head = 10 + (size_t)(unsigned char)(*data)[8] + 256 * (size_t)(unsigned char)(*data)[9];
    assert_non_null(strstr(*data + 10, shape));
    assert_non_null(strstr(*data + 10, "'<f4'"));
    assert_int_equal(head % 64, 0);
    return (const float *)(const void *)(*data + head);
}

static void compare(const double *mine, const StFile *file, const char *name, int64_t n,
                    double tolerance)
{
    const StTensor *t = st_find(file, name);
    assert_non_null(t);
    assert_true(t->n_elements >= n);
    double *theirs = malloc((size_t)t->n_elements * sizeof *theirs);
    assert_non_null(theirs);
    st_to_f64(t, theirs);
    for (int64_t i = 0; i < n; i++) assert_float_equal(mine[i], theirs[i], tolerance);
    free(theirs);
}

/* The case's first sequence, (T + 1) tokens: one sequence of a data set. */
static void fixture_agrees(const char *folder, const char *name)
{
    Err err;
    char path[PATH_MAX], *data, shape[32];
    ParityCase c;
    Backend *be;
    Model *m;
    TokenSource *source;
    Holdout h;
    snprintf(path, sizeof path, "tests/fixtures/%s.json", name);
    assert_int_equal(parity_case_open(&c, source_file(path), &err), 0);
    c.cfg.model.compute_dtype = COMPUTE_FP32;
    BackendOptions bo = {.threads = 1};
    assert_int_equal(backend_open(&be, &bo, &err), 0);
    assert_int_equal(model_create(&m, be, &c.cfg, &err), 0);
    assert_int_equal(model_load_params(m, c.inputs_path, "params/", &err), 0);
    source = memory_source(c.tokens, c.T + 1, (int32_t)c.cfg.model.vocab_size,
                           (int32_t)c.cfg.model.bos_token_id);
    HoldoutOptions o = {.length = c.T, .batch = 8, .memory = ROOM, .out = folder};
    assert_int_equal(holdout_score(&h, m, source, &o, &err), 0);
    assert_int_equal(h.scored, 1);
    compare(h.token_nll, c.reference, "token_nll", c.T, 1e-4);
    compare(h.chunk_loss, c.reference, "chunk_loss", h.chunks, 1e-5);
    compare(&h.loss, c.reference, "seq_loss", 1, 1e-5);
    snprintf(shape, sizeof shape, "'shape': (%lld,)", (long long)c.T);
    const float *mean = npy_read(folder, "train_holdout_token_nll_loss.npy", shape, &data);
    for (int64_t p = 0; p < c.T; p++) assert_float_equal(mean[p], h.token_nll[p], 1e-6);
    free(data);
    snprintf(shape, sizeof shape, "'shape': (1, %lld)", (long long)c.T);
    const float *all = npy_read(folder, "train_holdout_token_nll.npy", shape, &data);
    for (int64_t p = 0; p < c.T; p++) assert_float_equal(all[p], h.token_nll[p], 1e-6);
    free(data);
    holdout_free(&h);
    token_source_close(source);
    model_free(m);
    backend_close(be);
    parity_case_close(&c);
}

static void meta_agrees_with_the_fixture(void **state)
{
    fixture_agrees(*state, "H_long_eval");
}

static void full_attention_agrees_with_the_fixture(void **state)
{
    fixture_agrees(*state, "C_full_attention_f64");
}

static void sliding_window_agrees_with_the_fixture(void **state)
{
    fixture_agrees(*state, "D_sliding_window_f64");
}

/* --- a model and data of our own --------------------------------------------------------------*/

typedef struct Bench {
    Backend *be;
    Model *m;
    TokenSource *source;
    int32_t tokens[7 * TINY_T + 11];
} Bench;

static void bench_open(Bench *b)
{
    Err err;
    Config c;
    static const char *const settings[][2] = {
        {"model.hidden_size", "16"},
        {"model.intermediate_size", "24"},
        {"model.num_hidden_layers", "2"},
        {"model.num_attention_heads", "2"},
        {"model.mini_batch_size", "8"},
        {"model.sliding_window_size", "10"},
        {"model.suffix_len", "1"},
        {"model.prime", "true"},
        {"model.seq_modeling_block", "SWA"},
        {"model.compute_dtype", "fp32"},
        {"model.vocab_size", "40"},
        {"model.output_size", "40"},
        {"model.bos_token_id", "0"},
        {"model.tie_word_embeddings", "true"},
        {"training.train_mode", "meta"},
        {"training.optimizer_inner.lr", "0.5"},
        {"training.spec_inner", "['language_model.**.suffix_blocks.feed_forward_prime.**']"},
        {"model.initializer_range", "0.3"},
    };
    config_defaults(&c);
    for (int i = 0; i < ARRAY_LEN(settings); i++)
        assert_int_equal(config_set(&c, settings[i][0], settings[i][1], "test", &err), 0);
    for (int i = 0; i < ARRAY_LEN(b->tokens); i++) b->tokens[i] = (i * 7 + i * i / 5) % 40;
    BackendOptions bo = {.threads = 1};
    assert_int_equal(backend_open(&b->be, &bo, &err), 0);
    assert_int_equal(model_create(&b->m, b->be, &c, &err), 0);
    b->source = memory_source(b->tokens, ARRAY_LEN(b->tokens), 40, 0);
}

static void bench_close(Bench *b)
{
    token_source_close(b->source);
    model_free(b->m);
    backend_close(b->be);
}

static void batches_change_nothing(void **state)
{
    (void)state;
    Err err;
    Bench b;
    Holdout one, all;
    bench_open(&b);
    HoldoutOptions o = {.length = TINY_T, .batch = 1, .memory = ROOM};
    assert_int_equal(holdout_score(&one, b.m, b.source, &o, &err), 0);
    o.batch = 5;
    assert_int_equal(holdout_score(&all, b.m, b.source, &o, &err), 0);
    assert_int_equal(one.scored, 7);
    assert_int_equal(all.scored, 7);
    assert_int_equal(all.chunks, 3);
    assert_float_equal(one.loss, all.loss, 1e-5);
    for (int p = 0; p < TINY_T; p++) assert_float_equal(one.token_nll[p], all.token_nll[p], 1e-5);
    double mean = 0;
    for (int c = 0; c < 3; c++) mean += all.chunk_loss[c] / 3;
    assert_float_equal(mean, all.loss, 1e-9);
    o.memory = 1; /* no room for more than one at a time, and still done */
    holdout_free(&all);
    assert_int_equal(holdout_score(&all, b.m, b.source, &o, &err), 0);
    assert_float_equal(one.loss, all.loss, 0);
    holdout_free(&all);
    holdout_free(&one);
    bench_close(&b);
}

/* Masked targets count in the losses of tokens, and not in the loss of a chunk or of a bin. */
static void masked_targets(void **state)
{
    Err err;
    Bench b;
    Holdout h;
    char *data;
    bench_open(&b);
    HoldoutOptions o = {
        .length = TINY_T, .batch = 4, .memory = ROOM, .max_sequences = 2, .out = *state};
    assert_int_equal(holdout_score(&h, b.m, b.source, &o, &err), 0);
    assert_int_equal(h.scored, 2);
    const float *all = npy_read(*state, "train_holdout_token_nll.npy", "(2, 24)", &data);
    double loss = 0, sum = 0;
    int masked = 0, n = 0;
    for (int s = 0; s < 2; s++) {
        for (int c = 0; c < 3; c++) {
            double chunk = 0;
            int seen = 0;
            for (int p = 8 * c; p < 8 * c + 8; p++) {
                double nll = (double)all[s * TINY_T + p];
                assert_true(isfinite(nll) && nll > 0);
                if (b.tokens[s * TINY_T + p + 1] == 0) {
                    masked++;
                    continue;
                }
                chunk += nll;
                sum += nll;
                seen++;
                n++;
            }
            loss += chunk / seen / 6;
        }
    }
    assert_true(masked > 0);
    assert_float_equal(h.loss, loss, 1e-5);
    assert_int_equal(h.set.n_bins, 1);
    sum /= (double)n;
    assert_float_equal(h.bin_loss[0], sum, 1e-5);
    free(data);
    holdout_free(&h);
    bench_close(&b);
}

static void what_cannot_be_scored_is_named(void **state)
{
    Err err;
    Bench b;
    Holdout h;
    char path[PATH_MAX];
    bench_open(&b);
    HoldoutOptions o = {.length = 5000, .batch = 4, .memory = ROOM};
    assert_int_equal(holdout_score(&h, b.m, b.source, &o, &err), -1);
    assert_non_null(strstr(err.text, "one sequence needs 5001; lower training.seq_length"));
    snprintf(path, sizeof path, "%s/none", (char *)*state);
    o = (HoldoutOptions){.length = TINY_T, .batch = 4, .memory = ROOM, .out = path};
    assert_int_equal(holdout_score(&h, b.m, b.source, &o, &err), -1);
    assert_non_null(strstr(err.text, "none/train_holdout_token_nll.npy"));
    volatile sig_atomic_t stop = 1;
    o = (HoldoutOptions){
        .length = TINY_T, .batch = 4, .memory = ROOM, .out = *state, .stop = &stop};
    assert_int_equal(holdout_score(&h, b.m, b.source, &o, &err), -1);
    snprintf(path, sizeof path, "%s/train_holdout_token_nll.npy", (char *)*state);
    assert_false(file_exists(path));
    real nan = (real)NAN;
    backend_upload(b.be, b.m->params, &nan, 1); /* the embedding of BOS, token 0 */
    o.stop = NULL;
    assert_int_equal(holdout_score(&h, b.m, b.source, &o, &err), -1);
    assert_non_null(strstr(err.text, "the loss of sequence 0 is NaN at position 0"));
    assert_false(file_exists(path));
    bench_close(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(meta_agrees_with_the_fixture, folder_enter, folder_leave),
        cmocka_unit_test_setup_teardown(full_attention_agrees_with_the_fixture, folder_enter,
                                        folder_leave),
        cmocka_unit_test_setup_teardown(sliding_window_agrees_with_the_fixture, folder_enter,
                                        folder_leave),
        cmocka_unit_test(batches_change_nothing),
        cmocka_unit_test_setup_teardown(masked_targets, folder_enter, folder_leave),
        cmocka_unit_test_setup_teardown(what_cannot_be_scored_is_named, folder_enter, folder_leave),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
