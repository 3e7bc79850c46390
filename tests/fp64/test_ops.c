/* One table of operations, each at several ragged sizes, against references and finite differences
 * (op_check.h), and below it what has no derivative. Float64. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include <cmocka.h>

#include "case_step.h"
#include "op_attention.h"
#include "op_check.h"
#include "op_rope.h"
#include "op_smooth.h"
#include "op_sub_layer.h"

static const OpCase table[] = {
    {.op = &op_linear, .B = 1, .R = 1, .C = 1, .N = 1},
    {.op = &op_linear, .B = 2, .R = 3, .C = 5, .N = 7},
    {.op = &op_linear, .B = 3, .R = 1, .C = 9, .N = 17, .add = true},
    {.op = &op_linear, .B = 3, .R = 4, .C = 6, .N = 5, .per_sequence = true},
    {.op = &op_linear, .B = 2, .R = 1, .C = 1, .N = 3, .per_sequence = true, .add = true},
    {.op = &op_linear, .B = 1, .R = 1, .C = 203, .N = 331}, /* shared out to threads, by rows */
    {.op = &op_linear, .B = 1, .R = 8, .C = 130, .N = 301, .add = true},
    {.op = &op_linear, .B = 2, .R = 5, .C = 37, .N = 1029, .per_sequence = true},
    {.op = &op_linear, .B = 1, .R = 1, .C = 11, .N = 4500}, /* by columns */
    {.op = &op_linear, .B = 1, .R = 3, .C = 4101, .N = 13, .add = true},
    {.op = &op_linear, .B = 1, .R = 9, .C = 7, .N = 12}, /* no longer few rows */
    {.op = &op_linears, .B = 1, .R = 1, .C = 5, .N = 3},
    {.op = &op_linears, .B = 1, .R = 1, .C = 203, .N = 160}, /* only the second shared out */
    {.op = &op_linears, .B = 2, .R = 3, .C = 37, .N = 29, .per_sequence = true, .add = true},
    {.op = &op_linears, .B = 9, .R = 1, .C = 6, .N = 5, .per_sequence = true}, /* two calls */
    {.op = &op_linears, .B = 3, .R = 3, .C = 6, .N = 4, .per_sequence = true, .tied = true},
    {.op = &op_linears, .B = 2, .R = 11, .C = 6, .N = 5, .add = true},
    {.op = &op_rmsnorm, .B = 1, .R = 1, .C = 1},
    {.op = &op_rmsnorm, .B = 1, .R = 2, .C = 17},
    {.op = &op_rmsnorm, .B = 2, .R = 3, .C = 9, .add = true},
    {.op = &op_rmsnorm, .B = 3, .R = 2, .C = 5, .per_sequence = true},
    {.op = &op_rmsnorm, .B = 2, .R = 5, .C = 12, .per_sequence = true, .add = true},
    {.op = &op_rmsnorm, .B = 1, .R = 70, .C = 257}, /* shared out to threads */
    {.op = &op_rmsnorm, .B = 2, .R = 70, .C = 257, .per_sequence = true},
    {.op = &op_norm_sum, .B = 1, .R = 1, .C = 1},
    {.op = &op_norm_sum, .B = 2, .R = 3, .C = 9, .add = true},
    {.op = &op_norm_sum, .B = 3, .R = 2, .C = 6, .per_sequence = true, .tied = true},
    {.op = &op_norm_sum, .B = 1, .R = 67, .C = 260, .tied = true},
    {.op = &op_swiglu, .B = 1, .R = 1, .C = 1},
    {.op = &op_swiglu, .B = 1, .R = 3, .C = 11},
    {.op = &op_swiglu, .B = 1, .R = 91, .C = 97},
    {.op = &op_swiglu_in_place, .B = 1, .R = 5, .C = 7},
    {.op = &op_rope, .B = 1, .R = 1, .C = 2, .H = 1},
    {.op = &op_rope, .B = 3, .R = 5, .C = 6, .H = 3, .position = 11},
    {.op = &op_rope, .B = 2, .R = 4, .C = 10, .H = 2, .position = 100003},
    {.op = &op_rope, .B = 3, .R = 1, .C = 8, .H = 2, .N = 1, .position = 7, .tied = true},
    {.op = &op_rope_norm, .B = 1, .R = 1, .C = 2, .H = 1},
    {.op = &op_rope_norm, .B = 3, .R = 5, .C = 6, .H = 3, .N = 1, .position = 11},
    {.op = &op_rope_norm, .B = 3, .R = 4, .C = 10, .H = 2, .per_sequence = true},
    {.op = &op_rope_norm, .B = 5, .R = 1, .C = 16, .H = 3, .per_sequence = true, .tied = true},
    {.op = &op_rope_norm, .B = 2, .R = 3, .C = 134, .H = 2, .position = 100003}, /* ragged lanes */
    {.op = &op_rope_norm, .B = 1, .R = 9, .C = 256, .H = 1, .N = 1},
    {.op = &op_rope_norm, .B = 1, .R = 140, .C = 64, .H = 2}, /* shared out to threads */
    {.op = &op_rope_norm, .B = 2, .R = 70, .C = 32, .H = 9, .N = 1, .per_sequence = true},
    {.op = &op_embed, .R = 1, .C = 1, .N = 1},
    {.op = &op_embed, .R = 23, .C = 5, .N = 9},
    {.op = &op_embed, .R = 130, .C = 131, .N = 17},
    {.op = &op_cross_entropy, .R = 1, .N = 2},
    {.op = &op_cross_entropy, .R = 7, .N = 11},
    {.op = &op_cross_entropy, .R = 5, .N = 33, .mask = 2},
    {.op = &op_cross_entropy, .R = 3, .N = 5, .mask = 1},
    {.op = &op_cross_entropy, .R = 9, .N = 1031},
    {.op = &op_head, .B = 1, .R = 1, .C = 1, .N = 2, .H = 1},
    {.op = &op_head, .B = 2, .R = 5, .C = 3, .N = 7, .H = 4, .mask = 3},
    {.op = &op_head, .B = 2, .R = 5, .C = 6, .N = 13, .H = 3, .tied = true},
    {.op = &op_head, .B = 3, .R = 4, .C = 5, .N = 9, .H = 3, .per_sequence = true},
    {.op = &op_head, .B = 3, .R = 4, .C = 5, .N = 9, .H = 16, .per_sequence = true, .tied = true},
    {.op = &op_inner_sgd, .B = 1, .C = 1, .lr = 0.7, .clip = 0},
    {.op = &op_inner_sgd, .B = 3, .C = 13, .lr = 0.3, .clip = 0},
    {.op = &op_inner_sgd, .B = 3, .C = 13, .lr = 0.3, .clip = 0.5},
    {.op = &op_inner_sgd, .B = 3, .C = 13, .lr = 0.3, .clip = 50},
    {.op = &op_inner_sgd, .B = 2, .C = 5003, .lr = 2, .clip = 1}, /* more than one block of a sum */
    {.op = &op_attention, .B = 1, .R = 1, .C = 2, .H = 1},
    {.op = &op_attention, .B = 2, .R = 5, .C = 4, .H = 2},
    {.op = &op_attention, .B = 2, .R = 5, .C = 4, .H = 2, .window = 1},
    {.op = &op_attention, .B = 2, .R = 7, .C = 3, .H = 2, .past = 4, .pad = 2, .window = 3},
    {.op = &op_attention, .B = 2, .R = 3, .C = 2, .H = 3, .past = 6, .window = 7, .position = 9},
    {.op = &op_attention, .B = 1, .R = 4, .C = 6, .H = 1, .past = 9, .pad = 1, .window = 6},
    {.op = &op_attention, .B = 2, .R = 3, .C = 2, .H = 1, .past = 5, .position = 5},
    {.op = &op_attention, .B = 1, .R = 3, .C = 2, .H = 2, .past = 2, .window = 40, .position = 2},
    {.op = &op_attention, .B = 2, .R = 9, .C = 2, .H = 1, .local = 4},
    {.op = &op_attention, .B = 1, .R = 7, .C = 2, .H = 2, .past = 3, .local = 5, .position = 8},
    {.op = &op_attention, .B = 1, .R = 9, .C = 4, .H = 1, .local = 6, .window = 3, .position = 6},
    {.op = &op_attention, .B = 2, .R = 1, .C = 19, .H = 3, .past = 401, .pad = 2, .window = 350},
    {.op = &op_attention, .B = 1, .R = 4, .C = 16, .H = 2, .past = 611, .position = 611},
    {.op = &op_attention, .B = 2, .R = 2, .C = 8, .H = 2, .past = 90, .local = 40, .position = 90},
    {.op = &op_attention, .B = 1, .R = 70, .C = 4, .H = 1, .past = 5, .window = 6, .position = 5},
    {.op = &op_attention, .B = 1, .R = 131, .C = 2, .H = 1},
    {.op = &op_attention, .B = 1, .R = 90, .C = 20, .H = 1, .past = 150, .pad = 3, .window = 101},
    {.op = &op_attention, .B = 1, .R = 67, .C = 2, .H = 2, .past = 30, .local = 66, .position = 30},
};

