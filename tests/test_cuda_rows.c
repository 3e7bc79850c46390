/* CUDA kernels against the CPU's: long rows of logits, products of few rows, steps over all
 * weights, and the bench's peaks; as test_cuda_ops.c. */
#include "backend/bf16_copy.h"
#include "cuda_peer.h"

/* ------------------------------------------------------------------------------ long rows */

typedef struct LossCase {
    Array z, zt, seed, seed_t, nll, target, sum;
    int N, V;
} LossCase;

static void cross_entropy_call(int i, const void *arguments)
{
    const LossCase *c = arguments;
    machine[i]->ops->cross_entropy(machine[i], c->nll.p[i], dual(&c->z, &c->zt, i),
                                   dual(&c->seed, &c->seed_t, i), ids(&c->target, i), c->N, c->V);
}

static void log_sum_call(int i, const void *arguments)
{
    const LossCase *c = arguments;
    machine[i]->ops->log_sum_exp(machine[i], (double *)(void *)c->sum.p[i], c->z.p[i], c->V);
}

static void loss_once(int N, int V, bool tangent)
{
    int o = coin() ? 0 : drawn(4);
    size_t n = (size_t)N * (size_t)V;
    LossCase c = {.N = N, .V = V, .z = array(n, o), .zt = maybe(tangent, n, o)};
    c.seed = maybe(coin(), (size_t)N, 0);
    c.seed_t = maybe(tangent ? coin() : !c.seed.n && coin(), (size_t)N, 0);
    c.nll = array((size_t)N, 0);
    c.target = array_of_ids((size_t)N, V);
    c.sum = array(reals_for(sizeof(double)), 0);
    if (V > 2 && coin()) c.z.p[CPU][1] = c.z.p[GPU][1] = -INFINITY;
    ids(&c.target, CPU)[0] = ids(&c.target, GPU)[0] = V - 1;
    on_both(log_sum_call, &c);
    both_wait();
    for (int i = 0; i < MACHINES; i++) { /* a double is not to be compared as reals */
        double sum = *(double *)(void *)c.sum.p[i];
        memset(c.sum.p[i], 0, sizeof sum);
        *c.sum.p[i] = (real)sum;
    }
    on_both(cross_entropy_call, &c);
    expect_same("cross_entropy, log_sum_exp", CLOSE);
}

static void test_cross_entropy(void **state)
{
    (void)state;
    const int sizes[] = {2, 31, 256, 4096, 4097, 8192, 12300};
    for (int round = 0; round < 40; round += case_step())
        loss_once(1 + drawn(6), sizes[drawn(ARRAY_LEN(sizes))], coin());
    loss_once(26, 128256, true); /* more than one group of rows */
    loss_once(2, 128256, false);
}

static void seeds_call(int i, const void *arguments)
{
    const LossCase *c = arguments;
    machine[i]->ops->loss_seeds(machine[i], c->seed.p[i], ids(&c->target, i), c->N, c->V, 1, 3);
}

static void test_loss_seeds(void **state)
{
    (void)state;
    const int sizes[] = {1, 5, 256, 1000};
    for (int round = 0; round < 12; round += case_step()) {
        LossCase c = {.N = 1 + drawn(3), .V = sizes[drawn(4)]};
        c.seed = array((size_t)(c.N * c.V), 0);
        c.target = array_of_ids((size_t)(c.N * c.V), 1 + drawn(3));
        on_both(seeds_call, &c);
        expect_same("loss_seeds", CLOSE);
    }
}

/* ------------------------------------------------------------------------------ few rows */

enum { MOST_AT_ONCE = 6 };

typedef struct ProductCase {
    Array y[MOST_AT_ONCE], x, w[MOST_AT_ONCE], norm, normed, gated;
    int N[MOST_AT_ONCE], n, R, K;
    bool transposed, add;
} ProductCase;

static int gated_product(int n) /* by the one behind it */
{
    return (n - 1) / 2;
}

