/* Softmax attention over each query's visible keys, a strip of queries at a time; never T x T.
 *   s = q k^T / sqrt(D),  p = softmax(s),  o = p v
 *   tangent             st = (qt k^T + q kt^T) / sqrt(D),  pt = p (st - sum p st),  ot = pt v + p
 * vt gradient            dp = do v^T,  ds = p (dp - sum p dp), dq = ds k / sqrt(D),  dk = ds^T q /
 * sqrt(D),  dv = p^T do tangent of gradient dpt = dot v^T + do vt^T, dst = pt (dp - sum p dp) + p
 * (dpt - sum (pt dp + p dpt)), dqt = (dst k + ds kt) / sqrt(D),  dkt = (dst^T q + ds^T qt) /
 * sqrt(D), dvt = pt^T do + p^T dot Keys before the span (its past) have no tangent and take no
 * value-slot gradient: the inner loss holds them constant. Threads split sequences and heads, so
 * sums have one order. */
#include <math.h>
#include <omp.h>
#include <string.h>

#include "ops/attention_row.h" // defines: attention_row, attention_row_suits
#include "ops/kernel.h"
#include "ops/row.h"
#include "ops/vexp.h"

enum { STRIP = 64, MATRICES = 4 };

/* The shape of one head's work, and where a strip of it stands. Rows are rows of the Window. */
typedef struct Strip {
    Backend *be;
    const Window *w;
    int b, M, C, D;
    real scale;
    size_t head;     /* h * D */
    size_t key_base; /* b * step + head */
    size_t own_base; /* b * M * C + head: of (B, M, C) arrays */
    int query, n;    /* first query of the strip, their number */
    int key, n_keys; /* first key row, number of key rows */
    int own, n_own;  /* the span's own keys among them: column where they start, their number */
    real *p, *pt, *dp, *dpt; /* (n, n_keys) */
} Strip;

static int first_visible(const Window *w, int query)
{
    int row = w->first + query, low = 0;
    if (w->window > 0 && row - w->window + 1 > low) low = (int)(row - w->window + 1);
    if (w->local > 0) {
        int64_t into_chunk = (w->position + query) % w->local;
        low = max_int(low, row - (int)into_chunk);
    }
    return low;
}

static void strip_place(Strip *s, int query)
{
    s->query = query;
    s->n = min_int(STRIP, s->M - query);
    s->key = first_visible(s->w, query);
    s->n_keys = s->w->first + query + s->n - s->key;
    s->own = max_int(0, s->w->first - s->key);
    s->n_own = s->n_keys - s->own;
}

static Strip strip_begin(Backend *be, const Window *w, int b, int h, int M, int H, int D)
{
    Strip s = {.be = be, .w = w, .b = b, .M = M, .C = H * D, .D = D};
    s.scale = (real)(1 / sqrt((double)D));
    s.head = (size_t)h * (size_t)D;
    s.key_base = (size_t)b * w->step + s.head;
    s.own_base = (size_t)b * (size_t)M * (size_t)s.C + s.head;
    int64_t widest = w->first + M;
    if (w->window > 0 && widest > w->window + STRIP) widest = w->window + STRIP;
    size_t size = (size_t)STRIP * (size_t)widest;
    real *work = backend_work(be, omp_get_thread_num(), WORK_KERNEL, MATRICES * size);
    s.p = work;
    s.pt = work + size;
    s.dp = work + 2 * size;
    s.dpt = work + 3 * size;
    return s;
}

/* A query-side array (B, M, C) at the strip's first query; NULL stays NULL. */
static real *at_query(const Strip *s, real *x)
{
    return x ? x + s->own_base + (size_t)s->query * (size_t)s->C : NULL;
}

static size_t key_at(const Strip *s)
{
    return s->key_base + (size_t)s->key * (size_t)s->C;
}

/* An array of the span's own rows (B, M, C) at the strip's first own key. */
static size_t own_at(const Strip *s)
{
    return s->own_base + (size_t)(s->key + s->own - s->w->first) * (size_t)s->C;
}

