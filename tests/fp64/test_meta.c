/* The meta-gradient of sweep_run against finite differences of the loss that sweep_run returns,
 * tensor by tensor, over a table of tiny models (meta_case.h); and what must not change a gradient.
 * Float64. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include <cmocka.h>

#include "meta_case.h"

/* A model of a case, its tokens, and the gradient of its loss in one segment. */
typedef struct Bench {
    const MetaCase *c;
    Backend *be;
    Config cfg;
    Model *m;
    int32_t *tokens;
    real *gradient;
    double loss;
    int64_t segment_chunks; /* as in SweepOptions */
    int remake;
} Bench;

static real *reals(size_t n)
{
    real *p = calloc(n, sizeof *p);
    CHECK(p, "out of memory");
    return p;
}

static double run(const Bench *b, const int32_t *tokens, real *gradient, double weight,
                  SweepReport *report)
{
    Sweep *s = NULL;
    Err err = {""};
    SweepOptions o = {.batch = case_batch(b->c),
                      .length = case_length(b->c),
                      .gradient = gradient,
                      .learn = true,
                      .segment_chunks = b->segment_chunks,
                      .remake = b->remake};
    CHECK(sweep_create(&s, b->m, &o, &err) == 0, "%s", err.text);
    double loss = sweep_run(s, tokens, case_lr(b->c), gradient, weight, report);
    sweep_free(s);
    return loss;
}

static Bench bench_open(Backend *be, const MetaCase *c)
{
    Bench b = {.c = c, .be = be};
    case_config(c, &b.cfg);
    b.m = case_model(be, &b.cfg);
    b.tokens = case_tokens(c);
    b.gradient = reals(b.m->table.size);
    b.loss = run(&b, b.tokens, b.gradient, 1, NULL);
    return b;
}

static void bench_close(Bench *b)
{
    model_free(b->m);
    free(b->tokens);
    free(b->gradient);
}

static double norm_of(const real *x, size_t n)
{
    double sum = 0;
    for (size_t i = 0; i < n; i++) sum += x[i] * x[i];
    return sqrt(sum);
}

static double relative_error(const real *a, const real *b, size_t n)
{
    double worst = 0, scale = 1e-6;
    for (size_t i = 0; i < n; i++) {
        double d = fabs(a[i] - b[i]);
        if (!(d <= worst)) worst = isfinite(d) ? d : INFINITY;
        scale = fmax(scale, fabs(b[i]));
    }
    return worst / scale;
}

static int failures;

static void expect_below(const MetaCase *c, const char *what, double error, double limit)
{
    if (error <= limit) return;
    failures++;
    fprintf(stderr, "%s: %s: error %.3g above %.3g\n", c->name, what, error, limit);
}

/* d loss / d step along `direction` of the n parameters at `offset`: fourth-order central. */
static double loss_difference(const Bench *b, size_t offset, const real *direction, size_t n,
                              double h)
{
    static const double weight[5] = {1.0 / 12, -8.0 / 12, 0, 8.0 / 12, -1.0 / 12};
    real *p = b->m->params + offset, *saved = reals(n);
    double sum = 0;
    memcpy(saved, p, n * sizeof *p);
    for (int k = -2; k <= 2; k++) {
        if (k == 0) continue;
        for (size_t i = 0; i < n; i++) p[i] = saved[i] + k * h * direction[i];
        sum += weight[k + 2] / h * run(b, b->tokens, NULL, 0, NULL);
    }
    memcpy(p, saved, n * sizeof *p);
    free(saved);
    return sum;
}

/* How far `along` is from the derivative, relative to `scale`, at the step that shows it best: long
 * steps meet curvature (after many inner steps the loss bends sharply), short ones rounding. */
static double distance(const Bench *b, size_t offset, const real *direction, size_t n, double along,
                       double scale)
{
    double best = INFINITY;
    for (double h = 1e-4; h > 1e-6 && best > 1e-7; h /= 5)
        best = fmin(best, fabs(along - loss_difference(b, offset, direction, n, h)) / scale);
    return best;
}