/* The CPU, or the device that TTT_TEST_DEVICE names. */
static Backend *open_backend(void)
{
    Err err;
    BackendOptions options = {.threads = 2, .device = getenv("TTT_TEST_DEVICE")};
    if (backend_open(&machine, &options, &err) < 0) fail_msg("%s", err.text);
    return machine;
}

static void test_table(void **state)
{
    failures = 0;
    for (int i = 0; i < ARRAY_LEN(table); i += case_step()) check_case(*state, &table[i]);
    assert_int_equal(failures, 0);
}

static void rope_alone(Backend *be, real *y, real *x, const real *turns, int D)
{
    Strided to = {.v = y};
    Rope rope = {.table = turns};
    be->ops->rope_forward(be, &to, (Dual){.v = x}, (Param){0}, &rope, 1, 1, 1, D);
}

/* Scores of two rotated vectors depend on the difference of positions only, twenty million tokens
 * on. */
static void test_rope_far(void **state)
{
    enum { D = 32, M = 9 };
    Backend *be = *state;
    const int64_t far = 20000001; /* more than float32 counts to */
    real *near_table = reals(M * D), *far_table = reals(M * D);
    real *q = reals(D), *k = reals(D), *turned_q = reals(D), *turned_k = reals(D);
    Rng rng;
    rng_seed(&rng, 3, 1);
    for (int i = 0; i < D; i++) {
        q[i] = (real)rng_normal(&rng);
        k[i] = (real)rng_normal(&rng);
    }
    be->ops->rope_table(be, near_table, 0, M, D, 10000);
    be->ops->rope_table(be, far_table, far, M, D, 10000);
    for (int m = 0; m < M; m++) {
        real *tables[2] = {near_table, far_table};
        double score[2];
        for (int i = 0; i < 2; i++) {
            rope_alone(be, turned_q, q, tables[i] + (M - 1) * D, D);
            rope_alone(be, turned_k, k, tables[i] + m * D, D);
            score[i] = inner_product(turned_q, turned_k, D);
        }
        assert_true(fabs(score[0] - score[1]) < 3e-7);
        for (int i = 0; i < D; i += 2) {
            long double angle = (long double)(far + m) * powl(10000.0L, -(long double)i / D);
            assert_true(fabsl(cosl(angle) - (long double)far_table[m * D + i]) < 3e-8L);
            assert_true(fabsl(sinl(angle) - (long double)far_table[m * D + i + 1]) < 3e-8L);
        }
    }
    real *const all[] = {near_table, far_table, q, k, turned_q, turned_k};
    for (int i = 0; i < ARRAY_LEN(all); i++) shared_free(all[i]);
}