/* out (n, n_keys) = a x (x^T of all keys) */
static void times_keys(const Strip *s, real a, real *out, const real *x, const real *keys)
{
    gemm(s->be, N_, T_, s->n, s->n_keys, s->D, a, x, s->C, keys + key_at(s), s->C, 0, out,
         s->n_keys);
}

/* out[:, own] += a x (own rows of y)^T */
static void add_times_own(const Strip *s, real a, real *out, const real *x, const real *y)
{
    gemm(s->be, N_, T_, s->n, s->n_own, s->D, a, x, s->C, y + own_at(s), s->C, 1, out + s->own,
         s->n_keys);
}

/* out (n, D) = a m keys + beta out */
static void weigh_keys(const Strip *s, real a, real *out, const real *m, const real *keys,
                       real beta)
{
    gemm(s->be, N_, N_, s->n, s->D, s->n_keys, a, m, s->n_keys, keys + key_at(s), s->C, beta, out,
         s->C);
}

/* out (n, D) += a m[:, own] (own rows of y) */
static void weigh_own(const Strip *s, real a, real *out, const real *m, const real *y)
{
    gemm(s->be, N_, N_, s->n, s->D, s->n_own, a, m + s->own, s->n_keys, y + own_at(s), s->C, 1, out,
         s->C);
}

/* grad (n_keys, D) += a m^T x, and the same for the span's own rows only */
static void add_to_keys(const Strip *s, const WindowGrad *g, real a, real *grad, const real *m,
                        const real *x)
{
    size_t at = (size_t)s->b * g->step + s->head + (size_t)(s->key - g->shift) * (size_t)s->C;
    gemm(s->be, T_, N_, s->n_keys, s->D, s->n, a, m, s->n_keys, x, s->C, 1, grad + at, s->C);
}

static void add_to_own(const Strip *s, real a, real *own, const real *m, const real *x)
{
    gemm(s->be, T_, N_, s->n_own, s->D, s->n, a, m + s->own, s->n_keys, x, s->C, 1, own + own_at(s),
         s->C);
}

/* Columns [*from, *to) of strip row i that its query sees. */
static void visible_columns(const Strip *s, int i, int *from, int *to)
{
    *from = first_visible(s->w, s->query + i) - s->key;
    *to = s->w->first + s->query + i + 1 - s->key;
}

static void clear_outside(real *row, int from, int to, int n)
{
    memset(row, 0, (size_t)from * sizeof *row);
    memset(row + to, 0, (size_t)(n - to) * sizeof *row);
}

/* Scores to probabilities in place; returns the row's log-sum-exp. */
static real softmax_row(real *p, int from, int to, int n)
{
    real top = row_max(p + from, to - from), sum = 0;
    for (int j = from; j < to; j++) p[j] = vexp(p[j] - top);
    for (int j = from; j < to; j++) sum += p[j];
    real inv = 1 / sum;
    for (int j = from; j < to; j++) p[j] *= inv;
    clear_outside(p, from, to, n);
    return top + (real)log((double)sum);
}

static void softmax_row_known(real *p, real lse, int from, int to, int n)
{
    for (int j = from; j < to; j++) p[j] = vexp(p[j] - lse);
    clear_outside(p, from, to, n);
}

/* Score tangents to probability tangents in place. */
static void softmax_tangent_row(real *pt, const real *p, int from, int to, int n)
{
    real mean = 0;
    for (int j = from; j < to; j++) mean += p[j] * pt[j];
    for (int j = from; j < to; j++) pt[j] = p[j] * (pt[j] - mean);
    clear_outside(pt, from, to, n);
}

/* Fills s->p, and s->pt when a query or key has a tangent (returned). lse: (M) of this head,
 * written when `fresh`, else used. */
