/* The checks that every differentiable operation has to pass, written once. An operation is seen as
 * y = f(in[0], in[1], ...); its row in the table of test_ops.c brings an independent reference of f
 * and says how to call the kernels. See check_case. */
#ifndef TTT_TESTS_OP_CHECK_H
#define TTT_TESTS_OP_CHECK_H

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/rng.h"
#include "ops/composed/composed.h"

enum { MAX_IN = 5 };

typedef struct OpCase OpCase;

typedef struct Op {
    const char *name;
    int n_in;
    bool tangents;           /* the forward makes tangents */
    bool dual;               /* the backward makes the tangent of the gradient */
    bool needs_tangent;      /* both slots only where an input has a tangent */
    unsigned constant;       /* bit i: in[i] never has a tangent, and no value-slot gradient */
    unsigned adds_v, adds_t; /* bit i: the gradient of in[i] is added to, in this slot */
    void (*sizes)(const OpCase *c, size_t *in, size_t *out);
    void (*reference)(const OpCase *c, real *const *in, real *out);
    void (*forward)(Backend *be, const OpCase *c, Dual y, const Dual *in);
    /* Slots of din follow those of dy; constant inputs get the tangent slot only. */
    void (*backward)(Backend *be, const OpCase *c, const Dual *din, Dual dy, const Dual *in);
} Op;

struct OpCase {
    const Op *op;
    int B, R, C, N;    /* sequences, rows, input width, output width */
    bool per_sequence; /* weights differ per sequence */
    bool add;          /* input gradients are added to */
    bool tied;
    int H, past, pad; /* heads; rows before the span; unused rows after it */
    int64_t window, local, position;
    int mask; /* every mask-th element of the output's gradient is 0; 1: all */
    double lr, clip;
};

typedef struct Arrays { /* one array per input */
    size_t n[MAX_IN];
    real *a[MAX_IN];
} Arrays;

/* The machine that the operations run on. Their arrays lie where it and the host reach them. */
static Backend *machine;

enum { SHARED_HEAD = 16 }; /* elements in front of an array, the first its size */

static real *reals(size_t n)
{
    real *p = backend_alloc_shared(machine, n + SHARED_HEAD);
    p[0] = (real)n;
    return p + SHARED_HEAD;
}

static int32_t *ids(size_t n)
{
    return (int32_t *)(void *)reals(reals_for(n * sizeof(int32_t)));
}

static void shared_free(void *array)
{
    real *p = array;
    if (p) backend_free(machine, p - SHARED_HEAD, (size_t)p[-SHARED_HEAD] + SHARED_HEAD);
}

/* Until the host may read what operations have written. */
static void settle(void)
{
    Err err;
    CHECK(backend_wait(machine, &err) == 0, "%s", err.text);
}

static double *shared_double(double x)
{
    double *p = reals(1);
    *p = x;
    return p;
}

static real *random_reals(Rng *rng, size_t n)
{
    real *p = reals(n);
    for (size_t i = 0; i < n; i++) p[i] = (real)rng_normal(rng);
    return p;
}

static real *copied(const real *x, size_t n)
{
    real *p = reals(n);
    memcpy(p, x, n * sizeof *p);
    return p;
}

static double inner_product(const real *a, const real *b, size_t n)
{
    double sum = 0;
    settle();
    for (size_t i = 0; i < n; i++) sum += (double)a[i] * (double)b[i];
    return sum;
}

/* max |a - b| over max |b|; NaN counts as infinite. */
static double relative_error(const real *a, const real *b, size_t n)
{
    double worst = 0, scale = 1e-3;
    settle();
    for (size_t i = 0; i < n; i++) {
        double d = fabs((double)a[i] - (double)b[i]);
        if (!(d <= worst)) worst = isfinite(d) ? d : INFINITY;
        if (fabs((double)b[i]) > scale) scale = fabs((double)b[i]);
    }
    return worst / scale;
}

static int failures;

static void expect_below(const OpCase *c, const char *what, double error, double limit)
{
    if (error <= limit) return;
    failures++;
    fprintf(
        stderr,
        "%s B=%d R=%d C=%d N=%d H=%d per_sequence=%d add=%d tied=%d past=%d window=%lld local=%lld:"
        " %s: error %.3g above %.3g\n",
        c->op->name, c->B, c->R, c->C, c->N, c->H, c->per_sequence, c->add, c->tied, c->past,
        (long long)c->window, (long long)c->local, what, error, limit);
}

static Arrays arrays_random(const size_t *n, int count, Rng *rng)
{
    Arrays x = {{0}, {0}};
    for (int i = 0; i < count; i++) {
        x.n[i] = n[i];
        x.a[i] = random_reals(rng, n[i]);
    }
    return x;
}

static void arrays_free(Arrays *x)
{
    for (int i = 0; i < MAX_IN; i++) shared_free(x->a[i]);
}