static void test_loss_seeds(void **state)
{
    Backend *be = *state;
    const int32_t values[3 * 4] = {5, 1, 7, 1, 1, 1, 1, 1, 2, 3, 4, 0};
    int32_t *target = ids(3 * 4);
    memcpy(target, values, sizeof values);
    const real want[3 * 4] = {1.5, 0, 1.5, 0, 0, 0, 0, 0, 0.75, 0.75, 0.75, 0.75};
    real *seeds = reals(3 * 4);
    be->ops->loss_seeds(be, seeds, target, 3, 4, 1, 3);
    assert_true(relative_error(seeds, want, 12) < 1e-15);
    be->ops->loss_seeds(be, seeds, target, 3, 4, -1, 3); /* no BOS: nothing is masked */
    settle();
    for (int i = 0; i < 12; i++) assert_true(fabs((double)seeds[i] - 0.75) < 1e-15);
    shared_free(seeds);
    shared_free(target);
}

/* Logits far from zero neither overflow nor lose the small ones. */
static void test_cross_entropy_large(void **state)
{
    Backend *be = *state;
    const real logits[6] = {1000, 998, -1000, -1000, -1001, -1003};
    real *z = copied(logits, 6), *nll = reals(2), *seed = reals(2);
    int32_t *target = ids(2);
    seed[0] = seed[1] = 1;
    target[0] = 1;
    target[1] = 0;
    be->ops->cross_entropy(be, nll, (Dual){.v = z}, (Dual){.v = seed}, target, 2, 3);
    settle();
    assert_true(fabs((double)nll[0] - log1p(exp(2.0))) < 1e-12);
    assert_true(fabs((double)nll[1] - log1p(exp(-1.0) + exp(-3.0))) < 1e-12);
    assert_true(fabs((double)z[0] - 1 / (1 + exp(-2.0))) < 1e-12);
    assert_true(z[2] == 0);
    shared_free(z);
    shared_free(nll);
    shared_free(seed);
    shared_free(target);
}

