/* What linears_forward does beside products, of values: the norm before them, and behind them the
 * gate, heads and sums. With tangents it is these operations one by one, which the table of
 * test_ops.c checks. */
#ifndef TTT_TESTS_OP_SUB_LAYER_H
#define TTT_TESTS_OP_SUB_LAYER_H

#include "op_check.h"

enum { SUB_LAYER_MOST = 3, SUB_LAYER_SEQUENCES = 16 };

/* own: sequences have their own weights; its bits: of the norm, of each product, of the heads' norm
 * and the sum's. */
enum { OWN_NORM = 1, OWN_FIRST = 2, OWN_SECOND = 4, OWN_HEADS = 16, OWN_SUM = 32, OWN_ALL = 63 };
enum { SUB_LAYER_PARAMS = 3 + SUB_LAYER_MOST, SUB_LAYER_WINDOW = 3 /* rows, at places */ };

typedef struct SubLayer {
    int B, R, K, N, n;
    unsigned own;
    bool shifted; /* which lie in another order */
    bool normed, gated;
    int D;       /* the first product makes N / D heads, the last a sum; 0: neither does */
    bool placed; /* heads go to places, in a window for each sequence */
} SubLayer;

static const SubLayer sub_layers[] = {
    {.B = 1, .R = 1, .K = 5, .N = 3, .n = 3, .normed = true},
    {.B = 1, .R = 1, .K = 260, .N = 200, .n = 2, .normed = true, .gated = true},
    {.B = 3, .R = 2, .K = 37, .N = 17, .n = 2, .gated = true},
    {.B = 1, .R = 8, .K = 65, .N = 33, .n = 2, .normed = true, .gated = true},
    {.B = 4, .R = 5, .K = 12, .N = 7, .n = 2, .normed = true, .gated = true}, /* many rows */
    {.B = 3, .R = 2, .K = 9, .N = 20, .n = 2, .own = OWN_ALL, .normed = true, .gated = true},
    {.B = 14,
     .R = 1,
     .K = 8,
     .N = 20,
     .n = 2,
     .own = OWN_ALL,
     .shifted = true,
     .normed = true,
     .gated = true}, /* two calls */
    {.B = 3, .R = 1, .K = 6, .N = 4, .n = 2, .own = OWN_FIRST, .normed = true, .gated = true},
    {.B = 3, .R = 1, .K = 6, .N = 4, .n = 3, .own = OWN_NORM, .normed = true},
    {.B = 3, .R = 1, .K = 6, .N = 4, .n = 3, .own = OWN_ALL & ~OWN_NORM, .normed = true},
    {.B = 1, .R = 1, .K = 9, .N = 12, .n = 3, .own = OWN_HEADS, .normed = true, .D = 4},
    {.B = 2, .R = 3, .K = 9, .N = 12, .n = 3, .normed = true, .D = 6},
    {.B = 3, .R = 6, .K = 9, .N = 12, .n = 3, .D = 2}, /* many rows */
    {.B = 3, .R = 2, .K = 9, .N = 8, .n = 2, .own = OWN_HEADS, .D = 4},
    {.B = 3, .R = 2, .K = 9, .N = 8, .n = 2, .own = OWN_SUM, .D = 4},
    {.B = 3, .R = 2, .K = 9, .N = 8, .n = 2, .own = OWN_ALL, .D = 4},
    {.B = 11,
     .R = 1,
     .K = 9,
     .N = 8,
     .n = 3,
     .own = OWN_ALL,
     .shifted = true,
     .D = 4,
     .placed = true},
    {.B = 5, .R = 1, .K = 9, .N = 8, .n = 2, .D = 4, .placed = true},
};

/* Everything of one case; shifts as every parameter has them. */
typedef struct SubLayerRun {
    const SubLayer *c;
    Input in;
    Linear l[SUB_LAYER_MOST];
    Dual gated;
    HeadRows heads;
    Residual sum;
    Places places;
    ptrdiff_t shift[SUB_LAYER_PARAMS][SUB_LAYER_SEQUENCES];
} SubLayerRun;

static size_t rows_by(const SubLayer *c, int width)
{
    return (size_t)c->B * (size_t)c->R * (size_t)width;
}

