/* Softmax attention over each query's visible keys, tile by tile; never T x T.
 *   s = q k^T / sqrt(D),  p = softmax(s),  o = p v,  lse = log sum exp s
 *   tangent               st = (qt k^T + q kt^T) / sqrt(D),  lset = sum p st,  pt = p (st - lset),
 *                         ot = pt v + p vt
 *   gradient              dp = do v^T,  delta = do . o,  ds = p (dp - delta),
 *                         dq = ds k / sqrt(D),  dk = ds^T q / sqrt(D),  dv = p^T do
 *   tangent of gradient   dpt = dot v^T + do vt^T,  deltat = dot . o + do . ot,
 *                         dst = pt (dp - delta) + p (dpt - deltat),
 *                         dqt = (dst k + ds kt) / sqrt(D),  dkt = (dst^T q + ds^T qt) / sqrt(D),
 *                         dvt = pt^T do + p^T dot
 * The forward pass keeps a running maximum per query and rescales what it has summed (online
 * softmax, Milakov and Gimelshein, arXiv 1805.02867); the backward one takes lse and o from it, so
 * that every tile stands alone (FlashAttention, arXiv 2205.14135). Keys before the span (its past)
 * have no tangent and take no value-slot gradient: the inner loss holds them constant. Threads
 * split sequences and heads, so sums have one order. */
#include <omp.h>

#include "ops/attention_row.h" // defines: attention_row, attention_row_suits
#include "ops/attention_tile.h"
#include "ops/vexp.h"

/* Scratch of the calling thread for one head of one sequence. */
static Strip strip_begin(Backend *be, const Window *w, int b, int h, int M, int H, int D)
{
    Strip s = {.w = w, .b = b, .M = M, .C = H * D, .D = D, .P = round_up_int(D, LANES)};
    s.head = (size_t)h * (size_t)D;
    s.own_base = (size_t)b * (size_t)M * (size_t)s.C + s.head;
    size_t size = strip_scratch(&s, NULL);
    (void)strip_scratch(&s, backend_work(be, omp_get_thread_num(), WORK_KERNEL, size));
    return s;
}

static real score_scale(const Strip *s)
{
    return (real)(1 / sqrt((double)s->D));
}

static void clear_sums(const Strip *s, bool tangent)
{
    size_t size = (size_t)s->n * (size_t)s->P * sizeof *s->sum;
    memset(s->sum, 0, size);
    if (tangent) memset(s->sum_t, 0, size);
}

/* s->pt = tangents of the tile's scores. */
static void tile_score_tangents(const Strip *s, bool query_t)
{
    bool key_t = s->w->kt && s->own;
    if (query_t) times_queries(s, s->pt, &s->k, &s->q.t, false);
    if (key_t) times_queries(s, s->pt, &s->kt, &s->q.v, query_t);
    if (!query_t && !key_t) memset(s->pt, 0, (size_t)s->n_keys * STRIP * sizeof *s->pt);
    if (!tile_is_full(s)) hide(s, s->pt, 0);
}

/* s->p = scores of the tile, -inf where not seen, and s->pt where tangents are wanted. */
static void tile_scores(const Strip *s, bool tangent, bool query_t)
{
    times_queries(s, s->p, &s->k, &s->q.v, false);
    if (!tile_is_full(s)) hide(s, s->p, -(real)INFINITY);
    if (tangent) tile_score_tangents(s, query_t);
}

/* ------------------------------------------------------------------------------ forward */

/* Per query, over the tiles so far: largest score, sum of e^(s - top), sum of e^(s - top) st. */
typedef struct Running {
    real top[STRIP], sum[STRIP], sum_t[STRIP];
} Running;

static void running_start(Running *r)
{
    for (int i = 0; i < STRIP; i++) {
        r->top[i] = (real)-1e30; /* finite: -inf minus itself would be NaN */
        r->sum[i] = r->sum_t[i] = 0;
    }
}

static void scale_row(real *row, int n, real by)
{
    for (int d = 0; d < n; d++) row[d] *= by;
}