static void test_add_and_rows(void **state)
{
    enum { N = 20011 };
    Backend *be = *state;
    Rng rng;
    rng_seed(&rng, 5, 0);
    real *a = random_reals(&rng, N), *b = random_reals(&rng, N), *y = random_reals(&rng, N);
    be->ops->add(be, y, a, b, N);
    settle();
    for (int i = 0; i < N; i++) assert_true(y[i] == a[i] + b[i]);
    dual_add(be, (Dual){y, NULL}, (Dual){.v = a}, (Dual){.v = a}, N);
    settle();
    for (int i = 0; i < N; i++) assert_true(y[i] == 2 * a[i]);
    dual_add(be, (Dual){.t = y}, (Dual){.t = a}, (Dual){.t = b}, N);
    settle();
    for (int i = 0; i < N; i++) assert_true(y[i] == a[i] + b[i]);
    dual_add(be, (Dual){.t = y}, (Dual){.v = a}, (Dual){.v = a, .t = b}, N);
    settle();
    assert_memory_equal(y, b, N * sizeof *y);
    dual_add(be, (Dual){.t = y}, (Dual){.v = a}, (Dual){.v = a}, N);
    settle();
    for (int i = 0; i < N; i++) assert_true(y[i] == 0);
    for (int i = 0; i < N; i++) y[i] = 7;
    be->ops->copy_rows(be, y, 50, a, 31, 3, 2, 5); /* 10 of each 31 to 10 of each 50 */
    settle();
    for (int i = 0; i < 150; i++) assert_true(y[i] == (i % 50 < 10 ? a[i / 50 * 31 + i % 50] : 7));
    shared_free(a);
    shared_free(b);
    shared_free(y);
}

/* Of a step in place: what is not finite, if anything, and whether it is taken all the same. */
typedef struct GuardCase {
    const char *name;
    int g, nll; /* where; -1: nowhere */
    real value, before;
    bool taken;
} GuardCase;