static bool strip_probabilities(const Strip *s, Dual q, real *lse, bool fresh)
{
    const Window *w = s->w;
    const real *qv = at_query(s, q.v), *qt = at_query(s, q.t);
    bool tangent = qt || w->kt;
    times_keys(s, s->scale, s->p, qv, w->k);
    if (qt)
        times_keys(s, s->scale, s->pt, qt, w->k);
    else if (tangent)
        memset(s->pt, 0, (size_t)s->n * (size_t)s->n_keys * sizeof *s->pt);
    if (w->kt) add_times_own(s, s->scale, s->pt, qv, w->kt);
    for (int i = 0; i < s->n; i++) {
        int from, to;
        visible_columns(s, i, &from, &to);
        real *p = s->p + (size_t)i * (size_t)s->n_keys;
        if (fresh)
            lse[s->query + i] = softmax_row(p, from, to, s->n_keys);
        else
            softmax_row_known(p, lse[s->query + i], from, to, s->n_keys);
        if (tangent)
            softmax_tangent_row(s->pt + (size_t)i * (size_t)s->n_keys, p, from, to, s->n_keys);
    }
    return tangent;
}

static void forward_strip(const Strip *s, Dual o, real *lse, Dual q)
{
    const Window *w = s->w;
    bool tangent = strip_probabilities(s, q, lse, true);
    weigh_keys(s, 1, at_query(s, o.v), s->p, w->v, 0);
    real *ot = at_query(s, o.t);
    if (!ot) return;
    if (tangent)
        weigh_keys(s, 1, ot, s->pt, w->v, 0);
    else
        for (int i = 0; i < s->n; i++)
            memset(ot + (size_t)i * (size_t)s->C, 0, (size_t)s->D * sizeof *ot);
    if (w->vt) weigh_own(s, 1, ot, s->p, w->vt);
}

void KERNEL(attention_forward)(Backend *be, Dual o, real *lse, Dual q, const Window *w, int B,
                               int M, int H, int D)
{
    if (attention_row_suits(o, q, w, M)) {
        KERNEL(attention_row)(be, o.v, lse, q.v, w, B, M, H, D);
        return;
    }
    CHECK(!w->places, "sequences at places of their own have one query each");
#pragma omp parallel for collapse(2) schedule(static) num_threads(be->threads)
    for (int b = 0; b < B; b++)
        for (int h = 0; h < H; h++) {
            Strip s = strip_begin(be, w, b, h, M, H, D);
            for (int query = 0; query < M; query += STRIP) {
                strip_place(&s, query);
                forward_strip(&s, o, lse + (size_t)(b * H + h) * (size_t)M, q);
            }
        }
}

/* dp to ds in place: ds = p (dp - delta), delta = sum p dp. */
static void score_gradient(const Strip *s)
{
    for (int i = 0; i < s->n; i++) {
        real *dp = s->dp + (size_t)i * (size_t)s->n_keys;
        const real *p = s->p + (size_t)i * (size_t)s->n_keys;
        real delta = 0;
        for (int j = 0; j < s->n_keys; j++) delta += p[j] * dp[j];
        for (int j = 0; j < s->n_keys; j++) dp[j] = p[j] * (dp[j] - delta);
    }
}

/* (dp, dpt) to (ds, dst) in place; pt NULL: no tangent of the probabilities. */
static void score_gradient_tangent(const Strip *s, bool tangent)
{
    for (int i = 0; i < s->n; i++) {
        size_t at = (size_t)i * (size_t)s->n_keys;
        real *dp = s->dp + at, *dpt = s->dpt + at;
        const real *p = s->p + at, *pt = s->pt + at;
        real delta = 0, delta_t = 0;
        for (int j = 0; j < s->n_keys; j++) {
            delta += p[j] * dp[j];
            delta_t += p[j] * dpt[j];
        }
        if (tangent)
            for (int j = 0; j < s->n_keys; j++) delta_t += pt[j] * dp[j];
        for (int j = 0; j < s->n_keys; j++) {
            real centred = dp[j] - delta;
            dpt[j] = p[j] * (dpt[j] - delta_t) + (tangent ? pt[j] * centred : 0);
            dp[j] = p[j] * centred;
        }
    }
}