static size_t heads_room(const SubLayer *c)
{
    return rows_by(c, c->N) * (c->placed ? SUB_LAYER_WINDOW : 1);
}

/* Parameter i, the norm's, a product's or an end's, n elements for a sequence. */
static Param sub_layer_param(SubLayerRun *r, int i, size_t n, Rng *rng)
{
    bool own = r->c->own >> i & 1;
    size_t copies = own ? (size_t)r->c->B : 1;
    Param w = {.v = random_reals(rng, copies * n), .step = own ? n : 0};
    if (!own || !r->c->shifted) return w;
    for (int b = 0; b < r->c->B; b++) r->shift[i][b] = (ptrdiff_t)((size_t)(r->c->B - 1 - b) * n);
    w.shift = r->shift[i];
    return w;
}

/* Rows of the heads' windows: the last sequence's window comes first. */
static void sub_layer_places(SubLayerRun *r)
{
    const SubLayer *c = r->c;
    size_t n = (size_t)c->B, window = (size_t)(SUB_LAYER_WINDOW * c->N);
    ptrdiff_t *shift = (ptrdiff_t *)(void *)reals(n);
    int *first = (int *)(void *)reals(n);
    for (size_t b = 0; b < n; b++) {
        shift[b] = (ptrdiff_t)((n - 1 - b) * window);
        first[b] = (int)(b % SUB_LAYER_WINDOW);
    }
    r->places = (Places){shift, first, NULL};
}

/* Heads of the first product, the sum of the last. */
static void sub_layer_ends(SubLayerRun *r, Rng *rng)
{
    const SubLayer *c = r->c;
    Linear *last = &r->l[c->n - 1];
    if (c->placed) sub_layer_places(r);
    r->heads = (HeadRows){
        .y = {.v = random_reals(rng, heads_room(c)),
              .v_step = (size_t)(c->R * c->N),
              .places = c->placed ? &r->places : NULL},
        .norm = sub_layer_param(r, 1 + SUB_LAYER_MOST, (size_t)c->D, rng),
        .rope = {random_reals(rng, (size_t)(c->B * c->R * c->D)), (size_t)(c->R * c->D), 1e-3},
        .B = c->B,
        .M = c->R,
        .H = c->N / c->D,
        .D = c->D};
    r->sum = (Residual){{.v = random_reals(rng, rows_by(c, last->N))},
                        {.v = random_reals(rng, rows_by(c, last->N))},
                        sub_layer_param(r, 2 + SUB_LAYER_MOST, (size_t)last->N, rng)};
    r->l[0].heads = &r->heads;
    last->sum = &r->sum;
}

static void sub_layer_open(SubLayerRun *r, Rng *rng)
{
    const SubLayer *c = r->c;
    r->in = (Input){.x = {.v = random_reals(rng, rows_by(c, c->K))}, .eps = 1e-3};
    if (c->normed) r->in.norm = sub_layer_param(r, 0, (size_t)c->K, rng);
    r->in.normed.v = random_reals(rng, rows_by(c, c->K));
    for (int i = 0; i < c->n; i++) {
        int N = c->N + (c->gated ? 0 : i);
        Param w = sub_layer_param(r, 1 + i, (size_t)c->K * (size_t)N, rng);
        r->l[i] = (Linear){.y.v = random_reals(rng, rows_by(c, N)), .w = w, .N = N};
    }
    if (c->D) sub_layer_ends(r, rng);
    if (c->gated) r->gated.v = random_reals(rng, rows_by(c, c->N));
}

static void sub_layer_close(SubLayerRun *r)
{
    shared_free(r->in.x.v);
    shared_free(r->in.norm.v);
    shared_free(r->in.normed.v);
    shared_free(r->gated.v);
    shared_free(r->heads.y.v);
    shared_free(r->heads.norm.v);
    shared_free((void *)r->heads.rope.table);
    shared_free(r->sum.y.v);
    shared_free(r->sum.plus.v);
    shared_free(r->sum.norm.v);
    shared_free((void *)r->places.shift);
    shared_free((void *)r->places.first);
    for (int i = 0; i < r->c->n; i++) {
        shared_free(r->l[i].y.v);
        shared_free(r->l[i].w.v);
    }
}

