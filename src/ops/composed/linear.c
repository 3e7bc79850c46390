/* y = x w.
 *   tangent             yt = xt w + x wt
 *   gradient            dx = dy w^T,  dw += x^T dy
 *   tangent of gradient dxt = dyt w^T + dy wt^T,  dwt += x^T dyt + xt^T dy
 * Shared weights see all sequences as one tall matrix; per-sequence ones are multiplied side by
 * side. Where rows are few, all products that a call needs of values are one kernel's. */
#include "ops/composed/composed.h"

/* n sequences of R rows each with their own weights, or one tall matrix with shared ones. */
typedef struct Rows {
    Backend *be;
    int n, R, K;
    size_t in; /* steps from one sequence to the next */
} Rows;

static Rows rows_of(Backend *be, bool own, int B, int R, int K)
{
    Rows r = {be, own ? B : 1, own ? R : B * R, K, 0};
    r.in = (size_t)r.R * (size_t)K;
    return r;
}

static size_t out_step(const Rows *r, int N)
{
    return (size_t)r->R * (size_t)N;
}

/* One factor and what it is multiplied to: w (K, N), or (N, K) when transposed. */
typedef struct Factor {
    real *y;
    const real *w;
    size_t step;
    const ptrdiff_t *shift; /* as in Param */
    int N;
} Factor;

static Factor factor_from(const Linear *l)
{
    return (Factor){l->y.v, l->w.v, l->w.step, l->w.shift, l->N};
}

static const real *factor_of(const Factor *f, int b)
{
    return f->w + (f->shift ? f->shift[b] : (ptrdiff_t)((size_t)b * f->step));
}

/* What one kernel does before and behind products of values. */
typedef struct Besides {
    const Input *in;
    const Linear *l;
    real *gated; /* or NULL */
} Besides;

/* The same of one sequence. */
typedef struct OwnEnds {
    HeadRows heads;
    Places places;
    Residual sum;
} OwnEnds;

static Param own_norm(Param w, int b)
{
    return (Param){.v = w.v ? param_of(w, b) : NULL};
}

static HeadRows *own_heads(OwnEnds *own, const HeadRows *h, int b)
{
    HeadRows *one = &own->heads;
    size_t at = (size_t)b * h->y.v_step;
    *one = *h;
    one->B = 1;
    one->norm = own_norm(h->norm, b);
    if (h->rope.table) one->rope.table += (size_t)b * h->rope.step;
    if (h->y.places) {
        own->places = (Places){h->y.places->shift + b, h->y.places->first + b, NULL};
        one->y.places = &own->places;
        return one;
    }
    one->y.v += at;
    if (h->y.half) one->y.half += at;
    return one;
}

static Residual *own_sum(OwnEnds *own, const Residual *s, int b, size_t at)
{
    own->sum = (Residual){{.v = s->y.v + at}, {.v = s->plus.v + at}, own_norm(s->norm, b)};
    return &own->sum;
}

/* Of product k of sequence b. */
static void add_besides(RowsProduct *p, OwnEnds *own, const Rows *r, const Besides *also, int b,
                        int k)
{
    const Linear *l = &also->l[k];
    size_t in = (size_t)b * out_step(r, r->K), out = (size_t)b * out_step(r, l->N);
    p->norm = own_norm(also->in->norm, b).v;
    if (p->norm) p->normed = also->in->normed.v + in;
    if (also->gated && k == 0) p->gated = also->gated + out;
    if (l->heads) p->heads = r->n > 1 ? own_heads(own, l->heads, b) : l->heads;
    if (l->sum) p->sum = own_sum(own, l->sum, b, out);
}

