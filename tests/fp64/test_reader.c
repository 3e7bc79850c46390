/* Reading token by token, in ragged pieces and all at once gives the same scores as one evaluation
 * of the whole sequence, with learning on and off, for every kind of attention and any chunk and
 * window. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "base/rng.h"
#include "model/reader.h"
#include "model/sweep.h"

enum { T = 53, VOCAB = 19 };

typedef struct Case {
    const char *name;
    int block, mode; /* SeqBlock, TrainMode */
    int64_t chunk, window, suffix;
    bool prime;
    const char *inner;
} Case;

static const Case cases[] = {
    {"primes, window over two chunks", SEQ_SWA, TRAIN_META, 8, 16, 2, true,
     "**.suffix_blocks.feed_forward_prime.**"},
    {"window smaller than the chunk", SEQ_SWA, TRAIN_META, 12, 5, 1, true, "**.suffix_blocks.**"},
    {"window no multiple of the chunk", SEQ_SWA, TRAIN_META, 7, 10, 3, false, "**"},
    {"short chunks under a long window", SEQ_SWA, TRAIN_META, 3, 17, 1, true,
     "**.suffix_blocks.feed_forward_prime.**"},
    {"chunks of one token", SEQ_SWA, TRAIN_META, 1, 4, 1, true,
     "**.suffix_blocks.feed_forward_prime.**"},
    {"chunk longer than the text", SEQ_SWA, TRAIN_META, 64, 80, 1, true, "**.suffix_blocks.**"},
    {"window over each chunk", SEQ_SWA_FULL, TRAIN_META, 9, 6, 1, true, "**.suffix_blocks.**"},
    {"full attention in each chunk", SEQ_SELF_ATTENTION, TRAIN_META, 9, 6, 2, false,
     "**.suffix_blocks.feed_forward.**"},
    {"baseline, sliding window", SEQ_SWA, TRAIN_PRETRAIN, 8, 20, 0, false, "**"},
    {"baseline, full attention", SEQ_SELF_ATTENTION, TRAIN_PRETRAIN, 64, 6, 0, false, "**"},
};

static Model *make_model(Backend *be, const Case *c)
{
    Config cfg;
    Model *m;
    Err err;
    config_defaults(&cfg);
    cfg.model.vocab_size = cfg.model.output_size = VOCAB;
    cfg.model.hidden_size = 12;
    cfg.model.num_attention_heads = 2;
    cfg.model.intermediate_size = 10;
    cfg.model.num_hidden_layers = 3;
    cfg.model.initializer_range = 0.3;
    cfg.model.compute_dtype = COMPUTE_FP64;
    cfg.model.tie_word_embeddings = true;
    cfg.model.seq_modeling_block = c->block;
    cfg.model.mini_batch_size = c->chunk;
    cfg.model.sliding_window_size = c->window;
    cfg.model.suffix_len = c->suffix;
    cfg.model.prime = c->prime;
    cfg.training.train_mode = c->mode;
    cfg.training.optimizer_inner.optimizer_type = OPT_SGD;
    cfg.training.optimizer_inner.lr = 0.1;
    cfg.training.optimizer_inner.clip_gradient = 1;
    cfg.training.spec_inner.n = 1;
    snprintf(cfg.training.spec_inner.glob[0], CFG_TEXT, "%s", c->inner);
    if (model_create(&m, be, &cfg, &err) < 0) fail_msg("%s: %s", c->name, err.text);
    return m;
}

static void evaluate(Model *m, const int32_t *tokens, bool learn, double *nll)
{
    SweepOptions o = {.batch = 1, .length = T, .learn = learn};
    SweepReport report = {.token_nll = nll};
    Sweep *s;
    Err err;
    assert_int_equal(sweep_create(&s, m, &o, &err), 0);
    (void)sweep_run(s, tokens, m->cfg.training.optimizer_inner.lr, NULL, 1, &report);
    sweep_free(s);
}

/* pieces: lengths that are fed in turn, over and over. */
static void read_in(Model *m, const int32_t *tokens, bool learn, const size_t *pieces, int n,
                    double *nll)
{
    Reader *r;
    Err err;
    assert_int_equal(reader_create(&r, m, learn, 0, &err), 0);
    size_t at = 0;
    for (int i = 0; at < T + 1; i++) {
        size_t size = pieces[i % n] < T + 1 - at ? pieces[i % n] : T + 1 - at;
        if (reader_feed(r, tokens + at, size, nll + at, &err) < 0) fail_msg("%s", err.text);
        at += size;
    }
    reader_free(r);
}

static void compare(const Case *c, const char *how, const double *read, const double *wanted)
{
    assert_true(read[0] == 0);
    for (int i = 0; i < T; i++)
        if (!(fabs(read[i + 1] - wanted[i]) <= 1e-10 * (1 + fabs(wanted[i]))))
            fail_msg("%s, %s: token %d scores %.15g instead of %.15g", c->name, how, i + 1,
                     read[i + 1], wanted[i]);
}

/* Whole chunks at a time, while a second reader of the model reads the same in chunks and a half.
 */