static void products_call(int i, const void *arguments)
{
    const ProductCase *c = arguments;
    RowsProduct p[MOST_AT_ONCE];
    for (int k = 0; k < c->n; k++)
        p[k] = (RowsProduct){.y = c->y[k].p[i],
                             .x = c->x.p[i],
                             .w = c->w[k].p[i],
                             .N = c->N[k],
                             .norm = c->norm.p[i],
                             .normed = c->normed.p[i]};
    p[gated_product(c->n)].gated = c->gated.p[i];
    machine[i]->ops->rows_products(machine[i], p, c->n, c->transposed, c->R, c->K, c->add, 0.01);
}

/* What bfloat16 holds as it is, so that a copy changes no result. */
static void bf16_values(Array *a)
{
    for (size_t i = 0; i < a->n; i++) a->p[CPU][i] = a->p[GPU][i] = (real)(drawn(255) - 127) / 64;
}

/* A copy; the GPU's array itself is spoiled where the copy is to be read. */
static bool keep_copy(Array *w, bool read)
{
    bool kept = read;
    bf16_values(w);
    for (int i = 0; i < MACHINES; i++) bf16_copy_keep(machine[i], w->p[i], w->n);
    both_wait();
    for (int i = 0; i < MACHINES; i++) kept = kept && bf16_copy_find(machine[i], w->p[i], w->n);
    if (kept) memset(w->p[GPU], 0xff, w->n * sizeof(real));
    return true;
}

static void drop_copy(Array *w)
{
    memcpy(w->p[GPU], w->p[CPU], w->n * sizeof(real));
    for (int i = 0; i < MACHINES; i++) bf16_copy_drop(machine[i], w->p[i]);
}

/* copies: of how many matrices; they are read if all have one. */
static void products_once(ProductCase c, int o, int copies)
{
    bool kept[MOST_AT_ONCE] = {false};
    c.x = array((size_t)(c.R * c.K), coin() ? o : 0);
    for (int k = 0; k < c.n; k++) {
        c.y[k] = array((size_t)(c.R * c.N[k]), coin() ? o : 0);
        c.w[k] = array((size_t)c.K * (size_t)c.N[k], o);
        if (k < copies) kept[k] = keep_copy(&c.w[k], copies >= c.n);
    }
    on_both(products_call, &c);
    both_wait();
    for (int k = 0; k < c.n; k++)
        if (kept[k]) drop_copy(&c.w[k]);
    if (c.normed.n) memcpy(c.normed.p[GPU], c.normed.p[CPU], c.normed.n * sizeof(real));
    expect_same("rows_products", 10 * CLOSE);
}

static void test_rows_products(void **state)
{
    (void)state;
    const int sizes[] = {1, 3, 4, 16, 20, 64, 130, 257, 768, 2052};
    for (int round = 0; round < 70; round += case_step()) {
        int o = coin() ? 0 : drawn(4);
        ProductCase c = {.R = 1 + drawn(coin() ? 1 : 18), .transposed = coin(), .add = coin()};
        c.K = sizes[drawn(ARRAY_LEN(sizes))];
        c.n = coin() ? 1 : 1 + drawn(MOST_AT_ONCE);
        for (int k = 0; k < c.n; k++) c.N[k] = sizes[drawn(ARRAY_LEN(sizes) - (c.n > 1))];
        if (drawn(10) == 0) c.N[0] = 5000;
        bool plain = c.transposed || c.add;
        c.norm = maybe(!plain && coin(), (size_t)c.K, coin() ? o : 0);
        if (c.norm.n) c.normed = array((size_t)(c.R * c.K), 0);
        int gate = gated_product(c.n);
        if (!plain && c.n > 1 && coin()) {
            c.N[gate + 1] = c.N[gate];
            c.gated = array((size_t)(c.R * c.N[gate]), coin() ? o : 0);
        }
        products_once(c, o, coin() ? 0 : drawn(c.n + 1) * 2);
    }
}

