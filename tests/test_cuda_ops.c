/* The kernels of the CUDA backend against the CPU's, on the same random inputs: sizes and addresses
 * at which packs of 16 bytes are whole and at which they are not, rows of many segments and blocks,
 * every choice of absent slots. Without a GPU they run in the emulator. The formulas themselves are
 * checked in fp64/test_ops.c. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include <cmocka.h>

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "backend/bf16_copy.h"
#include "base/rng.h"
#include "ops/ops.h"

enum { CPU, GPU, MACHINES };

static Backend *machine[MACHINES];
static Rng rng;

/* The same values on both machines; .p is NULL for an array that is absent. */
typedef struct Array {
    real *block[MACHINES], *p[MACHINES];
    size_t n, room;
} Array;

enum { MOST_ARRAYS = 32, MARGIN = 8 }; /* elements before and after, which must stay */

static Array held[MOST_ARRAYS];
static int n_held;

static int drawn(int n) /* 0..n-1 */
{
    return (int)(rng_uniform(&rng) * n);
}

static bool coin(void)
{
    return drawn(2) == 1;
}

static void both_wait(void)
{
    Err err;
    for (int i = 0; i < MACHINES; i++)
        if (backend_wait(machine[i], &err) < 0) fail_msg("%s", err.text);
}

/* offset: elements that it begins behind a multiple of 16 bytes. */
static Array array(size_t n, int offset)
{
    Array a = {.n = n, .room = n + 2 * MARGIN};
    for (int i = 0; i < MACHINES; i++) {
        a.block[i] = backend_alloc_shared(machine[i], a.room);
        a.p[i] = a.block[i] + MARGIN + offset;
    }
    for (size_t i = 0; i < a.room; i++) a.block[CPU][i] = a.block[GPU][i] = (real)rng_normal(&rng);
    assert_true(n_held < MOST_ARRAYS);
    return held[n_held++] = a;
}

static Array maybe(bool there, size_t n, int offset)
{
    return there ? array(n, offset) : (Array){.n = 0};
}

static int32_t *ids(const Array *a, int i)
{
    return (int32_t *)a->p[i];
}

static Array array_of_ids(size_t n, int below)
{
    Array a = array(reals_for(n * sizeof(int32_t)), 0);
    for (size_t i = 0; i < n; i++) ids(&a, CPU)[i] = ids(&a, GPU)[i] = drawn(below);
    return a;
}

static Dual dual(const Array *v, const Array *t, int i)
{
    return (Dual){v->p[i], t->p[i]};
}

/* All arrays, whole: what was not to be written must stay as it was, too. */
static void expect_same(const char *what, double limit)
{
    both_wait();
    for (int k = 0; k < n_held; k++) {
        const Array *a = &held[k];
        double worst = 0, scale = 1;
        for (size_t i = 0; i < a->room; i++) {
            double x = (double)a->block[CPU][i], y = (double)a->block[GPU][i], d = fabs(x - y);
            if (isnan(x) && isnan(y)) continue;
            if (x == y) continue;
            if (fabs(x) > scale) scale = fabs(x);
            if (!(d <= worst)) worst = isfinite(d) ? d : INFINITY;
        }
        if (worst > limit * scale)
            fail_msg("%s: array %d of %zu: error %.3g of %.3g", what, k, a->n, worst, scale);
        for (int i = 0; i < MACHINES; i++) backend_free(machine[i], a->block[i], a->room);
    }
    n_held = 0;
}

static const double CLOSE = sizeof(real) == 4 ? 2e-5 : 1e-13;

static void on_both(void (*call)(int i, const void *arguments), const void *arguments)
{
    for (int i = 0; i < MACHINES; i++) call(i, arguments);
}

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
    for (int round = 0; round < 60; round++) {
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
    Array x, y, table;
    size_t x_step, y_step;
    int B, M, H, D, sign;
    int64_t position;
    bool in_place;
} RowsCase;

static void copy_rows_call(int i, const void *arguments)
{
    const RowsCase *c = arguments;
    machine[i]->ops->copy_rows(machine[i], c->y.p[i], c->y_step, c->x.p[i], c->x_step, c->B, c->M,
                               c->H * c->D);
}

