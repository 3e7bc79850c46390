/* Softmax attention of few queries over many keys. Each thread takes a range of key rows for all
 * heads, so that it reads keys and values as two sequential streams, and goes through it in blocks:
 *   s = q k^T / sqrt(D),  top' = max(top, max s),  p = exp(s - top')
 *   sum = sum exp(top - top') + sum p,  o = o exp(top - top') + p v
 * (Milakov and Gimelshein, 2018). The ranges' (top, sum, o) are merged by the same rule, in their
 * order: the same bits for the same number of threads. */
#include "ops/attention_row.h"

#include <math.h>
#include <omp.h>
#include <string.h>

#include "ops/row.h" // defines: row_max, vexp
#include "ops/vec.h" // defines: Vec, LANES, vec_load, vec_store, vec_sum

enum { BLOCK = 64 }; /* keys: long enough runs of each stream */

/* Keys that are read before a second thread has woken up, times C. */
enum { SHARED_ELEMENTS = 1 << 14 };

typedef struct Heads {
    int H, D;
    size_t C;
    real scale;
} Heads;

/* What a range of keys adds to one query: log-sum-exp as top and sum, and the weighed values. */
typedef struct Partial {
    real *top, *sum; /* (H) */
    real *o;         /* (C) */
} Partial;

static size_t partial_size(const Heads *s)
{
    return 2 * (size_t)s->H + s->C;
}

static Partial partial_at(const Heads *s, real *memory, size_t i)
{
    real *p = memory + i * partial_size(s);
    return (Partial){p, p + s->H, p + 2 * s->H};
}

static void partial_clear(const Heads *s, const Partial *p)
{
    for (int h = 0; h < s->H; h++) p->top[h] = (real)-INFINITY;
    memset(p->sum, 0, ((size_t)s->H + s->C) * sizeof *p->sum);
}

static real dot(const real *a, const real *b, int n)
{
    Vec sum = {0};
    int i = 0;
    for (; i + LANES <= n; i += LANES) sum += vec_load(a + i) * vec_load(b + i);
    real s = vec_sum(sum);
    for (; i < n; i++) s += a[i] * b[i];
    return s;
}

/* p (H, BLOCK): scores of n keys that start at k. */
static void scores(const Heads *s, real *p, const real *q, const real *k, int n)
{
    for (int j = 0; j < n; j++)
        for (int h = 0; h < s->H; h++) {
            size_t head = (size_t)h * (size_t)s->D;
            p[h * BLOCK + j] = s->scale * dot(q + head, k + (size_t)j * s->C + head, s->D);
        }
}

/* Scores to weights under the new top; what was added so far is weighed down to it. */
static void weights(const Heads *s, const Partial *to, real *p, int n)
{
    for (int h = 0; h < s->H; h++) {
        real *row = p + h * BLOCK, *o = to->o + (size_t)h * (size_t)s->D, sum = 0;
        real top = row_max(row, n);
        if (to->top[h] > top) top = to->top[h];
        real before = vexp(to->top[h] - top);
        for (int j = 0; j < n; j++) row[j] = vexp(row[j] - top);
        for (int j = 0; j < n; j++) sum += row[j];
        if (before != 1)
            for (int d = 0; d < s->D; d++) o[d] *= before;
        to->sum[h] = to->sum[h] * before + sum;
        to->top[h] = top;
    }
}

/* o (D) += p v */
static inline void add_value(real *o, real p, const real *v, int D)
{
    int d = 0;
    for (; d + LANES <= D; d += LANES) vec_store(o + d, vec_load(o + d) + p * vec_load(v + d));
    for (; d < D; d++) o[d] += p * v[d];
}

/* o (C) += p v, value by value in the order of their addresses. */
static void add_values(const Heads *s, real *o, const real *p, const real *v, int n)
{
    for (int j = 0; j < n; j++, v += s->C)
        for (int h = 0; h < s->H; h++) {
            size_t head = (size_t)h * (size_t)s->D;
            add_value(o + head, p[h * BLOCK + j], v + head, s->D);
        }
}

/* One query and keys [from, to), in blocks. p: scratch (H, BLOCK). */
static void add_keys(const Heads *s, const Partial *to, real *p, const real *q, const real *k,
                     const real *v, int from, int end)
{
    for (int j = from; j < end; j += BLOCK) {
        int n = min_int(BLOCK, end - j);
        size_t at = (size_t)j * s->C;
        scores(s, p, q, k + at, n);
        weights(s, to, p, n);
        add_values(s, to->o, p, v + at, n);
    }
}