/* Raises the maxima to those of the tile and shrinks what was summed under the old ones. */
static void running_raise(const Strip *s, Running *r, bool tangent)
{
    real top[STRIP], shrink[STRIP];
    memcpy(top, r->top, sizeof top);
    for (int j = 0; j < s->n_keys; j++) {
        const real *row = s->p + (size_t)j * STRIP;
        for (int i = 0; i < STRIP; i++) top[i] = row[i] > top[i] ? row[i] : top[i];
    }
    for (int i = 0; i < STRIP; i++) {
        shrink[i] = vexp_low(r->top[i] - top[i]);
        r->sum[i] *= shrink[i];
        r->sum_t[i] *= shrink[i];
    }
    for (int i = 0; i < s->n; i++) {
        if (top[i] == r->top[i]) continue;
        scale_row(s->sum + (size_t)i * (size_t)s->P, s->P, shrink[i]);
        if (tangent) scale_row(s->sum_t + (size_t)i * (size_t)s->P, s->P, shrink[i]);
    }
    memcpy(r->top, top, sizeof top);
}

/* Scores to e^(s - top), their tangents to e^(s - top) st. */
static void running_add(const Strip *s, Running *restrict r, bool tangent)
{
    for (int j = 0; j < s->n_keys; j++) {
        real *restrict row = s->p + (size_t)j * STRIP, *restrict row_t = s->pt + (size_t)j * STRIP;
        for (int i = 0; i < STRIP; i++) {
            real e = vexp_low(row[i] - r->top[i]);
            row[i] = e;
            r->sum[i] += e;
        }
        for (int i = 0; tangent && i < STRIP; i++) {
            row_t[i] *= row[i];
            r->sum_t[i] += row_t[i];
        }
    }
}

/* Divides by the sums; o, its tangent, lse: as the op's. */
static void running_finish(const Strip *s, const Running *r, Dual o, real *lse, real *lse_t)
{
    for (int i = 0; i < s->n; i++) {
        real inv = 1 / r->sum[i], mean = r->sum_t[i] * inv;
        real *sum = s->sum + (size_t)i * (size_t)s->P, *sum_t = s->sum_t + (size_t)i * (size_t)s->P;
        scale_row(sum, s->P, inv);
        for (int d = 0; o.t && d < s->P; d++) sum_t[d] = sum_t[d] * inv - mean * sum[d];
        lse[s->query + i] = r->top[i] + (real)log((double)r->sum[i]);
        if (lse_t) lse_t[s->query + i] = mean;
    }
    unpack_strip(s, o.v, s->sum, 1);
    if (o.t) unpack_strip(s, o.t, s->sum_t, 1);
}

static void forward_strip(Strip *s, Dual o, real *lse, real *lse_t, Dual q)
{
    bool score_t = o.t && (q.t || s->w->kt);
    Running r;
    running_start(&r);
    clear_sums(s, o.t);
    pack_dual(s, &s->q, q, score_scale(s));
    for (int key = s->from[0]; tile_load(s, key); key += s->n_keys) {
        tile_scores(s, score_t, q.t != NULL);
        running_raise(s, &r, o.t);
        running_add(s, &r, score_t);
        weigh_keys(s, s->sum, s->p, &s->v);
        if (score_t) weigh_keys(s, s->sum_t, s->pt, &s->v);
        if (o.t && s->w->vt && s->own) weigh_keys(s, s->sum_t, s->p, &s->vt);
    }
    running_finish(s, &r, o, lse, lse_t);
}

/* A head's queries (M) in an array (B, H, M); NULL stays NULL. */
static real *of_head(real *x, const Strip *s, int h, int H)
{
    return x ? x + ((size_t)s->b * (size_t)H + (size_t)h) * (size_t)s->M : NULL;
}

void KERNEL(attention_forward)(Backend *be, Dual o, Dual lse, Dual q, const Window *w, int B, int M,
                               int H, int D)
{
    if (attention_row_suits(o, q, w, M)) {
        KERNEL(attention_row)(be, o.v, lse.v, q.v, w, B, M, H, D);
        return;
    }
    CHECK(!w->places, "sequences at places of their own have one query each");
#pragma omp parallel for collapse(3) schedule(static) num_threads(be->threads)
    for (int b = 0; b < B; b++)
        for (int h = 0; h < H; h++)
            for (int query = 0; query < M; query += STRIP) {
                Strip s = strip_begin(be, w, b, h, M, H, D);
                strip_place(&s, query);
                forward_strip(&s, o, of_head(lse.v, &s, h, H), of_head(lse.t, &s, h, H), q);
            }
}