static const GuardCase guards[] = {
    {"all finite", -1, -1, 0, 3, true},
    {"masked loss", -1, 5, NAN, 0, true},
    {"loss", -1, 4, INFINITY, 0, false},
    {"late loss", -1, 1299, NAN, 0, false},
    {"step before", -1, -1, 0, NAN, false},
    {"norm before", -1, -1, 0, INFINITY, false},
    {"gradient", 70, -1, NAN, 0, false},
    {"gradient, infinite", 0, -1, INFINITY, 0, false},
    {"norm of large ones", 9, -1, (real)1e200, 0, false},
};

static void check_guard(Backend *be, const GuardCase *c, size_t P, double clip)
{
    enum { ROWS = 1301 };
    Rng rng;
    rng_seed(&rng, 21, 0);
    real *w = random_reals(&rng, P), *g = random_reals(&rng, P), *next = reals(P), *was = reals(P);
    real *nll = random_reals(&rng, ROWS), *seed = reals(ROWS), *norm = reals(3);
    double *lr = shared_double(0.3);
    for (int i = 0; i < ROWS; i++) seed[i] = i % 5 ? (real)1 / ROWS : 0;
    if (c->nll >= 0) nll[c->nll] = c->value;
    if (c->g >= 0) g[(size_t)c->g % P] = c->value;
    norm[0] = c->before;
    memcpy(was, w, P * sizeof *w);
    StepGuard guard = {nll, seed, ROWS, norm};
    be->ops->inner_sgd_forward(be, next, norm + 2, w, g, 1, P, lr, clip, NULL);
    be->ops->inner_sgd_forward(be, w, norm + 1, w, g, 1, P, lr, clip, &guard);
    settle();
    if (isfinite(norm[1]) != c->taken) fail_msg("%s: the norm is %g", c->name, (double)norm[1]);
    if (memcmp(w, c->taken ? next : was, P * sizeof *w) != 0) fail_msg("%s: weights", c->name);
    if (c->taken) assert_true(norm[1] == norm[2]);
    real *const all[] = {w, g, next, was, nll, seed, norm};
    for (int i = 0; i < ARRAY_LEN(all); i++) shared_free(all[i]);
    shared_free(lr);
}

static void test_guarded_step(void **state)
{
    static const size_t sizes[] = {1, 501, 40000};
    for (int i = 0; i < ARRAY_LEN(guards); i++)
        for (int s = 0; s < ARRAY_LEN(sizes); s++)
            check_guard(*state, &guards[i], sizes[s], i % 2 ? 0 : 0.5);
}

static void test_adamw(void **state)
{
    enum { N = 17003, STEPS = 3 };
    Backend *be = *state;
    Rng rng;
    rng_seed(&rng, 9, 0);
    real *p = random_reals(&rng, N), *mu = reals(N), *nu = reals(N);
    double *want = calloc(3 * N, sizeof *want), *m = want + N, *v = want + 2 * N;
    double *scale = shared_double(0.5);
    for (int i = 0; i < N; i++) want[i] = (double)p[i];
    for (int t = 1; t <= STEPS; t++) {
        real *g = random_reals(&rng, N);
        AdamWStep s = {.lr = 0.01 * t,
                       .b1 = 0.9,
                       .b2 = 0.95,
                       .eps = 1e-8,
                       .weight_decay = 0.1,
                       .correction1 = 1 - pow(0.9, t),
                       .correction2 = 1 - pow(0.95, t),
                       .scale = scale};
        be->ops->adamw(be, p, mu, nu, g, N, &s);
        settle();
        for (int i = 0; i < N; i++) {
            double gi = 0.5 * (double)g[i];
            m[i] = 0.9 * m[i] + 0.1 * gi;
            v[i] = 0.95 * v[i] + 0.05 * gi * gi;
            double step = m[i] / (1 - pow(0.9, t)) / (sqrt(v[i] / (1 - pow(0.95, t))) + 1e-8);
            want[i] -= 0.01 * t * (step + 0.1 * want[i]);
        }
        shared_free(g);
    }
    assert_true(relative_error(p, (real *)want, N) < 1e-12);
    assert_true(relative_error(mu, (real *)m, N) < 1e-12);
    assert_true(relative_error(nu, (real *)v, N) < 1e-12);
    *scale = NAN;
    AdamWStep none = {.lr = 1, .correction1 = 1, .correction2 = 1, .scale = scale};
    be->ops->adamw(be, p, mu, nu, nu, N, &none); /* a gradient that is no number changes nothing */
    assert_true(relative_error(p, (real *)want, N) < 1e-12);
    shared_free(p);
    shared_free(mu);
    shared_free(nu);
    shared_free(scale);
    free(want);
}