static void rope_call(int i, const void *arguments)
{
    const RowsCase *c = arguments;
    const Ops *ops = machine[i]->ops;
    ops->rope_table(machine[i], c->table.p[i], c->position, c->M, c->D, 10000);
    ops->rope_rotate(machine[i], c->in_place ? c->x.p[i] : c->y.p[i],
                     c->in_place ? c->x_step : c->y_step, c->x.p[i], c->x_step, c->table.p[i], c->B,
                     c->M, c->H, c->D, c->sign);
}

static void test_rows(void **state)
{
    (void)state;
    const int sizes[] = {2, 4, 6, 64, 130};
    for (int round = 0; round < 40; round++) {
        int o = coin() ? 0 : drawn(4), D = sizes[drawn(ARRAY_LEN(sizes))];
        RowsCase c = {.B = 1 + drawn(3), .M = 1 + drawn(9), .H = 1 + drawn(5), .D = D};
        size_t dense = (size_t)c.M * (size_t)(c.H * D);
        c.x_step = dense + (coin() ? 0 : (size_t)drawn(9));
        c.y_step = dense + (coin() ? 0 : (size_t)drawn(9));
        c.x = array((size_t)c.B * c.x_step, o);
        c.y = array((size_t)c.B * c.y_step, o);
        c.table = array((size_t)(c.M * D), o);
        c.position = coin() ? drawn(100) : 20000001;
        c.sign = coin() ? 1 : -1;
        c.in_place = coin();
        on_both(rope_call, &c);
        on_both(copy_rows_call, &c);
        expect_same("rope, copy_rows", CLOSE);
    }
}

/* ------------------------------------------------------------------------------ rmsnorm */