/* One gradient without tangents: the inner loss's (own keys only) or, in the tangent slot, an
 * ordinary one (all keys). */
static void backward_strip_plain(const Strip *s, real *dq, const WindowGrad *g, const real *d_o,
                                 const real *q, bool inner)
{
    const Window *w = s->w;
    times_keys(s, 1, s->dp, d_o, w->v);
    if (inner)
        add_to_own(s, 1, g->own_dv, s->p, d_o);
    else
        add_to_keys(s, g, 1, g->dv, s->p, d_o);
    score_gradient(s);
    weigh_keys(s, s->scale, dq, s->dp, w->k, 0);
    if (inner)
        add_to_own(s, s->scale, g->own_dk, s->dp, q);
    else
        add_to_keys(s, g, s->scale, g->dk, s->dp, q);
}

static void backward_strip_dual(const Strip *s, Dual dq, const WindowGrad *g, Dual d_o, Dual q,
                                bool tangent)
{
    const Window *w = s->w;
    const real *dov = at_query(s, d_o.v), *dot_ = at_query(s, d_o.t);
    const real *qv = at_query(s, q.v), *qt = at_query(s, q.t);
    times_keys(s, 1, s->dp, dov, w->v);
    times_keys(s, 1, s->dpt, dot_, w->v);
    if (w->vt) add_times_own(s, 1, s->dpt, dov, w->vt);
    if (tangent) add_to_keys(s, g, 1, g->dv, s->pt, dov);
    add_to_keys(s, g, 1, g->dv, s->p, dot_);
    if (g->own_dv) add_to_own(s, 1, g->own_dv, s->p, dov);
    score_gradient_tangent(s, tangent);
    real *dqt = at_query(s, dq.t), *dqv = at_query(s, dq.v);
    if (dqv) weigh_keys(s, s->scale, dqv, s->dp, w->k, 0);
    weigh_keys(s, s->scale, dqt, s->dpt, w->k, 0);
    if (w->kt) weigh_own(s, s->scale, dqt, s->dp, w->kt);
    add_to_keys(s, g, s->scale, g->dk, s->dpt, qv);
    if (qt) add_to_keys(s, g, s->scale, g->dk, s->dp, qt);
    if (g->own_dk) add_to_own(s, s->scale, g->own_dk, s->dp, qv);
}

static void backward_strip(const Strip *s, Dual dq, const WindowGrad *g, Dual d_o, real *lse,
                           Dual q)
{
    bool tangent = strip_probabilities(s, q, lse, false);
    if (d_o.v && d_o.t)
        backward_strip_dual(s, dq, g, d_o, q, tangent);
    else if (d_o.v)
        backward_strip_plain(s, at_query(s, dq.v), g, at_query(s, d_o.v), at_query(s, q.v), true);
    else
        backward_strip_plain(s, at_query(s, dq.t), g, at_query(s, d_o.t), at_query(s, q.v), false);
}

void KERNEL(attention_backward)(Backend *be, Dual dq, const WindowGrad *g, Dual d_o, real *lse,
                                Dual q, const Window *w, int B, int M, int H, int D)
{
    size_t n = (size_t)B * (size_t)M * (size_t)H * (size_t)D;
    if (g->own_dk) backend_zero(be, g->own_dk, n);
    if (g->own_dv) backend_zero(be, g->own_dv, n);
#pragma omp parallel for collapse(2) schedule(static) num_threads(be->threads)
    for (int b = 0; b < B; b++)
        for (int h = 0; h < H; h++) {
            Strip s = strip_begin(be, w, b, h, M, H, D);
            for (int query = 0; query < M; query += STRIP) {
                strip_place(&s, query);
                backward_strip(&s, dq, g, d_o, lse + (size_t)(b * H + h) * (size_t)M, q);
            }
        }
}