static void test_clip_scale(void **state)
{
    Backend *be = *state;
    double *sums = shared_double(9), *scale = shared_double(0), *norm = shared_double(0);
    const struct {
        double sum, clip, norm, scale;
    } cases[] = {{9, 0, 3, 1}, {9, 2, 3, 2.0 / 3},           {9, 3, 3, 1},
                 {9, 4, 3, 1}, {INFINITY, 2, INFINITY, NAN}, {NAN, 0, NAN, NAN}};
    for (int i = 0; i < ARRAY_LEN(cases); i++) {
        *sums = cases[i].sum;
        be->ops->clip_scale(be, scale, norm, sums, 1, cases[i].clip);
        settle();
        assert_true(isnan(cases[i].scale) ? isnan(*scale) : *scale == cases[i].scale);
        assert_true(isnan(cases[i].norm) ? isnan(*norm) : *norm == cases[i].norm);
    }
    shared_free(sums);
    shared_free(scale);
    shared_free(norm);
}

static void test_sum_squares(void **state)
{
    Backend *be = *state;
    const size_t sizes[] = {0, 1, 3, 4096, 4097, 50001, 4096 * 256 + 5};
    Rng rng;
    rng_seed(&rng, 11, 0);
    real *x = random_reals(&rng, 4096 * 256 + 5);
    double *sum = shared_double(0);
    for (int i = 0; i < ARRAY_LEN(sizes); i++) {
        double want = inner_product(x, x, sizes[i]);
        *sum = -1;
        be->ops->sum_squares(be, sum, x, sizes[i]);
        settle();
        assert_true(fabs(*sum - want) <= 1e-11 * want);
    }
    shared_free(sum);
    shared_free(x);
}

static void test_log_sum_exp(void **state)
{
    enum { V = 40001 };
    Backend *be = *state;
    const int sizes[] = {1, 2, 4096, 4097, V};
    Rng rng;
    rng_seed(&rng, 13, 0);
    real *z = random_reals(&rng, V);
    double *got = shared_double(0);
    z[4096] = -INFINITY;
    for (int i = 0; i < ARRAY_LEN(sizes); i++) {
        for (int shift = -2000; shift <= 2000; shift += 2000) { /* exp of it is no number */
            long double sum = 0;
            for (int j = 0; j < sizes[i]; j++) sum += expl((long double)z[j]);
            for (int j = 0; j < sizes[i]; j++) z[j] += (real)shift;
            be->ops->log_sum_exp(be, got, z, sizes[i]);
            settle();
            for (int j = 0; j < sizes[i]; j++) z[j] -= (real)shift;
            assert_true(fabsl((long double)*got - logl(sum) - shift) < 1e-10L);
        }
    }
    shared_free(z);
    shared_free(got);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_table),        cmocka_unit_test(test_rope_far),
        cmocka_unit_test(test_loss_seeds),   cmocka_unit_test(test_cross_entropy_large),
        cmocka_unit_test(test_add_and_rows), cmocka_unit_test(test_adamw),
        cmocka_unit_test(test_sum_squares),  cmocka_unit_test(test_clip_scale),
        cmocka_unit_test(test_log_sum_exp),  cmocka_unit_test(test_sub_layers),
        cmocka_unit_test(test_guarded_step),
    };
    Backend *be = open_backend();
    for (int i = 0; i < ARRAY_LEN(tests); i++) ((struct CMUnitTest *)tests)[i].initial_state = be;
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    backend_close(be);
    return failed;
}
