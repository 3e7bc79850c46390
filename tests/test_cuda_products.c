/* Products with a library on the GPU against the CPU's, in bfloat16 and in float32: every way
 * operands may lie, sizes of one and odd ones, with which libraries have trouble, batches, and
 * groups of products that share operands. */
#include "cuda_peer.h"

typedef struct Case {
    Array a, b, c;
    Trans ta, tb;
    int M, N, K, lda, ldb, ldc, count;
    size_t step_a, step_b, step_c;
    real beta;
} Case;

/* As bfloat16 holds them: on a CPU without such instructions operands are not rounded. */
static void halve(Array *x)
{
    for (size_t i = 0; i < x->room; i++) {
        uint32_t bits;
        float value = (float)x->block[CPU][i];
        memcpy(&bits, &value, sizeof bits);
        bits &= 0xffff0000u;
        memcpy(&value, &bits, sizeof value);
        x->block[CPU][i] = x->block[GPU][i] = (real)value;
    }
}

static int size_drawn(void)
{
    const int some[] = {1, 2, 3, 7, 8, 16, 24, 33, 64, 65, 128};
    return some[drawn(ARRAY_LEN(some))];
}

static Array matrices(int rows, int ld, int count, size_t step, int offset)
{
    Array x = array((size_t)(count - 1) * step + (size_t)rows * (size_t)ld, offset);
    halve(&x);
    return x;
}

/* Single products have rows further apart than they are long, batches are dense. */
static Case case_drawn(int count)
{
    Case c = {
        .ta = coin() ? T_ : N_, .tb = coin() ? T_ : N_, .count = count, .beta = (real)drawn(2)};
    c.M = size_drawn(), c.N = size_drawn(), c.K = size_drawn();
    int gap = count == 1 && coin() ? drawn(9) : 0, offset = coin() ? 0 : drawn(4);
    int a_rows = c.ta ? c.K : c.M, b_rows = c.tb ? c.N : c.K;
    c.lda = (c.ta ? c.M : c.K) + gap;
    c.ldb = (c.tb ? c.K : c.N) + gap;
    c.ldc = c.N + gap;
    c.step_a = (size_t)(a_rows * c.lda);
    c.step_b = coin() ? (size_t)(b_rows * c.ldb) : 0; /* 0: one for all */
    c.step_c = (size_t)(c.M * c.ldc);
    c.a = matrices(a_rows, c.lda, count, c.step_a, offset);
    c.b = matrices(b_rows, c.ldb, count, c.step_b, offset);
    c.c = matrices(c.M, c.ldc, count, c.step_c, coin() ? 0 : drawn(4));
    return c;
}

/* Twice, so that the second finds operands that the first has rounded. */
static void product_call(int i, const void *arguments)
{
    const Case *c = arguments;
    Backend *be = machine[i];
    gemm_group_begin(be);
    for (int again = 0; again < 2; again++) {
        real beta = again ? 1 : c->beta;
        if (c->count > 1)
            gemm_batch(be, c->count, c->ta, c->tb, c->M, c->N, c->K, c->a.p[i], c->step_a,
                       c->b.p[i], c->step_b, beta, c->c.p[i], c->step_c);
        else
            gemm(be, c->ta, c->tb, c->M, c->N, c->K, 1, c->a.p[i], c->lda, c->b.p[i], c->ldb, beta,
                 c->c.p[i], c->ldc);
    }
    gemm_group_end(be);
}

static void run_cases(bool bf16, int rounds)
{
    for (int i = 0; i < MACHINES; i++) machine[i]->bf16 = bf16;
    for (int round = 0; round < rounds; round++) {
        Case c = case_drawn(coin() ? 1 : 2 + drawn(2));
        char what[128];
        snprintf(what, sizeof what, "bf16 %d, %d x (%d, %d, %d), transposed %d %d, ld %d %d %d",
                 bf16, c.count, c.M, c.N, c.K, c.ta, c.tb, c.lda, c.ldb, c.ldc);
        on_both(product_call, &c);
        expect_same(what, CLOSE);
    }
}

static void test_products_bf16(void **state)
{
    (void)state;
    run_cases(true, 150);
}

static void test_products_fp32(void **state)
{
    (void)state;
    run_cases(false, 100);
}

int main(void)
{
    open_machines();
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_products_bf16),
        cmocka_unit_test(test_products_fp32),
    };
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    for (int i = 0; i < MACHINES; i++) backend_close(machine[i]);
    return failed;
}
