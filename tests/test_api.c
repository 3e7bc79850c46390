/* The public library on a small random model: however a text arrives it is scored the same, and
 * readers are independent. `test_api make-model DIR SEED MODE` writes such a model. */
#include <pthread.h>

#include "api_fixture.h"

static const ttt_reader_options frozen = {.no_learning = true};

static void expect_close(const double *a, const double *b, int n, double relative)
{
    for (int i = 0; i < n; i++)
        if (!(fabs(a[i] - b[i]) <= relative * fmax(1e-3, fabs(b[i]))))
            fail_msg("token %d: %.9g and %.9g", i, a[i], b[i]);
}

/* --- the model ----------------------------------------------------------------------------------
 */

static void a_model_describes_itself(void **state)
{
    const Fixture *f = *state;
    ttt_model_info a, b, plain;
    ttt_model_describe(f->meta, &a);
    ttt_model_describe(f->other, &b);
    ttt_model_describe(f->plain, &plain);
    assert_int_equal(a.vocab_size, VOCAB);
    assert_int_equal(a.bos, BOS);
    assert_int_equal(a.chunk, CHUNK);
    assert_int_equal(a.window, 10);
    assert_int_equal(a.layers, 3);
    assert_true(a.learns);
    assert_false(plain.learns);
    assert_true(a.inner_parameters > 0 && a.inner_parameters < a.parameters);
    assert_true(a.state_bytes >= (size_t)a.inner_parameters * sizeof(float));
    assert_string_equal(a.tokenizer, "bytes");
    assert_int_equal(strlen(a.digest), 64);
    assert_string_not_equal(a.digest, b.digest);
}

static void bad_models_are_refused(void **state)
{
    const Fixture *f = *state;
    char path[PATH_MAX], why[TTT_ERROR_MAX] = "";
    ttt_model *m = (ttt_model *)1;
    path_in(f, "nothing", path);
    assert_int_equal(ttt_model_open(&m, path, NULL, why), -1);
    assert_null(m);
    assert_non_null(strstr(why, "nothing"));
    assert_int_equal(ttt_model_open(&m, path, NULL, NULL), -1); /* who does not ask is not told */
    path_in(f, "meta", path);
    const char *unknown[] = {"model.no_such_key=1", NULL}, *shapeless[] = {"nonsense", NULL};
    ttt_model_options o = {.threads = 1, .overrides = unknown};
    assert_int_equal(ttt_model_open(&m, path, &o, why), -1);
    assert_non_null(strstr(why, "no_such_key"));
    o.overrides = shapeless;
    assert_int_equal(ttt_model_open(&m, path, &o, why), -1);
    assert_non_null(strstr(why, "nonsense"));
    o = (ttt_model_options){.threads = 1, .compute = "int3"};
    assert_int_equal(ttt_model_open(&m, path, &o, why), -1);
    assert_non_null(strstr(why, "int3"));
    o = (ttt_model_options){.threads = -1};
    assert_int_equal(ttt_model_open(&m, path, &o, why), -1);
}

/* --- reading ------------------------------------------------------------------------------------
 */

static void expect_pieces_agree(ttt_model *m, const ttt_reader_options *options,
                                const int32_t *tokens)
{
    static const size_t pieces[] = {1, 2, CHUNK - 1, CHUNK, CHUNK + 1, 31};
    double whole[N], parts[N];
    ttt_reader *all = reader_make(m, options);
    feed(all, tokens, N, whole);
    for (int i = 0; i < ARRAY_LEN(pieces); i++) {
        ttt_reader *r = reader_make(m, options);
        feed_in_pieces(r, tokens, N, pieces[i], parts);
        expect_close(parts, whole, N, 1e-4);
        assert_int_equal(describe(r).steps, describe(all).steps);
        assert_int_equal(describe(r).pending, describe(all).pending);
        ttt_reader_free(r);
    }
    ttt_reader_free(all);
}