/* Output n of product i in a row of all sequences'. */
static double sub_layer_want(const SubLayerRun *r, int i, int row, int n)
{
    const SubLayer *c = r->c;
    const real *x = r->in.x.v + (size_t)row * (size_t)c->K;
    const real *w = param_of(r->l[i].w, row / c->R);
    const real *g = c->normed ? param_of(r->in.norm, row / c->R) : NULL;
    double square = 0, sum = 0;
    for (int k = 0; k < c->K; k++) square += (double)x[k] * (double)x[k];
    double scale = g ? 1 / sqrt(square / c->K + r->in.eps) : 1;
    for (int k = 0; k < c->K; k++)
        sum += (double)x[k] * scale * (g ? (double)g[k] : 1) * (double)w[k * r->l[i].N + n];
    return sum;
}

static void sub_layer_check(const SubLayerRun *r)
{
    const SubLayer *c = r->c;
    for (int row = 0; row < c->B * c->R; row++) {
        for (int i = 0; i < c->n; i++)
            for (int n = 0; n < r->l[i].N; n++) {
                double want = sub_layer_want(r, i, row, n);
                double got = (double)r->l[i].y.v[row * r->l[i].N + n];
                assert_true(fabs(got - want) < 1e-12 * (1 + fabs(want)));
            }
        for (int n = 0; n < c->N && c->gated; n++) {
            double a = sub_layer_want(r, 0, row, n), b = sub_layer_want(r, 1, row, n);
            double want = a / (1 + exp(-a)) * b, got = (double)r->gated.v[row * c->N + n];
            assert_true(fabs(got - want) < 1e-11 * (1 + fabs(want)));
        }
    }
}

static void expect_rows(const real *got, const real *want, int n)
{
    for (int i = 0; i < n; i++)
        assert_true(fabs((double)got[i] - (double)want[i]) < 1e-12 * (1 + fabs((double)want[i])));
}

/* Each sequence's rows by themselves, of the outputs that are right. */
static void sub_layer_check_ends(Backend *be, const SubLayerRun *r)
{
    const SubLayer *c = r->c;
    const HeadRows *h = &r->heads;
    const Linear *last = &r->l[c->n - 1];
    int heads = c->R * c->N, sums = c->R * last->N;
    real *want = reals((size_t)(heads + sums)), *want_sum = want + heads;
    for (int b = 0; b < c->B; b++) {
        Strided to = {.v = want};
        Rope rope = {h->rope.table + b * c->R * c->D, 0, h->rope.eps};
        Dual y = {.v = r->l[0].y.v + b * heads}, z = {.v = last->y.v + b * sums};
        Dual plus = {.v = r->sum.plus.v + b * sums};
        be->ops->rope_forward(be, &to, y, (Param){.v = param_of(h->norm, b)}, &rope, 1, c->R, h->H,
                              c->D);
        be->ops->rmsnorm_forward(be, (Dual){.v = want_sum}, plus, z,
                                 (Param){.v = param_of(r->sum.norm, b)}, 1, c->R, last->N,
                                 r->in.eps);
        settle();
        int row = c->placed ? (c->B - 1 - b) * SUB_LAYER_WINDOW + b % SUB_LAYER_WINDOW : b * c->R;
        expect_rows(h->y.v + row * c->N, want, heads);
        expect_rows(r->sum.y.v + b * sums, want_sum, sums);
    }
    shared_free(want);
}

static void test_sub_layers(void **state)
{
    Backend *be = *state;
    Rng rng;
    rng_seed(&rng, 19, 0);
    for (int i = 0; i < ARRAY_LEN(sub_layers); i++) {
        SubLayerRun r = {.c = &sub_layers[i]};
        sub_layer_open(&r, &rng);
        linears_forward(be, r.l, r.c->n, &r.in, r.gated, r.c->B, r.c->R, r.c->K);
        settle();
        sub_layer_check(&r);
        if (r.c->D) sub_layer_check_ends(be, &r);
        sub_layer_close(&r);
    }
}

#endif