/* One layer of one tensor at a time, so that none hides behind another. */
static void check_tensor(const Bench *b, const ParamEntry *e, Rng *rng)
{
    int layers = e->n_layers ? e->n_layers : 1;
    real *direction = reals(e->layer_size);
    for (int l = 0; l < layers; l++) {
        size_t at = e->offset + (size_t)l * e->layer_size;
        const real *g = b->gradient + at;
        double along = 0;
        for (size_t i = 0; i < e->layer_size; i++) {
            direction[i] = rng_normal(rng);
            along += direction[i] * g[i];
        }
        char what[PARAM_PATH_MAX + 16];
        snprintf(what, sizeof what, "%s, layer %d", e->path, l);
        double scale = fmax(1e-2, norm_of(g, e->layer_size));
        expect_below(b->c, what, distance(b, at, direction, e->layer_size, along, scale), 1e-7);
    }
    free(direction);
}

static void test_finite_differences(void **state)
{
    failures = 0;
    for (int i = 0; i < ARRAY_LEN(meta_cases); i++) {
        Bench b = bench_open(*state, &meta_cases[i]);
        Rng rng;
        rng_seed(&rng, 21, (uint64_t)i);
        for (int id = 0; id < N_PARAMS; id++)
            if (b.m->table.entry[id].present) check_tensor(&b, &b.m->table.entry[id], &rng);
        bench_close(&b);
    }
    assert_int_equal(failures, 0);
}

/* Long enough for several leading spans in a segment, strips of attention, and blocks of logits;
 * all parameters move at once. */
static void test_long(void **state)
{
    const MetaCase c = {.name = "long",
                        .layers = 2,
                        .T = 700,
                        .chunk = 300,
                        .window = 70,
                        .spec = {"**.suffix_blocks.**"}};
    const MetaCase many = {.name = "many spans",
                           .layers = 3,
                           .suffix = 2,
                           .T = 1100,
                           .chunk = 20,
                           .window = 30,
                           .clip = 0.2};
    const MetaCase *both[] = {&c, &many};
    failures = 0;
    for (int i = 0; i < 2; i++) {
        Bench b = bench_open(*state, both[i]);
        size_t n = b.m->table.size;
        real *direction = reals(n);
        double along = 0;
        Rng rng;
        rng_seed(&rng, 8, 8);
        for (size_t j = 0; j < n; j++) {
            direction[j] = rng_normal(&rng);
            along += direction[j] * b.gradient[j];
        }
        double scale = norm_of(b.gradient, n);
        expect_below(both[i], "gradient", distance(&b, 0, direction, n, along, scale), 1e-7);
        free(direction);
        bench_close(&b);
    }
    assert_int_equal(failures, 0);
}

/* Cut into segments of 1, 2, 3 chunks, run again from saved state, the gradient stays; to the bit
 * whatever is made again instead of kept. */
static void check_segments(Bench *b, bool *rolling)
{
    size_t n = b->m->table.size;
    for (int freq = 1; freq <= 3; freq++) {
        SweepOptions o = {.batch = case_batch(b->c),
                          .length = case_length(b->c),
                          .gradient = true,
                          .learn = true,
                          .segment_chunks = b->segment_chunks = freq};
        SweepPlan plan = sweep_plan(b->m, &o);
        real *first = NULL;
        assert_true(plan.segment_chunks <= freq);
        if (plan.segments > 2 && plan.states > 0) *rolling = true;
        for (b->remake = 0; b->remake <= plan.remake_most; b->remake++) {
            real *gradient = reals(n);
            double loss = run(b, b->tokens, gradient, 1, NULL);
            expect_below(b->c, "loss in segments", fabs(loss - b->loss), 1e-13);
            expect_below(b->c, "gradient in segments", relative_error(gradient, b->gradient, n),
                         1e-11);
            if (first) assert_memory_equal(gradient, first, n * sizeof *first);
            free(first);
            first = gradient;
        }
        free(first);
    }
}

