/* The sampler against distributions that can be worked out by hand. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/err.h"
#include "run/sampler.h"

enum { MAX_VOCAB = 64, DRAWS = 20000 };

static const SamplerOptions plain = {.temperature = 1, .top_p = 1, .repetition_penalty = 1};

static void draw_many(const SamplerOptions *o, const double *p, int n, double *share)
{
    float logp[MAX_VOCAB];
    for (int i = 0; i < n; i++) logp[i] = (float)log(p[i]);
    Sampler s;
    sampler_init(&s, o, n, 7);
    for (int i = 0; i < n; i++) share[i] = 0;
    for (int i = 0; i < DRAWS; i++) {
        int32_t id = sampler_next(&s, logp);
        assert_in_range(id, 0, n - 1);
        share[id] += 1;
    }
    for (int i = 0; i < n; i++) share[i] /= DRAWS;
    sampler_free(&s);
}

/* Each share within 4.5 standard deviations of what it should be, and 0 exactly where that is 0. */
static void expect_shares(const SamplerOptions *o, const double *p, const double *expected, int n)
{
    double share[MAX_VOCAB];
    draw_many(o, p, n, share);
    for (int i = 0; i < n; i++) {
        double q = expected[i], bound = 4.5 * sqrt(q * (1 - q) / DRAWS);
        if (fabs(share[i] - q) > bound) fail_msg("id %d: %g, expected %g", i, share[i], q);
    }
}

static const double five[5] = {0.1, 0.4, 0.05, 0.25, 0.2};

static void plain_draws_follow_the_distribution(void **state)
{
    (void)state;
    expect_shares(&plain, five, five, 5);
}

static void temperature_sharpens(void **state)
{
    (void)state;
    SamplerOptions o = plain;
    o.temperature = 0.5; /* p^2, normalized */
    double expected[5], sum = 0;
    for (int i = 0; i < 5; i++) sum += expected[i] = five[i] * five[i];
    for (int i = 0; i < 5; i++) expected[i] /= sum;
    expect_shares(&o, five, expected, 5);
}

static void top_k_keeps_the_k_best(void **state)
{
    (void)state;
    SamplerOptions o = plain;
    o.top_k = 2;
    expect_shares(&o, five, (double[]){0, 0.4 / 0.65, 0, 0.25 / 0.65, 0}, 5);
    o.top_k = 1;
    expect_shares(&o, five, (double[]){0, 1, 0, 0, 0}, 5);
    o.top_k = 5;
    expect_shares(&o, five, five, 5);
    o.top_k = 1000; /* more than there are */
    expect_shares(&o, five, five, 5);
}

static void top_p_keeps_the_fewest_that_hold_p(void **state)
{
    (void)state;
    SamplerOptions o = plain;
    o.top_p = 0.6; /* .4 + .25 = .65 */
    expect_shares(&o, five, (double[]){0, 0.4 / 0.65, 0, 0.25 / 0.65, 0}, 5);
    o.top_p = 0.86; /* .4 + .25 + .2 = .85 is too little */
    expect_shares(&o, five, (double[]){0.1 / 0.95, 0.4 / 0.95, 0, 0.25 / 0.95, 0.2 / 0.95}, 5);
    o.top_p = 0; /* one is always kept */
    expect_shares(&o, five, (double[]){0, 1, 0, 0, 0}, 5);
}

static void top_p_takes_its_share_of_what_top_k_left(void **state)
{
    (void)state;
    SamplerOptions o = plain;
    o.top_k = 3;    /* .4 .25 .2 of .85 */
    o.top_p = 0.75; /* .65 / .85 = .765 */
    expect_shares(&o, five, (double[]){0, 0.4 / 0.65, 0, 0.25 / 0.65, 0}, 5);
    o.top_p = 0.8;
    expect_shares(&o, five, (double[]){0, 0.4 / 0.85, 0, 0.25 / 0.85, 0.2 / 0.85}, 5);
}

static void many_candidates_are_ranked_right(void **state)
{
    (void)state;
    double p[MAX_VOCAB], expected[MAX_VOCAB] = {0}, sum = 0, kept = 0;
    for (int i = 0; i < MAX_VOCAB; i++) sum += p[i] = 1 + (i * 37) % MAX_VOCAB;
    for (int i = 0; i < MAX_VOCAB; i++) {
        if (p[i] > MAX_VOCAB - 10) kept += p[i];
        p[i] /= sum;
    }
    for (int i = 0; i < MAX_VOCAB; i++)
        if (p[i] * sum > MAX_VOCAB - 10) expected[i] = p[i] * sum / kept;
    SamplerOptions o = plain;
    o.top_k = 10;
    expect_shares(&o, p, expected, MAX_VOCAB);
}