static void merge(const Heads *s, const Partial *to, const Partial *from)
{
    for (int h = 0; h < s->H; h++) {
        if (from->sum[h] == 0) continue; /* saw no key */
        real top = from->top[h] > to->top[h] ? from->top[h] : to->top[h];
        real a = vexp(to->top[h] - top), b = vexp(from->top[h] - top);
        size_t head = (size_t)h * (size_t)s->D;
        for (int d = 0; d < s->D; d++)
            to->o[head + (size_t)d] = a * to->o[head + (size_t)d] + b * from->o[head + (size_t)d];
        to->sum[h] = a * to->sum[h] + b * from->sum[h];
        to->top[h] = top;
    }
}

/* One call: sequences in turn, all of a sequence's queries while a range of its keys goes by. */
typedef struct Call {
    const real *q;
    const Window *w;
    int B, M, parts;
    real *partial; /* (parts, B, M) Partials */
} Call;

/* Sequence b's window as if it were the only one. */
static Window window_at(const Window *all, int b)
{
    Window w = *all;
    size_t at = (size_t)b * w.step;
    ptrdiff_t shift = w.places ? w.places->shift[b] : (ptrdiff_t)at;
    w.k += shift;
    w.v += shift;
    if (!w.places) return w;
    w.first = w.places->first[b];
    w.position = w.places->position[b];
    w.places = NULL;
    return w;
}

/* A part of each sequence's keys. p: scratch (H, BLOCK). */
static void run_part(const Heads *s, const Call *c, int part, real *p)
{
    for (int b = 0; b < c->B; b++) {
        Window w = window_at(c->w, b);
        int first = window_first(&w, 0), rows = w.first + c->M - first;
        int from = first + (int)((int64_t)rows * part / c->parts);
        int to = first + (int)((int64_t)rows * (part + 1) / c->parts);
        for (int i = 0; i < c->M; i++) {
            size_t query = (size_t)b * (size_t)c->M + (size_t)i;
            size_t all = (size_t)c->B * (size_t)c->M;
            Partial mine = partial_at(s, c->partial, (size_t)part * all + query);
            partial_clear(s, &mine);
            add_keys(s, &mine, p, c->q + query * s->C, w.k, w.v, max_int(from, window_first(&w, i)),
                     min_int(to, w.first + i + 1));
        }
    }
}

/* o (C) of one query, lse of its heads `step` apart. */
static void finish(const Heads *s, const Call *c, real *o, real *lse, size_t step, size_t query)
{
    size_t all = (size_t)c->B * (size_t)c->M;
    Partial sum = partial_at(s, c->partial, query);
    for (int part = 1; part < c->parts; part++) {
        Partial more = partial_at(s, c->partial, (size_t)part * all + query);
        merge(s, &sum, &more);
    }
    for (int h = 0; h < s->H; h++) {
        size_t head = (size_t)h * (size_t)s->D;
        real inverse = 1 / sum.sum[h];
        for (int d = 0; d < s->D; d++) o[head + (size_t)d] = sum.o[head + (size_t)d] * inverse;
        lse[(size_t)h * step] = sum.top[h] + (real)log((double)sum.sum[h]);
    }
}

void KERNEL(attention_row)(Backend *be, real *o, real *lse, const real *q, const Window *w, int B,
                           int M, int H, int D)
{
    Heads s = {.H = H, .D = D, .C = (size_t)H * (size_t)D, .scale = (real)(1 / sqrt((double)D))};
    Call c = {.q = q, .w = w, .B = B, .M = M};
    Window last = window_at(w, B - 1);
    size_t rows = (size_t)(last.first + M - window_first(&last, 0)) * (size_t)B;
    bool alone = rows * s.C < SHARED_ELEMENTS || omp_in_parallel();
    c.parts = alone ? 1 : be->threads;
    size_t queries = (size_t)B * (size_t)M, scratch = (size_t)H * BLOCK;
    size_t partials = (size_t)c.parts * queries * partial_size(&s);
    c.partial = backend_work(be, 0, WORK_KERNEL, partials + (size_t)c.parts * scratch);
    real *p = c.partial + partials;
#pragma omp parallel for schedule(static) num_threads(c.parts) if (c.parts > 1)
    for (int part = 0; part < c.parts; part++) run_part(&s, &c, part, p + (size_t)part * scratch);
    for (size_t i = 0; i < queries; i++) {
        size_t b = i / (size_t)M, m = i % (size_t)M, step = (size_t)M;
        finish(&s, &c, o + i * s.C, lse + b * (size_t)H * step + m, step, i);
    }
}