typedef struct NormCase {
    Array x, xt, y, yt, w, wt, dw, dwt, dx, dxt;
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
    if (c->shifted) {
        w = (Param){.v = c->w.p[i], .shift = shift};
        x.t = y.t = NULL;
    }
    machine[i]->ops->rmsnorm_forward(machine[i], y, x, w, c->B, c->R, c->C, 1e-5);
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
    for (int round = 0; round < 80; round++) {
        int o;
        NormCase c = norm_case(&o);
        c.y = array(c.x.n, o);
        c.yt = maybe(coin(), c.x.n, o);
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
        machine[i]->ops->rmsnorm_forward(machine[i], (Dual){.v = y.p[i]}, (Dual){.v = x.p[i]},
                                         (Param){.v = w.p[i], .shift = shift}, B, 1, C, 1e-5);
    expect_same("rmsnorm_forward, shifts", CLOSE);
}

static void test_rmsnorm_backward(void **state)
{
    (void)state;
    for (int round = 0; round < 120; round++) {
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
    for (int round = 0; round < 60; round++) {
        EmbedCase c = {.N = counts[drawn(ARRAY_LEN(counts))]};
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
    for (int round = 0; round < 60; round++)
        loss_once(1 + drawn(6), sizes[drawn(ARRAY_LEN(sizes))], coin());
    loss_once(710, 9000, true); /* more than one group of rows */
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
    for (int round = 0; round < 12; round++) {
        LossCase c = {.N = 1 + drawn(3), .V = sizes[drawn(4)]};
        c.seed = array((size_t)(c.N * c.V), 0);
        c.target = array_of_ids((size_t)(c.N * c.V), 1 + drawn(3));
        on_both(seeds_call, &c);
        expect_same("loss_seeds", CLOSE);
    }
}

/* ------------------------------------------------------------------------------ few rows */

typedef struct ProductCase {
    Array y, x, w;
    int R, K, N;
    bool transposed, add;
} ProductCase;

static void product_call(int i, const void *arguments)
{
    const ProductCase *c = arguments;
    machine[i]->ops->rows_product(machine[i], c->y.p[i], c->x.p[i], c->w.p[i], c->transposed, c->R,
                                  c->K, c->N, c->add);
}

/* What bfloat16 holds as it is, so that a copy changes no result. */
static void bf16_values(Array *a)
{
    for (size_t i = 0; i < a->n; i++) a->p[CPU][i] = a->p[GPU][i] = (real)(drawn(255) - 127) / 64;
}

static void test_rows_product(void **state)
{
    (void)state;
    const int sizes[] = {1, 3, 4, 16, 20, 64, 130, 257, 768, 2052};
    for (int round = 0; round < 120; round++) {
        int o = coin() ? 0 : drawn(4);
        ProductCase c = {.R = 1 + drawn(coin() ? 1 : 18), .transposed = coin(), .add = coin()};
        c.K = sizes[drawn(ARRAY_LEN(sizes))];
        c.N = sizes[drawn(ARRAY_LEN(sizes))];
        if (drawn(10) == 0) c.N = 5000;
        c.y = array((size_t)(c.R * c.N), coin() ? o : 0);
        c.x = array((size_t)(c.R * c.K), coin() ? o : 0);
        c.w = array((size_t)c.K * (size_t)c.N, o);
        bool copy = coin();
        if (copy) bf16_values(&c.w);
        for (int i = 0; i < MACHINES && copy; i++) bf16_copy_keep(machine[i], c.w.p[i], c.w.n);
        if (copy) { /* the copy is read, the array is not */
            both_wait();
            bool kept = true;
            for (int i = 0; i < MACHINES; i++)
                kept = kept && bf16_copy_find(machine[i], c.w.p[i], c.w.n);
            if (kept) memset(c.w.p[GPU], 0xff, c.w.n * sizeof(real));
        }
        on_both(product_call, &c);
        both_wait();
        if (copy) memcpy(c.w.p[GPU], c.w.p[CPU], c.w.n * sizeof(real));
        for (int i = 0; i < MACHINES && copy; i++) bf16_copy_drop(machine[i], c.w.p[i]);
        expect_same("rows_product", 10 * CLOSE);
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
                           doubles(&c->doubles, i), c->clip);
    ops->inner_sgd_backward(machine[i], c->u.p[i], c->v.p[i], c->g.p[i], c->norm.p[i], c->B, c->P,
                            doubles(&c->doubles, i), c->clip);
    ops->inner_sgd_backward(machine[i], c->g.p[i], c->v.p[i], c->g.p[i], c->norm.p[i], c->B, c->P,
                            doubles(&c->doubles, i), c->clip); /* in place */
}

static void test_inner_sgd(void **state)
{
    (void)state;
    const size_t sizes[] = {1, 6, 1024, 5003, 40000, 300000};
    for (int round = 0; round < 30; round++) {
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
    for (int round = 0; round < 30; round++) {
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
    for (int round = 0; round < 20; round++) {
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
    for (int round = 0; round < 3; round++) {
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

/* The GPU that TTT_TEST_DEVICE names, or the emulator. */
static void open_machines(void)
{
    Err err;
    const char *device = getenv("TTT_TEST_DEVICE"), *build = getenv("TTT_BUILD_DIR");
    if (!device) {
        char module[4096];
        snprintf(module, sizeof module, "%s/libttt_emulated_" REAL_NAME ".so",
                 build ? build : "build");
        setenv("TTT_CUDA_MODULE", module, 0);
        device = "cuda";
    }
    const char *const devices[MACHINES] = {"cpu", device};
    for (int i = 0; i < MACHINES; i++) {
        BackendOptions options = {.threads = 2, .device = devices[i], .bf16 = sizeof(real) == 4};
        if (backend_open(&machine[i], &options, &err) < 0) fail_msg("%s", err.text);
    }
    rng_seed(&rng, 17, 0);
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
        cmocka_unit_test(test_embed),
        cmocka_unit_test(test_cross_entropy),
        cmocka_unit_test(test_loss_seeds),
        cmocka_unit_test(test_rows_product),
        cmocka_unit_test(test_inner_sgd),
        cmocka_unit_test(test_adamw),
        cmocka_unit_test(test_clip),
        cmocka_unit_test(test_same_bits),
        cmocka_unit_test(test_peak),
    };
    open_machines();
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    for (int i = 0; i < MACHINES; i++) backend_close(machine[i]);
    return failed;
}
