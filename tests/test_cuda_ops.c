/* CUDA kernels against the CPU's: elementwise, rotary, norms, embedding. Sizes and addresses at
 * which packs of 16 bytes are whole and at which they are not, and every choice of absent slots.
 * The formulas themselves are checked in fp64/test_ops.c. */
#include "cuda_peer.h"

/* ------------------------------------------------------------------------------ elementwise */

typedef struct Elements {
    Array y, yt, a, at, b, bt, da, dat, db, dbt;
    size_t n;
    bool in_place;
} Elements;

static void add_call(int i, const void *arguments)
{
    const Elements *e = arguments;
    real *y = e->in_place ? e->a.p[i] : e->y.p[i];
    machine[i]->ops->add(machine[i], y, e->a.p[i], e->b.p[i], e->n);
}

static void swiglu_call(int i, const void *arguments)
{
    const Elements *e = arguments;
    machine[i]->ops->swiglu_forward(machine[i], dual(&e->y, &e->yt, i), dual(&e->a, &e->at, i),
                                    dual(&e->b, &e->bt, i), e->n);
}

/* y stands for dy here. */
static void swiglu_back_call(int i, const void *arguments)
{
    const Elements *e = arguments;
    Dual dy = dual(&e->y, &e->yt, i), db = dual(&e->db, &e->dbt, i);
    if (e->in_place) db = (Dual){db.v ? dy.v : NULL, db.t ? dy.t : NULL};
    machine[i]->ops->swiglu_backward(machine[i], dual(&e->da, &e->dat, i), db, dy,
                                     dual(&e->a, &e->at, i), dual(&e->b, &e->bt, i), e->n);
}

static void test_elementwise(void **state)
{
    (void)state;
    const size_t sizes[] = {1, 3, 4, 7, 1024, 1027, 40001};
    for (int round = 0; round < 60; round++) {
        size_t n = sizes[drawn(ARRAY_LEN(sizes))];
        int o = coin() ? 0 : drawn(4);
        Elements e = {.n = n, .in_place = coin()};
        e.y = array(n, o);
        e.a = array(n, o);
        e.b = array(n, coin() ? o : 0);
        on_both(add_call, &e);
        e.at = maybe(coin(), n, o);
        e.bt = maybe(coin(), n, o);
        e.yt = maybe(coin(), n, o);
        on_both(swiglu_call, &e);
        expect_same("add, swiglu", CLOSE);
    }
}

static void test_swiglu_backward(void **state)
{
    (void)state;
    const size_t sizes[] = {1, 3, 4, 7, 1024, 1027, 9001};
    for (int round = 0; round < 40; round++) {
        size_t n = sizes[drawn(ARRAY_LEN(sizes))];
        int o = coin() ? 0 : drawn(4);
        bool value = coin(), tangent = !value || coin();
        Elements e = {.n = n, .in_place = coin(), .a = array(n, o), .b = array(n, o)};
        e.at = maybe(tangent && coin(), n, o);
        e.bt = maybe(tangent && coin(), n, o);
        e.y = maybe(value || coin(), n, o);
        e.yt = maybe(tangent, n, o);
        e.da = maybe(value, n, o);
        e.db = maybe(value, n, o);
        e.dat = maybe(tangent, n, o);
        e.dbt = maybe(tangent, n, o);
        on_both(swiglu_back_call, &e);
        expect_same("swiglu_backward", CLOSE);
    }
}

typedef struct RowsCase {
    Array x, y;
    size_t x_step, y_step;
    int B, M, C;
} RowsCase;

static void copy_rows_call(int i, const void *arguments)
{
    const RowsCase *c = arguments;
    machine[i]->ops->copy_rows(machine[i], c->y.p[i], c->y_step, c->x.p[i], c->x_step, c->B, c->M,
                               c->C);
}

static void test_rows(void **state)
{
    (void)state;
    const int sizes[] = {2, 4, 6, 64, 130};
    for (int round = 0; round < 20; round++) {
        int o = coin() ? 0 : drawn(4);
        RowsCase c = {.B = 1 + drawn(3), .M = 1 + drawn(9), .C = sizes[drawn(ARRAY_LEN(sizes))]};
        size_t dense = (size_t)(c.M * c.C);
        c.x_step = dense + (coin() ? 0 : (size_t)drawn(9));
        c.y_step = dense + (coin() ? 0 : (size_t)drawn(9));
        c.x = array((size_t)c.B * c.x_step, o);
        c.y = array((size_t)c.B * c.y_step, o);
        on_both(copy_rows_call, &c);
        expect_same("copy_rows", CLOSE);
    }
}