static void greedy_takes_the_best_and_the_lower_id_of_equals(void **state)
{
    (void)state;
    SamplerOptions o = plain;
    o.temperature = 0;
    expect_shares(&o, five, (double[]){0, 1, 0, 0, 0}, 5);
    expect_shares(&o, (double[]){0.1, 0.3, 0.3, 0.3}, (double[]){0, 1, 0, 0}, 4);
    o.temperature = 1;
    o.top_k = 2;
    expect_shares(&o, (double[]){0.1, 0.3, 0.3, 0.3}, (double[]){0, 0.5, 0.5, 0}, 4);
    o.temperature = 1e-300; /* no overflow on the way to greedy */
    o.top_k = 0;
    expect_shares(&o, five, (double[]){0, 1, 0, 0, 0}, 5);
}

static void forbidden_tokens_are_never_drawn(void **state)
{
    (void)state;
    const float one[4] = {-INFINITY, NAN, -80, -INFINITY}, none[2] = {-INFINITY, NAN};
    SamplerOptions kinds[4] = {plain, plain, plain, plain};
    kinds[1].temperature = 0;
    kinds[2].top_p = 0;
    kinds[3].top_k = 3;
    for (int i = 0; i < 4; i++) {
        Sampler s;
        sampler_init(&s, &kinds[i], 4, 1);
        for (int k = 0; k < 100; k++) assert_int_equal(sampler_next(&s, one), 2);
        s.vocab_size = 2;
        assert_int_equal(sampler_next(&s, none), -1);
        sampler_free(&s);
    }
}

static void penalty_holds_for_the_window_only(void **state)
{
    (void)state;
    SamplerOptions o = plain;
    o.temperature = 0;
    o.repetition_penalty = 2; /* .5 becomes .25, under .3 */
    const float logp[3] = {logf(0.5f), logf(0.3f), logf(0.2f)};
    Sampler s;
    sampler_init(&s, &o, 3, 1);
    assert_int_equal(sampler_next(&s, logp), 0);
    sampler_note(&s, 0);
    assert_int_equal(sampler_next(&s, logp), 1);
    sampler_note(&s, 0); /* twice is punished once: .25, still over .2 */
    sampler_note(&s, 1);
    assert_int_equal(sampler_next(&s, logp), 0);
    for (int i = 0; i < SAMPLER_WINDOW; i++) sampler_note(&s, 2);
    assert_int_equal(sampler_next(&s, logp), 0);
    assert_int_equal(s.repeats[0], 0);
    assert_int_equal(s.repeats[2], SAMPLER_WINDOW);
    sampler_free(&s);
}

static void same_seed_same_choices(void **state)
{
    (void)state;
    float logp[5];
    for (int i = 0; i < 5; i++) logp[i] = (float)log(five[i]);
    Sampler a, b, c;
    sampler_init(&a, &plain, 5, 3);
    sampler_init(&b, &plain, 5, 3);
    sampler_init(&c, &plain, 5, 4);
    int differs = 0;
    for (int i = 0; i < 200; i++) {
        int32_t id = sampler_next(&a, logp);
        assert_int_equal(sampler_next(&b, logp), id);
        differs += sampler_next(&c, logp) != id;
    }
    assert_true(differs > 50);
    sampler_free(&a);
    sampler_free(&b);
    sampler_free(&c);
}

/* The plain search, at lengths around those of lanes and blocks, with ties and what is no number.
 */
static void best_is_the_first_of_the_greatest(void **state)
{
    (void)state;
    enum { MOST = 5000 };
    const int lengths[] = {1, 2, 31, 32, 33, 1000, 1024, 1025, 3071, MOST};
    const float values[] = {-INFINITY, -3, -0.0F, 0, NAN, INFINITY, -1, 2};
    static float score[MOST];
    Rng rng;
    rng_seed(&rng, 23, 0);
    for (int round = 0; round < 400; round++) {
        int n = lengths[round % ARRAY_LEN(lengths)], kinds = 1 + (round / 10) % ARRAY_LEN(values);
        for (int i = 0; i < n; i++)
            score[i] =
                round % 3 ? values[(int)(rng_uniform(&rng) * kinds)] : (float)rng_normal(&rng);
        int32_t best = -1;
        float top = -INFINITY;
        for (int i = 0; i < n; i++)
            if (score[i] > top) top = score[best = i];
        assert_int_equal(sampler_best(score, n), best);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(best_is_the_first_of_the_greatest),
        cmocka_unit_test(plain_draws_follow_the_distribution),
        cmocka_unit_test(temperature_sharpens),
        cmocka_unit_test(top_k_keeps_the_k_best),
        cmocka_unit_test(top_p_keeps_the_fewest_that_hold_p),
        cmocka_unit_test(top_p_takes_its_share_of_what_top_k_left),
        cmocka_unit_test(many_candidates_are_ranked_right),
        cmocka_unit_test(greedy_takes_the_best_and_the_lower_id_of_equals),
        cmocka_unit_test(forbidden_tokens_are_never_drawn),
        cmocka_unit_test(penalty_holds_for_the_window_only),
        cmocka_unit_test(same_seed_same_choices),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