/* x + h t, as a new set; bits: the inputs that move. */
static Arrays arrays_moved(const Arrays *x, const Arrays *t, unsigned bits, double h)
{
    Arrays y = *x;
    for (int i = 0; i < MAX_IN; i++) {
        if (!x->a[i]) continue;
        y.a[i] = copied(x->a[i], x->n[i]);
        for (size_t j = 0; j < x->n[i] && (bits >> i & 1); j++) y.a[i][j] += (real)h * t->a[i][j];
    }
    return y;
}

/* Everything that the checks of one case share. */
typedef struct Bench {
    Backend *be;
    const OpCase *c;
    size_t n_out;
    Arrays x, xt;
    real *dy, *dyt;
    Rng rng;
} Bench;

static void duals(Dual *out, const Arrays *v, const Arrays *t, unsigned bits)
{
    for (int i = 0; i < MAX_IN; i++)
        out[i] = (Dual){v->a[i], t && (bits >> i & 1) ? t->a[i] : NULL};
}

/* The fourth-order central difference: weights of f(x + k h), k = -2, -1, 1, 2, times 1/h. */
static const double fd_step = 1e-3;
static const int fd_at[4] = {-2, -1, 1, 2};
static const double fd_weight[4] = {1.0 / 12, -8.0 / 12, 8.0 / 12, -1.0 / 12};

/* d reference / d step along the tangents in `bits`. */
static real *reference_derivative(const Bench *b, unsigned bits)
{
    real *sum = reals(b->n_out), *y = reals(b->n_out);
    for (int k = 0; k < 4; k++) {
        Arrays moved = arrays_moved(&b->x, &b->xt, bits, fd_at[k] * fd_step);
        b->c->op->reference(b->c, moved.a, y);
        for (size_t i = 0; i < b->n_out; i++) sum[i] += (real)(fd_weight[k] / fd_step) * y[i];
        arrays_free(&moved);
    }
    shared_free(y);
    return sum;
}

static void check_value(const Bench *b)
{
    Dual in[MAX_IN], y = {.v = reals(b->n_out)};
    real *want = reals(b->n_out);
    duals(in, &b->x, NULL, 0);
    b->c->op->forward(b->be, b->c, y, in);
    b->c->op->reference(b->c, b->x.a, want);
    expect_below(b->c, "forward", relative_error(y.v, want, b->n_out), 1e-12);
    shared_free(y.v);
    shared_free(want);
}

/* Gradients of all inputs by the plain backward. slot 0: as the value, 1: as the tangent. Inputs
 * start from noise, which must be gone, or, where the gradient is added, still be there. */
static Arrays plain_gradient(Bench *b, const Arrays *x, real *dy, int slot)
{
    const Op *op = b->c->op;
    Arrays g = arrays_random(x->n, op->n_in, &b->rng), noise = arrays_moved(&g, &g, 0, 0);
    unsigned adds = slot ? op->adds_t : op->adds_v;
    if (b->c->add) adds |= 1;
    Dual in[MAX_IN], din[MAX_IN] = {{0}};
    duals(in, x, NULL, 0);
    for (int i = 0; i < op->n_in; i++) {
        if (slot)
            din[i].t = g.a[i];
        else if (!(op->constant >> i & 1))
            din[i].v = g.a[i];
    }
    op->backward(b->be, b->c, din, slot ? (Dual){.t = dy} : (Dual){.v = dy}, in);
    for (int i = 0; i < op->n_in; i++)
        for (size_t j = 0; j < g.n[i] && (adds >> i & 1); j++) g.a[i][j] -= noise.a[i][j];
    arrays_free(&noise);
    return g;
}

static double weighted_sum(const Arrays *g, const Arrays *t, unsigned bits)
{
    double sum = 0;
    for (int i = 0; i < MAX_IN; i++)
        if (bits >> i & 1) sum += inner_product(g->a[i], t->a[i], g->n[i]);
    return sum;
}

static double scale_of(const Arrays *g)
{
    double sum = 1e-3;
    for (int i = 0; i < MAX_IN; i++)
        if (g->a[i]) sum += sqrt(inner_product(g->a[i], g->a[i], g->n[i]));
    return sum;
}

/* Per input, so that an error of a small one is not lost beside a large one. */
static void check_gradient(Bench *b)
{
    const Op *op = b->c->op;
    Arrays g = plain_gradient(b, &b->x, b->dy, 1), gv = plain_gradient(b, &b->x, b->dy, 0);
    double scale = scale_of(&g);
    for (int i = 0; i < op->n_in; i++) {
        real *jt = reference_derivative(b, 1u << i);
        double want = inner_product(jt, b->dy, b->n_out);
        expect_below(b->c, "gradient", fabs(want - weighted_sum(&g, &b->xt, 1u << i)) / scale,
                     1e-9);
        if (!(op->constant >> i & 1))
            expect_below(b->c, "value slot = plain tangent slot",
                         relative_error(gv.a[i], g.a[i], g.n[i]), 1e-13);
        shared_free(jt);
    }
    arrays_free(&g);
    arrays_free(&gv);
}

