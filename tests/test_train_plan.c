/* The memory plan of a training run: its families sum to the total, and a run that does not fit is
 * refused with a setting that does. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "run/train_plan.h"

static Config config(void)
{
    Config c;
    config_defaults(&c);
    c.model.hidden_size = 64;
    c.model.num_attention_heads = 4;
    c.model.intermediate_size = 96;
    c.model.vocab_size = c.model.output_size = 256;
    c.model.num_hidden_layers = 6;
    c.model.suffix_len = 2;
    c.model.mini_batch_size = 64;
    c.model.sliding_window_size = 128;
    c.model.seq_modeling_block = SEQ_SWA;
    c.model.prime = c.model.tie_word_embeddings = true;
    c.training.train_mode = TRAIN_META;
    c.training.optimizer_inner.optimizer_type = OPT_SGD;
    c.training.seq_length = 4096;
    c.training.global_batch_size = 4;
    c.training.accum_steps = 1;
    c.training.activation_mb = 4000;
    c.training.spec_inner.n = 1;
    snprintf(c.training.spec_inner.glob[0], CFG_TEXT, "%s",
             "language_model.**.suffix_blocks.feed_forward_prime.**");
    return c;
}

static Backend *machine;

static TrainPlan plan_of(const Config *c)
{
    TrainPlan p;
    Err err = {""};
    assert_int_equal(train_plan_make(&p, c, machine, true, &err), 0);
    return p;
}

static void test_families(void **state)
{
    (void)state;
    Config c = config();
    TrainPlan p = plan_of(&c);
    size_t sweep = p.sweep.activations + p.sweep.windows + p.sweep.adapted + p.sweep.states;
    assert_int_equal(p.sweep.total, sweep);
    assert_int_equal(p.total, sweep + p.weights + p.gradient + p.moments + p.snapshot + p.tokens +
                                  p.program);
    assert_int_equal(p.sweep.segments, 1);
    assert_true(p.sweep.again == 0);
    assert_int_equal(p.moments, 2 * p.weights);
}

/* Less is kept, and more computed again, the smaller the budget. */
static void test_budgets(void **state)
{
    (void)state;
    Config c = config();
    TrainPlan before = plan_of(&c);
    int steps = 0, segments = 0;
    for (int64_t mb = (int64_t)(before.sweep.total >> 20); mb > 0; mb -= 3) {
        c.training.activation_mb = mb;
        TrainPlan p = plan_of(&c);
        bool fits = p.sweep.total <= (size_t)mb << 20;
        assert_true(p.sweep.total <= before.sweep.total);
        assert_true(p.sweep.again >= before.sweep.again || !fits);
        if (p.sweep.remake != before.sweep.remake) steps++;
        if (p.sweep.segments != before.sweep.segments) segments++;
        before = p;
    }
    assert_true(steps > 4);
    assert_true(segments > 1);
}

/* The settings that an error proposes, set. */
static void take_proposal(Config *c, const char *text)
{
    static const char *const keys[] = {"training.activation_mb", "training.accum_steps",
                                       "training.seq_length"};
    Err err = {""};
    for (int i = 0; i < ARRAY_LEN(keys); i++) {
        const char *at = strstr(text, keys[i]);
        long long value;
        char number[32];
        if (!at) continue;
        assert_int_equal(sscanf(at + strlen(keys[i]), "=%lld", &value), 1);
        snprintf(number, sizeof number, "%lld", value);
        assert_int_equal(config_set(c, keys[i], number, "test", &err), 0);
    }
}

/* With so much free for the sweep, the run is refused; what is proposed names `expect` and fits. */
static void check_proposal(size_t room, const char *expect, const char *without)
{
    Config c = config();
    Err err = {""};
    TrainPlan p = plan_of(&c);
    p.available = p.total - p.sweep.total + room; /* the rest grows under a sanitizer */
    assert_int_equal(train_plan_check(&p, &c, &err), -1);
    assert_non_null(strstr(err.text, "would fit"));
    assert_non_null(strstr(err.text, expect));
    assert_null(strstr(err.text, without));
    take_proposal(&c, err.text);
    TrainPlan then = plan_of(&c);
    then.available = p.available;
    then.total += p.program - then.program;
    assert_int_equal(train_plan_check(&then, &c, &err), 0);
    assert_true(then.total < p.total);
}

static void test_refusals(void **state)
{
    (void)state;
    Config c = config();
    TrainPlan p = plan_of(&c), least;
    size_t others = p.total - p.sweep.total;
    c.training.activation_mb = 1;
    least = plan_of(&c);
    p.available = p.total;
    Err err = {""};
    assert_int_equal(train_plan_check(&p, &c, &err), 0);
    check_proposal(p.sweep.total - 1, "training.activation_mb=", "accum_steps");
    check_proposal((p.sweep.total + least.sweep.total) / 2,
                   "training.activation_mb=", "accum_steps");
    check_proposal(least.sweep.total * 3 / 4, "training.accum_steps=", "seq_length");
    check_proposal(least.sweep.total / 5, "training.seq_length=", "global_batch_size");
    p.available = others / 2;
    assert_int_equal(train_plan_check(&p, &c, &err), -1);
    assert_non_null(strstr(err.text, "smaller model"));
}

int main(void)
{
    Err err;
    BackendOptions options = {.threads = 2};
    if (backend_open(&machine, &options, &err) < 0) return 1;
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_families),
        cmocka_unit_test(test_budgets),
        cmocka_unit_test(test_refusals),
    };
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    backend_close(machine);
    return failed;
}