/* ------------------------------------------------------------------------------ steps */

typedef struct StepCase {
    Array w, g, v, next, u, norm, doubles;
    int B;
    size_t P;
    double clip;
} StepCase;

static double *doubles(const Array *a, int i)
{
    return (double *)(void *)a->p[i];
}

static void step_call(int i, const void *arguments)
{
    const StepCase *c = arguments;
    const Ops *ops = machine[i]->ops;
    ops->inner_sgd_forward(machine[i], c->next.p[i], c->norm.p[i], c->w.p[i], c->g.p[i], c->B, c->P,
                           doubles(&c->doubles, i), c->clip, NULL);
    ops->inner_sgd_backward(machine[i], c->u.p[i], c->v.p[i], c->g.p[i], c->norm.p[i], c->B, c->P,
                            doubles(&c->doubles, i), c->clip);
    ops->inner_sgd_backward(machine[i], c->g.p[i], c->v.p[i], c->g.p[i], c->norm.p[i], c->B, c->P,
                            doubles(&c->doubles, i), c->clip); /* in place */
}

static void test_inner_sgd(void **state)
{
    (void)state;
    const size_t sizes[] = {1, 6, 1024, 5003, 40000, 300000};
    for (int round = 0; round < 30; round += case_step()) {
        StepCase c = {.B = 1 + drawn(3), .P = sizes[drawn(6)]};
        int o = coin() ? 0 : drawn(4);
        size_t n = (size_t)c.B * c.P;
        c.clip = coin() ? 0 : sqrt((double)c.P) * (coin() ? 1.0 : 0.2);
        c.w = array(n, o);
        c.g = array(n, o);
        c.v = array(n, o);
        c.next = array(n, o);
        c.u = array(n, o);
        c.norm = array((size_t)c.B, 0);
        c.doubles = array(reals_for(sizeof(double)), 0);
        for (int i = 0; i < MACHINES; i++) *doubles(&c.doubles, i) = 0.3;
        on_both(step_call, &c);
        expect_same("inner_sgd", CLOSE);
    }
}

static void adamw_call(int i, const void *arguments)
{
    const StepCase *c = arguments;
    AdamWStep s = {.lr = 0.01,
                   .b1 = 0.9,
                   .b2 = 0.95,
                   .eps = 1e-8,
                   .weight_decay = 0.1,
                   .correction1 = 0.19,
                   .correction2 = 0.0975,
                   .scale = doubles(&c->doubles, i)};
    machine[i]->ops->adamw(machine[i], c->w.p[i], c->u.p[i], c->v.p[i], c->g.p[i], c->P, &s);
}

static void test_adamw(void **state)
{
    (void)state;
    const size_t sizes[] = {1, 6, 1024, 5003, 40000};
    const double scales[] = {1, 0.25, INFINITY, NAN};
    for (int round = 0; round < 30; round += case_step()) {
        int o = coin() ? 0 : drawn(4);
        StepCase c = {.P = sizes[drawn(5)]};
        c.w = array(c.P, o);
        c.g = array(c.P, o);
        c.u = array(c.P, o);
        c.v = array(c.P, o);
        c.doubles = array(reals_for(sizeof(double)), 0);
        for (size_t i = 0; i < c.P; i++)
            c.v.p[CPU][i] = c.v.p[GPU][i] = (real)fabs((double)c.v.p[CPU][i]);
        double scale = scales[drawn(4)];
        for (int i = 0; i < MACHINES; i++) *doubles(&c.doubles, i) = scale;
        on_both(adamw_call, &c);
        expect_same("adamw", CLOSE);
    }
}