/* With the tangents in `bits`: finite differences of the reference, and <dy, J t> = <J^T dy, t>. */
static void check_tangent(Bench *b, unsigned bits)
{
    Dual in[MAX_IN], y = {random_reals(&b->rng, b->n_out), random_reals(&b->rng, b->n_out)};
    duals(in, &b->x, &b->xt, bits);
    b->c->op->forward(b->be, b->c, y, in);
    real *want = reference_derivative(b, bits);
    expect_below(b->c, "tangent", relative_error(y.t, want, b->n_out), 1e-9);
    b->c->op->reference(b->c, b->x.a, want);
    expect_below(b->c, "value beside a tangent", relative_error(y.v, want, b->n_out), 1e-12);
    Arrays g = plain_gradient(b, &b->x, b->dy, 0);
    double left = inner_product(b->dy, y.t, b->n_out), right = weighted_sum(&g, &b->xt, bits);
    expect_below(b->c, "adjoint identity", fabs(left - right) / scale_of(&g), 1e-12);
    arrays_free(&g);
    shared_free(want);
    shared_free(y.v);
    shared_free(y.t);
}

/* d plain gradient / d step along the tangents in `bits` and along dyt. */
static Arrays gradient_derivative(Bench *b, unsigned bits)
{
    Arrays sum = arrays_moved(&b->x, &b->x, ~0u, -1);
    for (int k = 0; k < 4; k++) {
        Arrays moved = arrays_moved(&b->x, &b->xt, bits, fd_at[k] * fd_step);
        real *dy = copied(b->dy, b->n_out);
        for (size_t i = 0; i < b->n_out; i++) dy[i] += (real)(fd_at[k] * fd_step) * b->dyt[i];
        Arrays g = plain_gradient(b, &moved, dy, 1);
        for (int i = 0; i < MAX_IN; i++)
            for (size_t j = 0; j < sum.n[i]; j++)
                sum.a[i][j] += (real)(fd_weight[k] / fd_step) * g.a[i][j];
        arrays_free(&moved);
        arrays_free(&g);
        shared_free(dy);
    }
    return sum;
}

static void check_dual_gradient(Bench *b, unsigned bits)
{
    const Op *op = b->c->op;
    if (op->needs_tangent && bits == 0) return;
    Arrays v = arrays_random(b->x.n, op->n_in, &b->rng),
           t = arrays_random(b->x.n, op->n_in, &b->rng);
    Arrays nv = arrays_moved(&v, &v, 0, 0), nt = arrays_moved(&t, &t, 0, 0);
    unsigned input = b->c->add ? 1 : 0;
    Dual in[MAX_IN], din[MAX_IN];
    duals(in, &b->x, &b->xt, bits);
    duals(din, &v, &t, ~0u);
    for (int i = 0; i < op->n_in; i++)
        if (op->constant >> i & 1) din[i].v = NULL;
    op->backward(b->be, b->c, din, (Dual){b->dy, b->dyt}, in);
    Arrays want = gradient_derivative(b, bits), plain = plain_gradient(b, &b->x, b->dy, 1);
    for (int i = 0; i < op->n_in; i++) {
        for (size_t j = 0; j < v.n[i]; j++) {
            if ((op->adds_v | input) >> i & 1) v.a[i][j] -= nv.a[i][j];
            if ((op->adds_t | input) >> i & 1) t.a[i][j] -= nt.a[i][j];
        }
        expect_below(b->c, "tangent of gradient", relative_error(t.a[i], want.a[i], t.n[i]), 1e-8);
        if (!(op->constant >> i & 1))
            expect_below(b->c, "value beside a tangent of gradient",
                         relative_error(v.a[i], plain.a[i], v.n[i]), 1e-12);
    }
    Arrays *all[] = {&v, &t, &nv, &nt, &want, &plain};
    for (int i = 0; i < ARRAY_LEN(all); i++) arrays_free(all[i]);
}

/* forward = reference; gradient and tangent = its finite differences; adjoint identity; tangent of
 * gradient = finite difference of the gradient; plain gradients the same in both slots; added or
 * written as said. Each for every choice of inputs that have a tangent. */
static void check_case(Backend *be, const OpCase *c)
{
    const Op *op = c->op;
    Bench b = {.be = be, .c = c};
    size_t n[MAX_IN] = {0};
    rng_seed(&b.rng, 7, (uint64_t)(c->B + 10 * c->R + 1000 * c->C));
    op->sizes(c, n, &b.n_out);
    b.x = arrays_random(n, op->n_in, &b.rng);
    b.xt = arrays_random(n, op->n_in, &b.rng);
    b.dy = random_reals(&b.rng, b.n_out);
    b.dyt = random_reals(&b.rng, b.n_out);
    for (size_t i = 0; c->mask && i < b.n_out; i += (size_t)c->mask) b.dy[i] = b.dyt[i] = 0;
    check_value(&b);
    check_gradient(&b);
    for (unsigned bits = 0; bits < 1u << op->n_in; bits++) {
        if (bits & op->constant) continue;
        if (op->tangents && bits) check_tangent(&b, bits);
        if (op->dual) check_dual_gradient(&b, bits);
    }
    arrays_free(&b.x);
    arrays_free(&b.xt);
    shared_free(b.dy);
    shared_free(b.dyt);
}

#endif