/* All of them in as few calls as hold them. also: what else there is to do, or NULL. */
static void few_rows(const Rows *r, const Factor *f, int count, const real *x, int K,
                     bool transposed, bool add, const Besides *also)
{
    _Static_assert(MOST_PRODUCTS % 2 == 0 && MOST_PRODUCTS % 3 == 0, "a sequence's go together");
    RowsProduct p[MOST_PRODUCTS];
    OwnEnds own[MOST_PRODUCTS];
    int n = 0, all = r->n * count;
    for (int i = 0; i < all; i++) {
        int b = i / count, k = i % count;
        size_t at = (size_t)b * out_step(r, K), out = (size_t)b * out_step(r, f[k].N);
        p[n] = (RowsProduct){.y = f[k].y + out, .x = x + at, .w = factor_of(&f[k], b), .N = f[k].N};
        if (also) add_besides(&p[n], &own[n], r, also, b, k);
        if (++n < MOST_PRODUCTS && i < all - 1) continue;
        r->be->ops->rows_products(r->be, p, n, transposed, r->R, K, add, also ? also->in->eps : 0);
        n = 0;
    }
}

/* y = x w (+ y) for each factor. */
static void times_weights(const Rows *r, const Factor *f, int count, const real *x, int K,
                          bool transposed, bool add)
{
    if (r->R <= FEW_ROWS) {
        few_rows(r, f, count, x, K, transposed, add, NULL);
        return;
    }
    for (int i = 0; i < count; i++) {
        CHECK(!f[i].shift, "%d rows for weights at places of their own", r->R);
        gemm_batch(r->be, r->n, N_, transposed ? T_ : N_, r->R, f[i].N, K, x, out_step(r, K),
                   f[i].w, f[i].step, add ? 1 : 0, f[i].y, out_step(r, f[i].N));
    }
}

static void forward(const Rows *r, real *y, const real *x, const real *w, const Linear *l, bool add)
{
    Factor f = {y, w, l->w.step, l->w.shift, l->N};
    times_weights(r, &f, 1, x, r->K, false, add);
}

/* dx = dy w^T (+ dx) */
static void to_input(const Rows *r, real *dx, const real *dy, const real *w, const LinearGrad *l,
                     bool add)
{
    Factor f = {dx, w, l->w.step, l->w.shift, r->K};
    times_weights(r, &f, 1, dy, l->N, true, add);
}

/* dw += x^T dy */
static void to_weight(const Rows *r, real *dw, const real *x, const real *dy, const LinearGrad *l)
{
    gemm_batch(r->be, r->n, T_, N_, r->K, l->N, r->R, x, r->in, dy, out_step(r, l->N), 1, dw,
               l->dw.step);
}

/* The values of all n, those that have their rows alike at once. */
static void forward_values(Backend *be, const Linear *l, int n, const real *x, int B, int R, int K)
{
    Factor f[MOST_LINEARS];
    for (int i = 0, first = 0; i < n; i++) {
        bool own = l[i].w.step > 0;
        f[i] = factor_from(&l[i]);
        if (i < n - 1 && own == (l[i + 1].w.step > 0)) continue;
        Rows r = rows_of(be, own, B, R, K);
        times_weights(&r, f + first, i + 1 - first, x, K, false, false);
        first = i + 1;
    }
}

static void forward_tangent(Backend *be, const Linear *l, Dual x, int B, int R, int K)
{
    Rows r = rows_of(be, l->w.step > 0, B, R, K);
    if (x.t) forward(&r, l->y.t, x.t, l->w.v, l, false);
    if (l->w.t) forward(&r, l->y.t, x.v, l->w.t, l, x.t != NULL);
}

/* Whether one kernel can do it all: few rows of values, and every sequence with its own weights or
 * with shared ones throughout. */
static bool all_in_one(const Linear *l, int n, const Input *in, int B, int R)
{
    bool own = l->w.step > 0, one = (own ? R : B * R) <= FEW_ROWS && !in->x.t && !in->norm.t;
    bool shared = B > 1 && !own, norms = shared && in->norm.step; /* of sequences, apart */
    for (int i = 0; i < n; i++) {
        const HeadRows *h = l[i].heads;
        const Residual *s = l[i].sum;
        one = one && !l[i].y.t && own == (l[i].w.step > 0);
        one = one && !(h && (h->y.t || h->norm.t)) && !(s && (s->y.t || s->norm.t));
        norms = norms || (shared && ((h && h->norm.step) || (s && s->norm.step)));
    }
    return one && !norms;
}