static void test_segments(void **state)
{
    failures = 0;
    bool rolling = false;
    for (int i = 0; i < ARRAY_LEN(meta_cases); i++) {
        Bench b = bench_open(*state, &meta_cases[i]);
        check_segments(&b, &rolling);
        bench_close(&b);
    }
    const MetaCase longer = {.name = "many segments",
                             .T = 90,
                             .chunk = 3,
                             .window = 7,
                             .suffix = 2,
                             .B = 2,
                             .clip = 0.2,
                             .spec = {"**.suffix_blocks.**"}};
    Bench b = bench_open(*state, &longer);
    check_segments(&b, &rolling);
    bench_close(&b);
    assert_true(rolling);
    assert_int_equal(failures, 0);
}

typedef struct Scores {
    double *token_nll, *chunk_loss, *inner_gnorm;
} Scores;

static Scores scores_alloc(const MetaCase *c)
{
    size_t n = (size_t)(case_batch(c) * case_length(c));
    return (Scores){reals(n), reals(n), reals(n)};
}

static void scores_free(Scores *s)
{
    free(s->token_nll);
    free(s->chunk_loss);
    free(s->inner_gnorm);
}

static SweepReport report_into(const Scores *s)
{
    return (SweepReport){
        .token_nll = s->token_nll, .chunk_loss = s->chunk_loss, .inner_gnorm = s->inner_gnorm};
}

/* With and without a gradient the same is reported; segments do not matter to that either. */
static void test_reports(void **state)
{
    failures = 0;
    for (int i = 0; i < ARRAY_LEN(meta_cases); i++) {
        Bench b = bench_open(*state, &meta_cases[i]);
        size_t n = (size_t)(case_batch(b.c) * case_length(b.c));
        Scores with = scores_alloc(b.c), without = scores_alloc(b.c);
        SweepReport r = report_into(&without);
        double loss = run(&b, b.tokens, NULL, 0, &r);
        expect_below(b.c, "loss without gradient", fabs(loss - b.loss), 1e-13);
        for (int freq = 0; freq <= 2; freq++) {
            b.segment_chunks = freq;
            r = report_into(&with);
            real *gradient = reals(b.m->table.size);
            run(&b, b.tokens, gradient, 1, &r);
            free(gradient);
            expect_below(b.c, "token_nll", relative_error(with.token_nll, without.token_nll, n),
                         1e-12);
            expect_below(b.c, "chunk_loss", relative_error(with.chunk_loss, without.chunk_loss, n),
                         1e-12);
            expect_below(b.c, "inner_gnorm",
                         relative_error(with.inner_gnorm, without.inner_gnorm, n), 1e-11);
        }
        scores_free(&with);
        scores_free(&without);
        bench_close(&b);
    }
    assert_int_equal(failures, 0);
}

/* Weights add up: two halves make a whole, and what is there stays. The loss returned has none. */
static void test_accumulation(void **state)
{
    failures = 0;
    for (int i = 0; i < ARRAY_LEN(meta_cases); i += 5) {
        Bench b = bench_open(*state, &meta_cases[i]);
        size_t n = b.m->table.size;
        real *gradient = reals(n);
        for (size_t j = 0; j < n; j++) gradient[j] = 3;
        Sweep *s = case_sweep(b.c, b.m, true, true); /* used twice: nothing is left over */
        sweep_run(s, b.tokens, case_lr(b.c), gradient, 0.25, NULL);
        double loss = sweep_run(s, b.tokens, case_lr(b.c), gradient, 0.75, NULL);
        sweep_free(s);
        for (size_t j = 0; j < n; j++) gradient[j] -= 3;
        expect_below(b.c, "loss", fabs(loss - b.loss), 1e-13);
        expect_below(b.c, "accumulated", relative_error(gradient, b.gradient, n), 1e-11);
        free(gradient);
        bench_close(&b);
    }
    assert_int_equal(failures, 0);
}