static void pieces_do_not_matter(void **state)
{
    const Fixture *f = *state;
    expect_pieces_agree(f->meta, NULL, f->tokens);
    expect_pieces_agree(f->meta, &frozen, f->tokens);
    expect_pieces_agree(f->plain, NULL, f->tokens);
}

static void the_first_token_has_no_loss_and_learning_shows(void **state)
{
    const Fixture *f = *state;
    double on[N], off[N];
    ttt_reader *learning = reader_make(f->meta, NULL), *still = reader_make(f->meta, &frozen);
    assert_true(isnan(describe(learning).last_chunk_loss));
    feed(learning, f->tokens, N, on);
    feed(still, f->tokens, N, off);
    assert_true(on[0] == 0 && off[0] == 0);
    expect_close(on, off, CHUNK + 1, 1e-5); /* nothing is learned before the first chunk is over */
    double difference = 0;
    for (int i = CHUNK + 1; i < N; i++) difference += fabs(on[i] - off[i]);
    assert_true(difference > 1e-2);
    ttt_reader_info info = describe(learning);
    assert_int_equal(info.tokens, N);
    assert_int_equal(info.steps, (N - 1) / CHUNK);
    assert_true(info.learning && info.last_grad_norm > 0 && isfinite(info.last_chunk_loss));
    assert_int_equal(describe(still).steps, 0);
    assert_false(describe(still).learning);
    ttt_reader_free(learning);
    ttt_reader_free(still);
}

static void logprobs_are_a_distribution_and_agree_with_the_loss(void **state)
{
    const Fixture *f = *state;
    float logp[VOCAB];
    double nll[N];
    ttt_reader *r = reader_make(f->meta, NULL), *same = reader_make(f->meta, NULL);
    assert_int_equal(ttt_logprobs(r, logp), -1); /* before the first token */
    assert_true(strlen(ttt_error(r)) > 0);
    feed(same, f->tokens, 60, nll);
    for (int i = 0; i < 59; i++) {
        feed(r, &f->tokens[i], 1, NULL);
        double sum = 0;
        assert_int_equal(ttt_logprobs(r, logp), 0);
        for (int k = 0; k < VOCAB; k++) sum += exp(logp[k]);
        assert_true(fabs(sum - 1) < 1e-5);
        assert_true(fabs(-logp[f->tokens[i + 1]] - nll[i + 1]) < 1e-4 * fmax(1, nll[i + 1]));
    }
    ttt_reader_free(r);
    ttt_reader_free(same);
}

/* Two readers that stand at different places, fed side by side, and the same two alone. */
static void expect_side_by_side(ttt_model *m, const int32_t *tokens, double tolerance)
{
    enum { STEPS = 3 * CHUNK };
    ttt_reader *pair[2], *alone[2];
    for (int b = 0; b < 2; b++) {
        pair[b] = reader_make(m, NULL);
        alone[b] = reader_make(m, NULL);
        feed(pair[b], tokens, (size_t)(5 + 11 * b), NULL);
        feed(alone[b], tokens, (size_t)(5 + 11 * b), NULL);
    }
    for (int i = 0; i < STEPS; i++) {
        float logp[2][VOCAB], wanted[VOCAB];
        const int32_t next[2] = {tokens[20 + i], tokens[60 + i]};
        assert_int_equal(ttt_logprobs_each(pair, 2, logp[0]), 0);
        for (int b = 0; b < 2; b++) {
            assert_int_equal(ttt_logprobs(alone[b], wanted), 0);
            for (int k = 0; k < VOCAB; k++)
                assert_true(fabs((double)logp[b][k] - (double)wanted[k]) < tolerance);
            feed(alone[b], &next[b], 1, NULL);
        }
        assert_int_equal(ttt_feed_each(pair, 2, next), 0);
    }
    for (int b = 0; b < 2; b++) {
        assert_int_equal(describe(pair[b]).steps, describe(alone[b]).steps);
        assert_true(describe(pair[b]).last_step_seconds > 0);
        ttt_reader_free(pair[b]);
        ttt_reader_free(alone[b]);
    }
}