static void in_one(Backend *be, const Linear *l, int n, const Input *in, Dual gated, int B, int R,
                   int K)
{
    Factor f[MOST_LINEARS];
    Rows r = rows_of(be, l->w.step > 0, B, R, K);
    for (int i = 0; i < n; i++) f[i] = factor_from(&l[i]);
    few_rows(&r, f, n, in->x.v, K, false, false, &(Besides){in, l, gated.v});
}

/* What comes behind, step by step. */
static void ends(Backend *be, const Linear *l, const Input *in, Dual gated, int n, int B, int R)
{
    if (gated.v)
        be->ops->swiglu_forward(be, gated, l[0].y, l[1].y, (size_t)B * (size_t)R * (size_t)l->N);
    for (int i = 0; i < n; i++) {
        if (l[i].heads) heads_forward(be, l[i].heads, l[i].y);
        if (l[i].sum) residual_forward(be, l[i].sum, l[i].y, B, R, l[i].N, in->eps);
    }
}

void linears_forward(Backend *be, const Linear *l, int n, const Input *in, Dual gated, int B, int R,
                     int K)
{
    CHECK(n <= MOST_LINEARS, "%d products of one input", n);
    if (all_in_one(l, n, in, B, R)) {
        in_one(be, l, n, in, gated, B, R, K);
        return;
    }
    Dual x = in->norm.v ? in->normed : in->x;
    gemm_group_begin(be);
    if (in->norm.v) {
        product_operand(be, x, R, (size_t)B * (size_t)R * (size_t)K);
        be->ops->rmsnorm_forward(be, x, (Dual){0}, in->x, in->norm, B, R, K, in->eps);
    }
    forward_values(be, l, n, x.v, B, R, K);
    for (int i = 0; i < n; i++)
        if (l[i].y.t) forward_tangent(be, &l[i], x, B, R, K);
    gemm_group_end(be);
    ends(be, l, in, gated, n, B, R);
}

static void backward(Backend *be, Dual dx, bool add, const LinearGrad *l, Dual x, int B, int R,
                     int K)
{
    Rows r = rows_of(be, l->w.step || l->dw.step, B, R, K);
    Dual dy = l->dy;
    Param w = l->w, dw = l->dw;
    if (dx.v && dy.v) to_input(&r, dx.v, dy.v, w.v, l, add);
    if (dx.t) to_input(&r, dx.t, dy.t, w.v, l, add);
    if (dx.t && w.t && dy.v) to_input(&r, dx.t, dy.v, w.t, l, true);
    if (dw.v && dy.v) to_weight(&r, dw.v, x.v, dy.v, l);
    if (dw.t) to_weight(&r, dw.t, x.v, dy.t, l);
    if (dw.t && x.t && dy.v) to_weight(&r, dw.t, x.t, dy.v, l);
}

void linears_backward(Backend *be, Dual dx, bool add, const LinearGrad *l, int n, Dual x, int B,
                      int R, int K)
{
    gemm_group_begin(be);
    for (int i = 0; i < n; i++) backward(be, dx, add || i > 0, &l[i], x, B, R, K);
    gemm_group_end(be);
}

void dual_add(Backend *be, Dual y, Dual a, Dual b, size_t n)
{
    if (y.v) be->ops->add(be, y.v, a.v, b.v, n);
    if (!y.t) return;
    if (a.t && b.t)
        be->ops->add(be, y.t, a.t, b.t, n);
    else if (a.t || b.t) {
        if (y.t != a.t && y.t != b.t) backend_copy(be, y.t, a.t ? a.t : b.t, n);
    } else
        backend_zero(be, y.t, n);
}
