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

/* All of them in as few calls as hold them. in: what else there is to do, or NULL. */
static void few_rows(const Rows *r, const Factor *f, int count, const real *x, int K,
                     bool transposed, bool add, const Input *in, real *gated)
{
    _Static_assert(MOST_PRODUCTS % 2 == 0 && MOST_PRODUCTS % 3 == 0, "a sequence's go together");
    RowsProduct p[MOST_PRODUCTS];
    Factor norm = {.w = in ? in->norm.v : NULL};
    if (norm.w) norm.step = in->norm.step, norm.shift = in->norm.shift;
    int n = 0, all = r->n * count;
    for (int i = 0; i < all; i++) {
        int b = i / count, k = i % count;
        size_t at = (size_t)b * out_step(r, K), out = (size_t)b * out_step(r, f[k].N);
        p[n] = (RowsProduct){.y = f[k].y + out, .x = x + at, .w = factor_of(&f[k], b), .N = f[k].N};
        if (norm.w) p[n].norm = factor_of(&norm, b), p[n].normed = in->normed.v + at;
        if (gated && k == 0) p[n].gated = gated + out;
        if (++n < MOST_PRODUCTS && i < all - 1) continue;
        r->be->ops->rows_products(r->be, p, n, transposed, r->R, K, add, in ? in->eps : 0);
        n = 0;
    }
}

/* y = x w (+ y) for each factor. */
static void times_weights(const Rows *r, const Factor *f, int count, const real *x, int K,
                          bool transposed, bool add)
{
    if (r->R <= FEW_ROWS) {
        few_rows(r, f, count, x, K, transposed, add, NULL, NULL);
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
    for (int i = 0; i < n; i++) one = one && !l[i].y.t && own == (l[i].w.step > 0);
    return one && (own || !in->norm.step);
}

static void in_one(Backend *be, const Linear *l, int n, const Input *in, Dual gated, int B, int R,
                   int K)
{
    Factor f[MOST_LINEARS];
    Rows r = rows_of(be, l->w.step > 0, B, R, K);
    for (int i = 0; i < n; i++) f[i] = factor_from(&l[i]);
    few_rows(&r, f, n, in->x.v, K, false, false, in, gated.v);
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
    if (gated.v)
        be->ops->swiglu_forward(be, gated, l[0].y, l[1].y, (size_t)B * (size_t)R * (size_t)l->N);
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