/* ------------------------------------------------------------------------------ rmsnorm */

typedef struct NormCase {
    Array x, xt, y, yt, plus, plus_t, w, wt, dw, dwt, dx, dxt;
    int B, R, C;
    size_t w_step, dw_step;
    bool add, in_place, shifted;
} NormCase;

static const int norm_sizes[] = {1, 5, 32, 64, 100, 257, 260, 768, 1028};

static NormCase norm_case(int *offset)
{
    NormCase c = {.B = 1 + drawn(4), .R = 1 + drawn(12)};
    c.C = norm_sizes[drawn(ARRAY_LEN(norm_sizes))];
    if (c.C <= 64) c.R = 1 + drawn(150);
    bool copies = coin();
    c.w_step = copies ? (size_t)c.C + (coin() ? 4 : 0) : 0;
    *offset = coin() ? 0 : drawn(4);
    size_t n = (size_t)(c.B * c.R * c.C);
    c.x = array(n, *offset);
    c.xt = maybe(coin(), n, *offset);
    c.w = array((size_t)c.B * (size_t)(c.C + 4), *offset);
    c.wt = maybe(coin(), (size_t)c.B * (size_t)(c.C + 4), *offset);
    return c;
}

static void norm_call(int i, const void *arguments)
{
    const NormCase *c = arguments;
    const ptrdiff_t shift[4] = {8, 0, 4, 8};
    Param w = {.v = c->w.p[i], .t = c->wt.p[i], .step = c->w_step};
    Dual y = dual(&c->y, &c->yt, i), x = dual(&c->x, &c->xt, i);
    Dual plus = c->in_place ? y : dual(&c->plus, &c->plus_t, i);
    if (c->shifted) {
        w = (Param){.v = c->w.p[i], .shift = shift};
        x.t = y.t = plus.t = NULL;
    }
    machine[i]->ops->rmsnorm_forward(machine[i], y, plus, x, w, c->B, c->R, c->C, 1e-5);
}

static void norm_back_call(int i, const void *arguments)
{
    const NormCase *c = arguments;
    Param w = {.v = c->w.p[i], .t = c->wt.p[i], .step = c->w_step};
    Param dw = {.v = c->dw.p[i], .t = c->dwt.p[i], .step = c->dw_step};
    Dual dx = dual(&c->dx, &c->dxt, i), dy = dual(&c->y, &c->yt, i);
    if (c->in_place) dx = (Dual){dx.v ? dy.v : NULL, dx.t ? dy.t : NULL};
    machine[i]->ops->rmsnorm_backward(machine[i], dx, c->add && !c->in_place, dw, dy,
                                      dual(&c->x, &c->xt, i), w, c->B, c->R, c->C, 1e-5);
}

static void test_rmsnorm(void **state)
{
    (void)state;
    for (int round = 0; round < 50; round++) {
        int o;
        NormCase c = norm_case(&o);
        c.y = array(c.x.n, o);
        c.yt = maybe(coin(), c.x.n, o);
        c.plus = maybe(coin(), c.x.n, coin() ? o : 0);
        c.plus_t = maybe(coin(), c.x.n, o);
        c.in_place = coin();
        c.shifted = c.B > 1 && drawn(4) == 0;
        on_both(norm_call, &c);
        expect_same("rmsnorm_forward", CLOSE);
    }
}

/* More sequences than one launch has places for. */
static void test_rmsnorm_many_shifts(void **state)
{
    (void)state;
    enum { B = 71, C = 12 };
    ptrdiff_t shift[B];
    Array x = array(B * C, 0), y = array(B * C, 0), w = array(100 * C, 0);
    for (int b = 0; b < B; b++) shift[b] = drawn(99) * C;
    for (int i = 0; i < MACHINES; i++)
        machine[i]->ops->rmsnorm_forward(machine[i], (Dual){.v = y.p[i]}, (Dual){0},
                                         (Dual){.v = x.p[i]}, (Param){.v = w.p[i], .shift = shift},
                                         B, 1, C, 1e-5);
    expect_same("rmsnorm_forward, shifts", CLOSE);
}