/* ------------------------------------------------------------------------------ backward */

/* What the backward pass knows of each query of the strip. */
typedef struct Known {
    real lse[STRIP], lse_t[STRIP], delta[STRIP], delta_t[STRIP];
} Known;

/* (n) sums of a b over the head's part of each of the strip's rows, added. */
static void add_row_dots(const Strip *s, real *sums, const real *a, const real *b)
{
    if (!a || !b) return;
    size_t at = s->own_base + (size_t)s->query * (size_t)s->C;
    for (int i = 0; i < s->n; i++, at += (size_t)s->C) {
        real sum = 0;
        for (int d = 0; d < s->D; d++) sum += a[at + (size_t)d] * b[at + (size_t)d];
        sums[i] += sum;
    }
}

static void known_load(const Strip *s, Known *k, Dual d_o, Dual o, const real *lse,
                       const real *lse_t)
{
    memset(k, 0, sizeof *k);
    memcpy(k->lse, lse + s->query, (size_t)s->n * sizeof *lse);
    if (lse_t) memcpy(k->lse_t, lse_t + s->query, (size_t)s->n * sizeof *lse);
    add_row_dots(s, k->delta, d_o.v ? d_o.v : d_o.t, o.v);
    if (!d_o.v || !d_o.t) return;
    add_row_dots(s, k->delta_t, d_o.t, o.v);
    add_row_dots(s, k->delta_t, d_o.v, o.t);
}

/* Scores to probabilities, their tangents to those of the probabilities. */
static void tile_probabilities(const Strip *s, const Known *k, bool tangent)
{
    for (int j = 0; j < s->n_keys; j++) {
        real *restrict p = s->p + (size_t)j * STRIP, *restrict pt = s->pt + (size_t)j * STRIP;
        for (int i = 0; i < STRIP; i++) p[i] = vexp_low(p[i] - k->lse[i]);
        for (int i = 0; tangent && i < STRIP; i++) pt[i] = p[i] * (pt[i] - k->lse_t[i]);
    }
}

/* dp to ds in place. */
static void score_gradient(const Strip *s, const Known *k)
{
    for (int j = 0; j < s->n_keys; j++) {
        real *restrict dp = s->dp + (size_t)j * STRIP;
        const real *restrict p = s->p + (size_t)j * STRIP;
        for (int i = 0; i < STRIP; i++) dp[i] = p[i] * (dp[i] - k->delta[i]);
    }
}

/* (dp, dpt) to (ds, dst) in place. */
static void score_gradient_dual(const Strip *s, const Known *k, bool tangent)
{
    for (int j = 0; j < s->n_keys; j++) {
        size_t at = (size_t)j * STRIP;
        real *restrict dp = s->dp + at, *restrict dpt = s->dpt + at;
        const real *restrict p = s->p + at, *restrict pt = s->pt + at;
        for (int i = 0; i < STRIP; i++) {
            real centred = dp[i] - k->delta[i];
            dpt[i] = p[i] * (dpt[i] - k->delta_t[i]) + (tangent ? pt[i] * centred : 0);
            dp[i] = p[i] * centred;
        }
    }
}

/* The tile's rows of a tangent-slot gradient of all keys. */
static real *grad_at(const Strip *s, const WindowGrad *g, real *grad)
{
    return grad + (size_t)s->b * g->step + s->head + (size_t)(s->key - g->shift) * (size_t)s->C;
}

/* to += m rows */
static void gather(const Strip *s, real *to, const real *m, const QueryRows *x)
{
    weigh_queries(s, m, x, false);
    add_grad(s, to);
}

/* to += m x + n y */
static void gather_both(const Strip *s, real *to, const real *m, const QueryRows *x, const real *n,
                        const QueryRows *y)
{
    weigh_queries(s, m, x, false);
    weigh_queries(s, n, y, true);
    add_grad(s, to);
}

/* One gradient without tangents: the inner loss's (value slot: own keys only) or an ordinary one
 * (tangent slot: all keys). */