static void side_by_side_is_as_alone(void **state)
{
    const Fixture *f = *state;
    char path[PATH_MAX], why[TTT_ERROR_MAX];
    const ttt_model_options bf16 = {.threads = 2, .compute = "bf16"};
    ttt_model *m;
    expect_side_by_side(f->meta, f->tokens, 1e-3);
    path_in(f, "meta", path);
    assert_int_equal(ttt_model_open(&m, path, &bf16, why), 0);
    expect_side_by_side(m, f->tokens, 0.1);
    ttt_reader *r = reader_make(f->meta, NULL), *s = reader_make(m, NULL);
    const int32_t tokens[2] = {1, 1};
    float logp[2 * VOCAB];
    assert_int_equal(ttt_feed_each((ttt_reader *[]){r, s}, 2, tokens), -1); /* of two models */
    assert_non_null(strstr(ttt_error(r), "another model"));
    assert_int_equal(ttt_logprobs_each((ttt_reader *[]){r}, 1, logp), -1); /* nothing was read */
    ttt_reader_free(r);
    ttt_reader_free(s);
    ttt_model_close(m);
}

static void ids_outside_the_vocabulary_change_nothing(void **state)
{
    const Fixture *f = *state;
    double bad[3], good[20], expected[20];
    ttt_reader *r = reader_make(f->meta, NULL), *clean = reader_make(f->meta, NULL);
    feed(r, f->tokens, 10, NULL);
    feed(clean, f->tokens, 10, NULL);
    assert_int_equal(ttt_feed(r, (int32_t[]){1, VOCAB, 2}, 3, bad), -1);
    assert_non_null(strstr(ttt_error(r), "258"));
    assert_int_equal(ttt_feed(r, (int32_t[]){-1}, 1, NULL), -1);
    assert_int_equal(describe(r).tokens, 10);
    feed(r, f->tokens + 10, 20, good);
    feed(clean, f->tokens + 10, 20, expected);
    assert_memory_equal(good, expected, sizeof good);
    assert_int_equal(ttt_feed(r, NULL, 0, NULL), 0);
    ttt_reader_free(r);
    ttt_reader_free(clean);
}

static void readers_are_independent(void **state)
{
    const Fixture *f = *state;
    double alone[2][N], mixed[2][N];
    int32_t reversed[N];
    for (int i = 0; i < N; i++) reversed[i] = f->tokens[N - 1 - i];
    const int32_t *text[2] = {f->tokens, reversed};
    ttt_reader *r[2];
    for (int k = 0; k < 2; k++) {
        ttt_reader *one = reader_make(f->meta, NULL);
        feed_in_pieces(one, text[k], N, 5, alone[k]);
        ttt_reader_free(one);
        r[k] = reader_make(f->meta, NULL);
    }
    for (int i = 0; i < N; i += 5)
        for (int k = 0; k < 2; k++) feed(r[k], text[k] + i, 5, mixed[k] + i);
    assert_memory_equal(mixed, alone, sizeof alone);
    ttt_reader_free(r[0]);
    ttt_reader_free(r[1]);
}

typedef struct Job {
    ttt_reader *reader;
    const int32_t *tokens;
    double nll[N];
    int status;
} Job;

static void *read_job(void *context)
{
    Job *job = context;
    for (int i = 0; i < N && job->status == 0; i += 5)
        job->status = ttt_feed(job->reader, job->tokens + i, 5, job->nll + i);
    return NULL;
}

static void threads_share_a_model(void **state)
{
    const Fixture *f = *state;
    double alone[N];
    Job job[3] = {0};
    pthread_t thread[3];
    ttt_reader *one = reader_make(f->meta, NULL);
    feed_in_pieces(one, f->tokens, N, 5, alone);
    ttt_reader_free(one);
    for (int k = 0; k < 3; k++) {
        job[k].reader = reader_make(f->meta, NULL);
        job[k].tokens = f->tokens;
        pthread_create(&thread[k], NULL, read_job, &job[k]);
    }
    for (int k = 0; k < 3; k++) pthread_join(thread[k], NULL);
    for (int k = 0; k < 3; k++) {
        assert_int_equal(job[k].status, 0);
        assert_memory_equal(job[k].nll, alone, sizeof alone);
        ttt_reader_free(job[k].reader);
    }
}