/* Norm of several arrays, and its scale: as doubles, to their own precision. */
static void test_clip(void **state)
{
    (void)state;
    const size_t sizes[] = {0, 1, 7, 4096, 50001, 600000};
    for (int round = 0; round < 20; round += case_step()) {
        enum { COUNT = 70, SCALE = COUNT, NORM, DOUBLES };
        Array x = array(sizes[drawn(6)], drawn(4));
        Array d = array(reals_for(DOUBLES * sizeof(double)), 0);
        double clip = drawn(3) * 10.0, got[MACHINES][DOUBLES];
        bool bad = drawn(4) == 0;
        for (int i = 0; i < MACHINES; i++) {
            const Ops *ops = machine[i]->ops;
            double *sums = doubles(&d, i);
            for (int k = 0; k < COUNT; k++) sums[k] = k;
            if (bad) sums[3] = NAN;
            ops->sum_squares(machine[i], sums + 1, x.p[i], x.n);
            ops->clip_scale(machine[i], sums + SCALE, sums + NORM, sums, COUNT, clip);
        }
        both_wait();
        for (int i = 0; i < MACHINES; i++) {
            memcpy(got[i], doubles(&d, i), sizeof got[i]);
            memset(d.p[i], 0, sizeof got[i]);
        }
        for (int k = 0; k < DOUBLES; k++)
            assert_true((isnan(got[CPU][k]) && isnan(got[GPU][k])) ||
                        fabs(got[CPU][k] - got[GPU][k]) <= 1e-12 * fabs(got[CPU][k]));
        assert_true(isnan(got[GPU][SCALE]) == bad);
        expect_same("sum_squares, clip_scale", 0);
    }
}

/* Twice the same call, the same bits. */
static void test_same_bits(void **state)
{
    (void)state;
    enum { ROWS = 40, C = 260 };
    Array x = array(ROWS * C, 0), dy = array(ROWS * C, 0), w = array(C, 0), dw = array(C, 0);
    real first[C];
    for (int round = 0; round < 3; round += case_step()) {
        backend_zero(machine[GPU], dw.p[GPU], C);
        machine[GPU]->ops->rmsnorm_backward(
            machine[GPU], (Dual){NULL, NULL}, false, (Param){.v = dw.p[GPU]},
            (Dual){.v = dy.p[GPU]}, (Dual){.v = x.p[GPU]}, (Param){.v = w.p[GPU]}, 1, ROWS, C, 0);
        both_wait();
        if (round == 0) memcpy(first, dw.p[GPU], sizeof first);
        assert_memory_equal(first, dw.p[GPU], sizeof first);
    }
    memcpy(dw.p[CPU], dw.p[GPU], sizeof first);
    expect_same("same bits", 0);
}

static void test_peak(void **state)
{
    (void)state;
    enum { N = 4 * PEAK_ALIGN };
    double flops = 0, bytes = 0;
    Array a = array(N, 0), b = array(N, 0), c = array(N, 0), out = array(8, 0);
    Backend *gpu = machine[GPU];
    gpu->ops->peak_products(gpu, &flops, out.p[GPU], 3);
    assert_true(flops > 0);
    const double arrays[] = {[PEAK_READ] = 1, [PEAK_COPY] = 2, [PEAK_TRIAD] = 3};
    for (int kind = PEAK_READ; kind <= PEAK_TRIAD; kind++) {
        gpu->ops->peak_memory(gpu, &bytes, out.p[GPU], (PeakMemory)kind, a.p[GPU], b.p[GPU],
                              c.p[GPU], N);
        assert_true(bytes == arrays[kind] * N * sizeof(real));
    }
    for (int i = 0; i < N; i++) a.p[CPU][i] = b.p[CPU][i] + (real)0.5 * c.p[CPU][i];
    expect_same("peak_memory", CLOSE);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_cross_entropy), cmocka_unit_test(test_loss_seeds),
        cmocka_unit_test(test_rows_products), cmocka_unit_test(test_inner_sgd),
        cmocka_unit_test(test_adamw),         cmocka_unit_test(test_clip),
        cmocka_unit_test(test_same_bits),     cmocka_unit_test(test_peak),
    };
    open_machines();
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    for (int i = 0; i < MACHINES; i++) backend_close(machine[i]);
    return failed;
}
