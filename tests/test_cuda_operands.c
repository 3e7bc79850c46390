/* Operands of products in bfloat16 on the GPU: what a group of products shares, and what kernels
 * leave rounded, must have the bits of products that round their operands each for itself. */
#include "cuda_peer.h"

enum { OUTPUTS = 6 };

/* One chain of kernels and products; y, n and z are operands and, grouped, nothing else. */
typedef struct Chain {
    int R, K, N; /* rows in each of three sequences, inner and outer width */
    Array a, b, x, w, norm, seed, target;
    Array y, n, z, nll;
    Array out[OUTPUTS];
} Chain;

static Chain chain_new(int R, int K, int N)
{
    size_t rows = 3 * (size_t)R, k = (size_t)K, n = (size_t)N;
    Chain c = {.R = R, .K = K, .N = N};
    c.a = array(rows * k, 0);
    c.b = array(rows * k, 0);
    c.x = array(rows * k, 0);
    c.w = array(3 * k * n, 0);
    c.norm = array(k, 0);
    c.seed = array(rows, 0);
    c.target = array_of_ids(rows, N);
    c.y = array(rows * k, 0);
    c.n = array(rows * k, 0);
    c.z = array(rows * n, 0);
    c.nll = array(rows, 0);
    const size_t sizes[OUTPUTS] = {rows * n, k * k, rows * n, rows * n, n * k, rows * k};
    for (int i = 0; i < OUTPUTS; i++) c.out[i] = array(sizes[i], 0);
    return c;
}

static void operand(Backend *be, bool grouped, const Array *x)
{
    if (grouped) gemm_operand(be, x->p[GPU], x->n);
}

/* Everything that a block and the head do with operands. */
static void chain_run(const Chain *c, bool grouped)
{
    Backend *be = machine[GPU];
    int rows = 3 * c->R, K = c->K, N = c->N;
    size_t k = (size_t)K, n = (size_t)N, R = (size_t)c->R;
    real *const *out[OUTPUTS];
    for (int i = 0; i < OUTPUTS; i++) out[i] = &c->out[i].p[GPU];
    const real *w = c->w.p[GPU];
    if (grouped) gemm_group_begin(be);
    operand(be, grouped, &c->y);
    be->ops->swiglu_forward(be, (Dual){.v = c->y.p[GPU]}, (Dual){.v = c->a.p[GPU]},
                            (Dual){.v = c->b.p[GPU]}, c->y.n);
    gemm(be, N_, N_, rows, N, K, 1, c->y.p[GPU], K, w, N, 0, *out[0], N);
    operand(be, grouped, &c->n);
    be->ops->rmsnorm_forward(be, (Dual){.v = c->n.p[GPU]}, (Dual){0}, (Dual){.v = c->x.p[GPU]},
                             (Param){.v = c->norm.p[GPU]}, 1, rows, K, 1e-6);
    gemm(be, T_, N_, K, K, rows, 1, c->y.p[GPU], K, c->n.p[GPU], K, 0, *out[1], K);
    gemm_batch(be, 3, N_, N_, c->R, N, K, c->y.p[GPU], R * k, w, k * n, 0, *out[2], R * n);
    gemm_batch(be, 3, N_, N_, c->R, N, K, c->n.p[GPU], R * k, w, 0, 0, *out[3], R * n);
    backend_copy(be, c->z.p[GPU], *out[0], c->z.n);
    operand(be, grouped, &c->z);
    be->ops->cross_entropy(be, c->nll.p[GPU], (Dual){.v = c->z.p[GPU]}, (Dual){.v = c->seed.p[GPU]},
                           ids(&c->target, GPU), rows, N);
    gemm(be, T_, N_, N, K, rows, 1, c->z.p[GPU], N, c->y.p[GPU], K, 0, *out[4], K);
    gemm(be, N_, T_, rows, K, N, 1, c->z.p[GPU], N, w, N, 0, *out[5], K);
    /* a product's output that is an operand, then another one in its place */
    gemm(be, N_, T_, rows, K, N, 1, *out[0], N, w, N, 1, *out[5], K);
    gemm(be, N_, N_, rows, N, K, 1, *out[5], K, w + k * n, N, 0, *out[0], N);
    gemm(be, N_, T_, rows, K, N, 1, *out[0], N, w, N, 1, *out[5], K);
    if (grouped) gemm_group_end(be);
}