static void numbers_that_overflow_stop_the_reader(void **state)
{
    const Fixture *f = *state;
    ttt_reader *r = reader_make(f->meta, &(ttt_reader_options){.inner_lr = 1e37});
    int status = 0;
    for (int i = 0; i < N && status == 0; i++) status = ttt_feed(r, &f->tokens[i], 1, NULL);
    assert_int_equal(status, -1);
    assert_non_null(strstr(ttt_error(r), "finite"));
    ttt_reader_free(r);
    char why[TTT_ERROR_MAX];
    assert_int_equal(ttt_reader_new(&r, f->meta, &(ttt_reader_options){.inner_lr = -1}, why), -1);
    assert_int_equal(ttt_reader_new(&r, f->meta, &(ttt_reader_options){.inner_lr = NAN}, why), -1);
}

static void a_clone_goes_its_own_way(void **state)
{
    const Fixture *f = *state;
    double expected[70], first[70], second[70];
    char why[TTT_ERROR_MAX];
    int32_t other[70];
    for (int i = 0; i < 70; i++) other[i] = i;
    ttt_reader *r = reader_make(f->meta, NULL), *plain = reader_make(f->meta, NULL), *clone;
    feed(r, f->tokens, 45, NULL);
    feed(plain, f->tokens, 45, NULL);
    assert_int_equal(ttt_reader_clone(&clone, r, why), 0);
    feed(plain, f->tokens + 45, 70, expected);
    feed(r, other, 70, NULL);
    feed(clone, f->tokens + 45, 70, first);
    assert_memory_equal(first, expected, sizeof first);
    ttt_reader_free(r); /* the clone needs nothing of it */
    feed(clone, f->tokens, 35, second);
    ttt_reader_free(clone);
    ttt_reader_free(plain);
}

static void learning_is_switched(void **state)
{
    const Fixture *f = *state;
    ttt_reader *r = reader_make(f->meta, NULL), *plain = reader_make(f->plain, NULL);
    feed(r, f->tokens, 30, NULL);
    int64_t steps = describe(r).steps;
    assert_int_equal(ttt_reader_learning(r, false), 0);
    feed(r, f->tokens + 30, 30, NULL);
    assert_int_equal(describe(r).steps, steps);
    assert_int_equal(ttt_reader_learning(r, true), 0);
    feed(r, f->tokens + 60, 30, NULL);
    assert_true(describe(r).steps > steps);
    assert_int_equal(ttt_reader_learning(plain, true), -1);
    assert_non_null(strstr(ttt_error(plain), "plain"));
    assert_int_equal(ttt_reader_learning(plain, false), 0);
    ttt_reader_free(r);
    ttt_reader_free(plain);
}

static int make_model(const char *dir, const char *seed, const char *mode)
{
    Err err;
    if (tiny_model_write(dir, atoi(seed), mode, &err) == 0) return 0;
    fprintf(stderr, "%s\n", err.text);
    return 1;
}

int main(int argc, char **argv)
{
    if (argc == 5 && strcmp(argv[1], "make-model") == 0)
        return make_model(argv[2], argv[3], argv[4]);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_model_describes_itself),
        cmocka_unit_test(bad_models_are_refused),
        cmocka_unit_test(pieces_do_not_matter),
        cmocka_unit_test(the_first_token_has_no_loss_and_learning_shows),
        cmocka_unit_test(logprobs_are_a_distribution_and_agree_with_the_loss),
        cmocka_unit_test(side_by_side_is_as_alone),
        cmocka_unit_test(ids_outside_the_vocabulary_change_nothing),
        cmocka_unit_test(readers_are_independent),
        cmocka_unit_test(threads_share_a_model),
        cmocka_unit_test(numbers_that_overflow_stop_the_reader),
        cmocka_unit_test(a_clone_goes_its_own_way),
        cmocka_unit_test(learning_is_switched),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