static void read_in_turn(Model *m, const int32_t *tokens, bool learn, double nll[2][T + 1])
{
    Reader *r[2];
    Err err;
    size_t chunk = (size_t)m->cfg.model.mini_batch_size, at[2] = {0, 0};
    for (int i = 0; i < 2; i++) assert_int_equal(reader_create(&r[i], m, learn, 0, &err), 0);
    for (int i = 0; at[0] < T + 1 || at[1] < T + 1; i = 1 - i) {
        size_t size = i ? chunk + (chunk + 1) / 2 : chunk, left = T + 1 - at[i];
        size = size < left ? size : left;
        if (reader_feed(r[i], tokens + at[i], size, nll[i] + at[i], &err) < 0)
            fail_msg("%s", err.text);
        at[i] += size;
    }
    for (int i = 0; i < 2; i++) reader_free(r[i]);
}

static void check_case(Backend *be, const Case *c, bool learn)
{
    static const size_t one[] = {1}, ragged[] = {3, 1, 17, 8, 2}, all[] = {T + 1};
    size_t chunks[] = {(size_t)c->chunk, 2 * (size_t)c->chunk};
    double in_turn[2][T + 1];
    int32_t tokens[T + 1];
    double wanted[T], read[T + 1];
    Rng rng;
    Model *m = make_model(be, c);
    rng_seed(&rng, 5, 0);
    for (int i = 0; i <= T; i++) tokens[i] = (int32_t)rng_below(&rng, VOCAB);
    evaluate(m, tokens, learn, wanted);
    read_in(m, tokens, learn, one, ARRAY_LEN(one), read);
    compare(c, "token by token", read, wanted);
    read_in(m, tokens, learn, ragged, ARRAY_LEN(ragged), read);
    compare(c, "in pieces", read, wanted);
    read_in(m, tokens, learn, all, ARRAY_LEN(all), read);
    compare(c, "at once", read, wanted);
    read_in(m, tokens, learn, chunks, ARRAY_LEN(chunks), read);
    compare(c, "in whole chunks", read, wanted);
    read_in_turn(m, tokens, learn, in_turn);
    compare(c, "in turn, whole chunks", in_turn[0], wanted);
    compare(c, "in turn, pieces", in_turn[1], wanted);
    model_free(m);
}

static void reading_equals_evaluation(void **state)
{
    (void)state;
    Backend *be;
    BackendOptions o = {.threads = 1};
    Err err;
    assert_int_equal(backend_open(&be, &o, &err), 0);
    for (int i = 0; i < ARRAY_LEN(cases); i++) {
        check_case(be, &cases[i], false);
        if (cases[i].mode == TRAIN_META) check_case(be, &cases[i], true);
    }
    backend_close(be);
}

/* A copy made anywhere, wherever chunks then begin in its window, goes on with the same bits. */
static void check_copies(Backend *be, const Case *c)
{
    int32_t tokens[T + 1];
    double nll[T + 1], again[T + 1];
    Rng rng;
    Err err;
    Reader *r, *copy;
    Model *m = make_model(be, c);
    rng_seed(&rng, 7, 0);
    for (int i = 0; i <= T; i++) tokens[i] = (int32_t)rng_below(&rng, VOCAB);
    for (size_t at = 1; at < T; at += 5) {
        assert_int_equal(reader_create(&r, m, c->mode == TRAIN_META, 0, &err), 0);
        assert_int_equal(reader_feed(r, tokens, at, nll, &err), 0);
        assert_int_equal(reader_clone(&copy, r, &err), 0);
        assert_int_equal(reader_feed(r, tokens + at, T - at, nll + at, &err), 0);
        assert_int_equal(reader_feed(copy, tokens + at, T - at, again + at, &err), 0);
        if (memcmp(nll + at, again + at, (T - at) * sizeof *nll) != 0)
            fail_msg("%s: a copy after %zu tokens goes on differently", c->name, at);
        reader_free(r);
        reader_free(copy);
    }
    model_free(m);
}

static void copies_go_on_alike(void **state)
{
    (void)state;
    Backend *be;
    BackendOptions o = {.threads = 1};
    Err err;
    assert_int_equal(backend_open(&be, &o, &err), 0);
    for (int i = 0; i < ARRAY_LEN(cases); i++) check_copies(be, &cases[i]);
    backend_close(be);
}

/* What was read is whole chunks and the rows of one more; the numbers of a memory must say so. */
static void restoring_refuses(void **state)
{
    (void)state;
    int32_t tokens[40] = {0};
    Backend *be;
    BackendOptions o = {.threads = 1};
    Err err;
    Reader *r;
    ReaderSnapshot s;
    assert_int_equal(backend_open(&be, &o, &err), 0);
    Model *m = make_model(be, &cases[0]);
    assert_int_equal(reader_create(&r, m, true, 0, &err), 0);
    assert_int_equal(reader_feed(r, tokens, ARRAY_LEN(tokens), NULL, &err), 0);
    assert_int_equal(reader_snapshot(r, &s, &err), 0);
    assert_int_equal(reader_restore(r, &s, &err), 0);
    s.counters.tokens++;
    assert_int_equal(reader_restore(r, &s, &err), -1);
    assert_non_null(strstr(err.text, "contradict"));
    reader_snapshot_free(&s);
    reader_free(r);
    model_free(m);
    backend_close(be);
}