static void test_rmsnorm_backward(void **state)
{
    (void)state;
    for (int round = 0; round < 70; round++) {
        int o;
        NormCase c = norm_case(&o);
        size_t n = c.x.n;
        bool value = coin(), tangent = !value || coin();
        c.dw_step = coin() ? 0 : (size_t)c.C;
        c.add = coin();
        c.in_place = coin();
        c.y = maybe(value || coin(), n, o);
        c.yt = maybe(tangent, n, o);
        c.dx = maybe(value && coin(), n, o);
        c.dxt = maybe(tangent && coin(), n, o);
        c.dw = maybe(value && (coin() || !c.dx.n), (size_t)(c.B * c.C), o);
        c.dwt = maybe(tangent && coin(), (size_t)(c.B * c.C), o);
        on_both(norm_back_call, &c);
        expect_same("rmsnorm_backward", 10 * CLOSE);
    }
}

/* More gradients in a group than wait for one another, and of one weight twice. */
static void test_gradient_group(void **state)
{
    (void)state;
    enum { CALLS = 11, R = 40, MOST = 300 };
    const int sizes[CALLS] = {12, 100, 64, 300, 7, 64, 64, 5, 260, 32, 33};
    Array x = array(R * MOST, 0), dy = array(R * MOST, 0), dx = array(R * MOST, 0), dw[CALLS];
    Array w = array(MOST, 0);
    for (int k = 0; k < CALLS; k++) dw[k] = array(2 * (size_t)sizes[k], 0);
    for (int i = 0; i < MACHINES; i++) {
        gradient_group_begin(machine[i]);
        for (int k = 0; k < CALLS + 3; k++) {
            int C = sizes[k % CALLS];
            gradient_group_begin(machine[i]);
            machine[i]->ops->rmsnorm_backward(
                machine[i], (Dual){dx.p[i], NULL}, true,
                (Param){.v = dw[k % CALLS].p[i], .step = k % 2 ? (size_t)C : 0},
                (Dual){dy.p[i], NULL}, (Dual){x.p[i], NULL}, (Param){.v = w.p[i]}, 2, R / 2, C,
                1e-5);
            gradient_group_end(machine[i]);
        }
        gradient_group_end(machine[i]);
    }
    expect_same("rmsnorm_backward, group", 10 * CLOSE);
}

/* ------------------------------------------------------------------------------ embedding */

typedef struct EmbedCase {
    Array w, x, tokens;
    int N, C;
} EmbedCase;

static void embed_call(int i, const void *arguments)
{
    const EmbedCase *c = arguments;
    machine[i]->ops->embed_forward(machine[i], c->x.p[i], ids(&c->tokens, i), c->w.p[i], c->N,
                                   c->C);
}

static void embed_back_call(int i, const void *arguments)
{
    const EmbedCase *c = arguments;
    machine[i]->ops->embed_backward(machine[i], c->w.p[i], ids(&c->tokens, i), c->x.p[i], c->N,
                                    c->C);
}

static void test_embed(void **state)
{
    (void)state;
    const int counts[] = {1, 2, 31, 32, 33, 64, 257, 1500, 5000}, widths[] = {1, 4, 7, 36, 1028};
    const int vocabularies[] = {1, 2, 30, 400};
    for (int round = 0; round < 30; round++) {
        EmbedCase c = {.N = counts[round % ARRAY_LEN(counts)]};
        c.C = c.N > 300 ? widths[drawn(4)] : widths[drawn(5)];
        int o = coin() ? 0 : drawn(4), V = vocabularies[drawn(4)];
        c.w = array((size_t)(V * c.C), o);
        c.x = array((size_t)(c.N * c.C), o);
        c.tokens = array_of_ids((size_t)c.N, V);
        if (coin()) /* one token in most places */
            for (int n = 0; n < c.N; n++)
                if (drawn(5)) ids(&c.tokens, CPU)[n] = ids(&c.tokens, GPU)[n] = V / 2;
        on_both(embed_back_call, &c);
        on_both(embed_call, &c);
        expect_same("embed", 10 * CLOSE);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_elementwise),
        cmocka_unit_test(test_swiglu_backward),
        cmocka_unit_test(test_rows),
        cmocka_unit_test(test_rmsnorm),
        cmocka_unit_test(test_rmsnorm_many_shifts),
        cmocka_unit_test(test_rmsnorm_backward),
        cmocka_unit_test(test_gradient_group),
        cmocka_unit_test(test_embed),
    };
    open_machines();
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    for (int i = 0; i < MACHINES; i++) backend_close(machine[i]);
    return failed;
}