static void backward_tile_plain(const Strip *s, const Known *k, const WindowGrad *g, bool inner)
{
    const QueryRows *d_o = inner ? &s->d_o.v : &s->d_o.t;
    times_queries(s, s->dp, &s->v, d_o, false);
    if (!tile_is_full(s)) hide(s, s->dp, 0);
    score_gradient(s, k);
    weigh_keys(s, s->sum, s->dp, &s->k);
    if (inner && !s->own) return;
    gather(s, inner ? g->own_dv + own_at(s) : grad_at(s, g, g->dv), s->p, d_o);
    gather(s, inner ? g->own_dk + own_at(s) : grad_at(s, g, g->dk), s->dp, &s->q.v);
}

static void dual_gradients_of_keys(const Strip *s, const WindowGrad *g, bool query_t, bool tangent)
{
    real *dk = grad_at(s, g, g->dk), *dv = grad_at(s, g, g->dv);
    if (tangent)
        gather_both(s, dv, s->pt, &s->d_o.v, s->p, &s->d_o.t);
    else
        gather(s, dv, s->p, &s->d_o.t);
    if (query_t)
        gather_both(s, dk, s->dpt, &s->q.v, s->dp, &s->q.t);
    else
        gather(s, dk, s->dpt, &s->q.v);
    if (s->own && g->own_dv) gather(s, g->own_dv + own_at(s), s->p, &s->d_o.v);
    if (s->own && g->own_dk) gather(s, g->own_dk + own_at(s), s->dp, &s->q.v);
}

static void backward_tile_dual(const Strip *s, const Known *k, const WindowGrad *g, Dual dq,
                               bool query_t, bool tangent)
{
    times_queries(s, s->dp, &s->v, &s->d_o.v, false);
    times_queries(s, s->dpt, &s->v, &s->d_o.t, false);
    if (s->own && s->w->vt) times_queries(s, s->dpt, &s->vt, &s->d_o.v, true);
    if (!tile_is_full(s)) {
        hide(s, s->dp, 0);
        hide(s, s->dpt, 0);
    }
    score_gradient_dual(s, k, tangent);
    if (dq.v) weigh_keys(s, s->sum, s->dp, &s->k);
    weigh_keys(s, s->sum_t, s->dpt, &s->k);
    if (s->own && s->w->kt) weigh_keys(s, s->sum_t, s->dp, &s->kt);
    dual_gradients_of_keys(s, g, query_t, tangent);
}

static void backward_strip(Strip *s, const Known *k, Dual dq, const WindowGrad *g, Dual d_o, Dual q)
{
    bool dual = d_o.v && d_o.t, query_t = dual && q.t, tangent = dual && (q.t || s->w->kt);
    pack_dual(s, &s->q, (Dual){q.v, query_t ? q.t : NULL}, score_scale(s));
    pack_dual(s, &s->d_o, d_o, 1);
    clear_sums(s, dual);
    for (int key = s->from[0]; tile_load(s, key); key += s->n_keys) {
        tile_scores(s, tangent, query_t);
        tile_probabilities(s, k, tangent);
        if (dual)
            backward_tile_dual(s, k, g, dq, query_t, tangent);
        else
            backward_tile_plain(s, k, g, d_o.v != NULL);
    }
    if (dq.v) unpack_strip(s, dq.v, s->sum, score_scale(s));
    if (dq.t) unpack_strip(s, dq.t, dual ? s->sum_t : s->sum, score_scale(s));
}

void KERNEL(attention_backward)(Backend *be, Dual dq, const WindowGrad *g, Dual d_o, Dual o,
                                Dual lse, Dual q, const Window *w, int B, int M, int H, int D)
{
    size_t n = (size_t)B * (size_t)M * (size_t)H * (size_t)D;
    if (g->own_dk) backend_zero(be, g->own_dk, n);
    if (g->own_dv) backend_zero(be, g->own_dv, n);
#pragma omp parallel for collapse(2) schedule(static) num_threads(be->threads)
    for (int b = 0; b < B; b++)
        for (int h = 0; h < H; h++) {
            Strip s = strip_begin(be, w, b, h, M, H, D);
            for (int query = 0; query < M; query += STRIP) {
                Known k;
                strip_place(&s, query);
                known_load(&s, &k, d_o, o, of_head(lse.v, &s, h, H), of_head(lse.t, &s, h, H));
                backward_strip(&s, &k, dq, g, d_o, q);
            }
        }
}