/* Readers that have read prompts of different lengths, then side by side, against the same alone:
 * greedy, so that a token that differs would lead astray for good. */
static void check_side_by_side(Backend *be, const Case *c, bool learn)
{
    enum { STREAMS = 3, STEPS = 20 };
    static const size_t lengths[STREAMS] = {1, 17, 9};
    Model *m = make_model(be, c);
    Reader *together[STREAMS], *alone[STREAMS];
    Err err;
    Rng rng;
    rng_seed(&rng, 6, 0);
    for (int b = 0; b < STREAMS; b++) {
        int32_t prompt[17];
        for (int i = 0; i < ARRAY_LEN(prompt); i++) prompt[i] = (int32_t)rng_below(&rng, VOCAB);
        assert_int_equal(reader_create(&together[b], m, learn, 0, &err), 0);
        assert_int_equal(reader_create(&alone[b], m, learn, 0, &err), 0);
        assert_int_equal(reader_feed(together[b], prompt, lengths[b], NULL, &err), 0);
        assert_int_equal(reader_feed(alone[b], prompt, lengths[b], NULL, &err), 0);
    }
    for (int step = 0; step < STEPS; step++) {
        float logp[STREAMS][VOCAB], wanted[VOCAB];
        int32_t token[STREAMS];
        /* the second one leaves half way: those that are left are not neighbours */
        int n = step < STEPS / 2 ? 3 : 2;
        Reader *active[STREAMS] = {together[0], n == 3 ? together[1] : together[2], together[2]};
        assert_int_equal(readers_logprobs(active, n, logp[0], &err), 0);
        for (int b = 0; b < n; b++) {
            Reader *one = alone[n == 3 ? b : 2 * b];
            assert_int_equal(reader_logprobs(one, wanted, &err), 0);
            token[b] = 0;
            for (int i = 0; i < VOCAB; i++) {
                if (fabs((double)logp[b][i] - (double)wanted[i]) > 1e-6)
                    fail_msg("%s: stream %d, step %d: %g instead of %g", c->name, b, step,
                             (double)logp[b][i], (double)wanted[i]);
                if (wanted[i] > wanted[token[b]]) token[b] = i;
            }
            assert_int_equal(reader_feed(one, &token[b], 1, NULL, &err), 0);
        }
        if (readers_feed(active, n, token, &err) < 0) fail_msg("%s", err.text);
    }
    for (int b = 0; b < STREAMS; b++) {
        ReaderCounters x, y;
        reader_counters(together[b], &x);
        reader_counters(alone[b], &y);
        assert_int_equal(x.tokens, y.tokens);
        assert_int_equal(x.steps, y.steps);
        assert_true(!learn || x.steps > 0 || c->chunk > STEPS);
        reader_free(together[b]);
        reader_free(alone[b]);
    }
    model_free(m);
}

static void side_by_side_equals_alone(void **state)
{
    (void)state;
    Backend *be;
    BackendOptions o = {.threads = 2};
    Err err;
    assert_int_equal(backend_open(&be, &o, &err), 0);
    for (int i = 0; i < ARRAY_LEN(cases); i++) {
        check_side_by_side(be, &cases[i], false);
        if (cases[i].mode == TRAIN_META) check_side_by_side(be, &cases[i], true);
    }
    backend_close(be);
}

static void side_by_side_refuses(void **state)
{
    (void)state;
    Backend *be;
    BackendOptions o = {.threads = 1};
    Err err;
    const int32_t token[2] = {1, VOCAB}, good[2] = {1, 2};
    assert_int_equal(backend_open(&be, &o, &err), 0);
    Model *m = make_model(be, &cases[0]), *other = make_model(be, &cases[0]);
    Reader *r[2], *foreign;
    assert_int_equal(reader_create(&r[0], m, true, 0, &err), 0);
    assert_int_equal(reader_create(&r[1], m, true, 0, &err), 0);
    assert_int_equal(reader_create(&foreign, other, true, 0, &err), 0);
    assert_int_equal(readers_feed((Reader *[]){r[0], r[0]}, 2, good, &err), -1);
    assert_int_equal(readers_feed((Reader *[]){r[0], foreign}, 2, good, &err), -1);
    assert_int_equal(readers_feed(r, 2, token, &err), -1);
    assert_non_null(strstr(err.text, "reader 1 of 2"));
    ReaderCounters c;
    reader_counters(r[0], &c);
    assert_int_equal(c.tokens, 0);
    reader_free(r[0]);
    reader_free(r[1]);
    reader_free(foreign);
    model_free(m);
    model_free(other);
    backend_close(be);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(reading_equals_evaluation), cmocka_unit_test(copies_go_on_alike),
        cmocka_unit_test(restoring_refuses), cmocka_unit_test(side_by_side_equals_alone),
        cmocka_unit_test(side_by_side_refuses)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
