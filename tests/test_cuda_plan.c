/* The plan of a GPU's memory against what the GPU's side counted: arrays and scratch, of plain and
 * of rounded products, tensor-core and plain attention. Without a GPU it runs in the emulator. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/rng.h"
#include "cuda_device.h"
#include "run/train_plan.h"

typedef struct Case {
    const char *name;
    bool bf16, learn, gradient;
    int64_t hidden, heads, vocab, chunk, window, length, mb;
    int batch;
} Case;

static const Case cases[] = {
    {"float32, segments", false, true, true, 32, 2, 64, 16, 24, 64, 1, 2},
    {"bfloat16, tensor cores", true, true, true, 128, 2, 64, 32, 48, 64, 0, 1},
    {"bfloat16, a head larger than all else", true, true, true, 64, 1, 2048, 32, 32, 64, 0, 1},
    {"evaluation, window that moves", true, true, false, 64, 1, 64, 16, 96, 256, 0, 1},
};

static Config config_of(const Case *c)
{
    Config cfg;
    config_defaults(&cfg);
    cfg.model.vocab_size = cfg.model.output_size = c->vocab;
    cfg.model.hidden_size = c->hidden;
    cfg.model.num_attention_heads = c->heads;
    cfg.model.intermediate_size = 2 * c->hidden;
    cfg.model.num_hidden_layers = 2;
    cfg.model.suffix_len = 1;
    cfg.model.compute_dtype = c->bf16 ? COMPUTE_BF16 : COMPUTE_FP32;
    cfg.model.seq_modeling_block = SEQ_SWA;
    cfg.model.mini_batch_size = c->chunk;
    cfg.model.sliding_window_size = c->window;
    cfg.model.prime = cfg.model.tie_word_embeddings = true;
    cfg.training.train_mode = TRAIN_META;
    cfg.training.optimizer_inner.optimizer_type = OPT_SGD;
    cfg.training.optimizer_inner.lr = 0.1;
    cfg.training.seq_length = c->length;
    cfg.training.global_batch_size = c->batch;
    cfg.training.accum_steps = 1;
    cfg.training.activation_mb = c->mb;
    cfg.training.inner_remat_freq = 1;
    cfg.training.spec_inner.n = 1;
    snprintf(cfg.training.spec_inner.glob[0], CFG_TEXT, "**.suffix_blocks.feed_forward_prime.**");
    return cfg;
}

static void run_twice(Model *m, const SweepOptions *o, real *gradient, const Case *c)
{
    size_t n = (size_t)o->batch * (size_t)(o->length + 1);
    int32_t *tokens = malloc(n * sizeof *tokens);
    Rng rng;
    Sweep *s;
    Err err;
    assert_non_null(tokens);
    rng_seed(&rng, 3, 0);
    for (size_t i = 0; i < n; i++) tokens[i] = (int32_t)rng_below(&rng, (uint64_t)c->vocab);
    if (sweep_create(&s, m, o, &err) < 0) fail_msg("%s", err.text);
    for (int i = 0; i < 2; i++) (void)sweep_run(s, tokens, 0.1, gradient, 1, NULL);
    if (backend_wait(m->be, &err) < 0) fail_msg("%s", err.text);
    sweep_free(s);
    free(tokens);
}

static void check_case(const Case *c)
{
    Config cfg = config_of(c);
    Backend *be = open_test_gpu(c->bf16);
    Model *m;
    Err err;
    SweepOptions o = {
        .batch = c->batch, .length = c->length, .gradient = c->gradient, .learn = c->learn};
    SweepPlan plan;
    TrainPlan train;
    assert_int_equal(train_plan_make(&train, &cfg, be, false, &err), 0); /* without weights */
    if (model_create(&m, be, &cfg, &err) < 0) fail_msg("%s", err.text);
    plan = sweep_plan(m, &o);
    real *gradient = c->gradient ? backend_alloc(be, m->table.size) : NULL;
    size_t weights = (c->gradient ? 2 : 1) * m->table.size * sizeof(real);
    assert_int_equal(backend_memory_peak(be), weights); /* a rehearsal takes none */
    run_twice(m, &o, gradient, c);
    size_t peak = backend_memory_peak(be), wanted = weights + plan.total + plan.scratch;
    print_message("%s: planned %zu bytes, %zu of them scratch; taken %zu\n", c->name, wanted,
                  plan.scratch, peak);
    assert_true(plan.scratch > 0);
    assert_true(peak <= wanted && peak > wanted - plan.scratch / 20);
    if (c->gradient) assert_int_equal(train.sweep.scratch, plan.scratch);
    if (gradient) backend_free(be, gradient, m->table.size);
    model_free(m);
    backend_close(be);
}

static void test_plans(void **state)
{
    (void)state;
    for (int i = 0; i < ARRAY_LEN(cases); i++) check_case(&cases[i]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_plans)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