/* As a run of its own, or from a record of it. */
static void chain_again(const Chain *c, bool record)
{
    Backend *be = machine[GPU];
    if (!record) {
        chain_run(c, true);
        return;
    }
    backend_record_begin(be);
    chain_run(c, true);
    Err err;
    BackendRecord *r = backend_record_end(be, &err);
    if (!r) fail_msg("%s", err.text);
    backend_record_play(be, r);
    both_wait();
    backend_record_free(be, r);
}

/* Bits of the outputs in the CPU's block, which nothing else uses here. */
static void chain_keep(const Chain *c)
{
    both_wait();
    for (int i = 0; i < OUTPUTS; i++) {
        const Array *a = &c->out[i];
        memcpy(a->p[CPU], a->p[GPU], a->n * sizeof(real));
    }
}

static void chain_compare(const Chain *c, const char *what)
{
    both_wait();
    for (int i = 0; i < OUTPUTS; i++) {
        const Array *a = &c->out[i];
        if (memcmp(a->p[CPU], a->p[GPU], a->n * sizeof(real)) != 0)
            fail_msg("%s, %d rows, %d x %d: output %d has other bits", what, c->R, c->K, c->N, i);
        memset(a->p[GPU], 0xff, a->n * sizeof(real));
    }
}

/* They went from kernel to product in bfloat16 alone. */
static void expect_unwritten(const Array *a)
{
    for (size_t i = 0; i < a->n; i++) assert_true(isnan((double)a->p[GPU][i]));
}

/* Ever larger and in between smaller, so that the room grows in the middle of a group. */
static void test_same_bits(void **state)
{
    (void)state;
    const int sizes[][3] = {{3, 8, 16},  {9, 20, 36},  {5, 7, 13},   {33, 64, 40},
                            {10, 8, 24}, {40, 96, 50}, {65, 31, 77}, {64, 128, 260}};
    for (size_t i = 0; i < ARRAY_LEN(sizes); i++) {
        Chain c = chain_new(sizes[i][0], sizes[i][1], sizes[i][2]);
        chain_run(&c, false);
        chain_keep(&c);
        memset(c.y.p[GPU], 0xff, c.y.n * sizeof(real));
        memset(c.n.p[GPU], 0xff, c.n.n * sizeof(real));
        chain_again(&c, false);
        chain_compare(&c, "first run");
        chain_again(&c, true);
        chain_compare(&c, "record");
        expect_unwritten(&c.y);
        expect_unwritten(&c.n);
        free_arrays();
    }
}

/* More operands than a group remembers. */
static void test_many(void **state)
{
    (void)state;
    enum { MANY = 120, SIDE = 16 };
    Backend *be = machine[GPU];
    Array x = array((size_t)MANY * SIDE * SIDE, 0), y = array((size_t)MANY * SIDE * SIDE, 0);
    Array alone = array((size_t)MANY * SIDE * SIDE, 0);
    for (int grouped = 0; grouped < 2; grouped++) {
        real *to = grouped ? y.p[GPU] : alone.p[GPU];
        if (grouped) gemm_group_begin(be);
        for (int i = 0; i < MANY; i++) {
            size_t at = (size_t)i * SIDE * SIDE, other = (size_t)(i * 7 % MANY) * SIDE * SIDE;
            gemm(be, N_, N_, SIDE, SIDE, SIDE, 1, x.p[GPU] + at, SIDE, x.p[GPU] + other, SIDE, 0,
                 to + at, SIDE);
        }
        if (grouped) gemm_group_end(be);
    }
    both_wait();
    assert_memory_equal(y.p[GPU], alone.p[GPU], y.n * sizeof(real));
    free_arrays();
}

int main(void)
{
    open_machines();
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_many),
                                       cmocka_unit_test(test_same_bits)};
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    for (int i = 0; i < MACHINES; i++) backend_close(machine[i]);
    return failed;
}