/* Sequences do not see each other: in another order, or one by one, the gradient is the same. */
static void test_batch_order(void **state)
{
    failures = 0;
    for (int i = 0; i < ARRAY_LEN(meta_cases); i++) {
        const MetaCase *c = &meta_cases[i];
        if (case_batch(c) == 1) continue;
        Bench b = bench_open(*state, c);
        size_t n = b.m->table.size, row = (size_t)case_length(c) + 1;
        int B = case_batch(c);
        int32_t *turned = malloc((size_t)B * row * sizeof *turned);
        CHECK(turned, "out of memory");
        for (int s = 0; s < B; s++)
            memcpy(turned + (size_t)((s + 1) % B) * row, b.tokens + (size_t)s * row,
                   row * sizeof *turned);
        real *gradient = reals(n), *single = reals(n);
        run(&b, turned, gradient, 1, NULL);
        MetaCase one = *c;
        one.B = 1;
        b.c = &one;
        for (int s = 0; s < B; s++) run(&b, b.tokens + (size_t)s * row, single, 1.0 / B, NULL);
        expect_below(c, "turned batch", relative_error(gradient, b.gradient, n), 1e-11);
        expect_below(c, "one by one", relative_error(single, b.gradient, n), 1e-11);
        free(turned);
        free(gradient);
        free(single);
        bench_close(&b);
    }
    assert_int_equal(failures, 0);
}

/* Nothing but BOS to predict: no loss, no step, a finite gradient of zero. */
static void test_all_masked(void **state)
{
    const MetaCase c = {
        .name = "all masked", .suffix = 2, .masked_sequence = true, .clip = 0.5, .spec = {"**"}};
    Bench b = bench_open(*state, &c);
    Scores s = scores_alloc(&c);
    SweepReport r = report_into(&s);
    assert_true(run(&b, b.tokens, NULL, 0, &r) == 0);
    assert_true(b.loss == 0);
    for (int i = 0; i < 4; i++) assert_true(s.inner_gnorm[i] == 0 && s.chunk_loss[i] == 0);
    for (int i = 0; i < case_length(&c); i++) assert_true(isfinite(s.token_nll[i]));
    assert_true(norm_of(b.gradient, b.m->table.size) == 0);
    scores_free(&s);
    bench_close(&b);
}

/* Learning off scores with the initial weights, as the same weights in pretrain mode do. */
static void test_learning_off(void **state)
{
    const MetaCase meta = {.name = "off", .suffix = 2, .B = 2, .T = 18};
    MetaCase plain = meta;
    plain.pretrain = true;
    Bench a = bench_open(*state, &meta), b = bench_open(*state, &plain);
    Scores off = scores_alloc(&meta), want = scores_alloc(&meta);
    SweepReport r = report_into(&want);
    run(&b, b.tokens, NULL, 0, &r);
    r = report_into(&off);
    r.inner_gnorm = NULL;
    real *gradient = reals(a.m->table.size);
    Sweep *s = case_sweep(&meta, a.m, true, false);
    double loss = sweep_run(s, a.tokens, 0.5, gradient, 1, &r);
    sweep_free(s);
    assert_true(relative_error(off.token_nll, want.token_nll, 2 * 18) < 1e-12);
    assert_true(fabs(loss - b.loss) < 1e-12);
    assert_true(relative_error(gradient, b.gradient, a.m->table.size) < 1e-10);
    assert_true(fabs(a.loss - b.loss) > 1e-3); /* and learning does change something */
    free(gradient);
    scores_free(&off);
    scores_free(&want);
    bench_close(&a);
    bench_close(&b);
}

int main(void)
{
    struct CMUnitTest tests[] = {
        cmocka_unit_test(test_finite_differences), cmocka_unit_test(test_long),
        cmocka_unit_test(test_segments),           cmocka_unit_test(test_reports),
        cmocka_unit_test(test_accumulation),       cmocka_unit_test(test_batch_order),
        cmocka_unit_test(test_all_masked),         cmocka_unit_test(test_learning_off),
    };
    Backend *be = NULL;
    Err err;
    BackendOptions options = {.threads = 1};
    CHECK(backend_open(&be, &options, &err) == 0, "%s", err.text);
    for (int i = 0; i < ARRAY_LEN(tests); i++) tests[i].initial_state = be;
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    backend_close(be);
    return failed;
}
