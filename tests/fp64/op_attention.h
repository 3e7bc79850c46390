/* Reference and calls of attention for the table of test_ops.c.
 * in: q (B, R, H C), the span's own keys and values (B, R, H C), past keys and values (B, past, H
 * C). Keys lie in a buffer with `pad` unused rows after the span; gradients in one that starts at
 * the first row that any query sees. Rows that must not be touched hold NaN. */
#ifndef TTT_TESTS_OP_ATTENTION_H
#define TTT_TESTS_OP_ATTENTION_H

#include "op_check.h"
#include "op_smooth.h"

static void attention_sizes(const OpCase *c, size_t *in, size_t *out)
{
    *out = in[0] = in[1] = in[2] = product(c->B, c->R, c->H * c->C);
    in[3] = in[4] = product(c->B, c->past, c->H * c->C);
}

static bool visible(const OpCase *c, int query, int row)
{
    int64_t q = c->position + query, k = c->position + row - c->past;
    if (k > q) return false;
    if (c->window > 0 && q - k >= c->window) return false;
    return c->local == 0 || k / c->local == q / c->local;
}

/* Row of a key or value: past ones and the span's own are two arrays. */
static const real *row_of(const OpCase *c, const real *past, const real *own, int b, int row)
{
    size_t width = (size_t)c->H * (size_t)c->C;
    if (row < c->past) return past + (size_t)(b * c->past + row) * width;
    return own + (size_t)(b * c->R + row - c->past) * width;
}

static void attention_reference(const OpCase *c, real *const *in, real *out)
{
    size_t width = (size_t)c->H * (size_t)c->C;
    for (int i = 0; i < c->B * c->R * c->H; i++) {
        int h = i % c->H, query = i / c->H % c->R, b = i / c->H / c->R;
        size_t at = (size_t)(b * c->R + query) * width + (size_t)(h * c->C);
        double sum = 0;
        memset(out + at, 0, (size_t)c->C * sizeof *out);
        for (int row = 0; row < c->past + c->R; row++) {
            if (!visible(c, query, row)) continue;
            const real *k = row_of(c, in[3], in[1], b, row) + h * c->C;
            const real *v = row_of(c, in[4], in[2], b, row) + h * c->C;
            double e = exp(inner_product(in[0] + at, k, (size_t)c->C) / sqrt((double)c->C));
            sum += e;
            for (int j = 0; j < c->C; j++) out[at + (size_t)j] += (real)e * v[j];
        }
        for (int j = 0; j < c->C; j++) out[at + (size_t)j] /= (real)sum;
    }
}

static int first_seen(const OpCase *c)
{
    int row = 0;
    while (!visible(c, 0, row)) row++;
    return row;
}

static size_t key_rows(const OpCase *c)
{
    return (size_t)(c->past + c->R + c->pad);
}

/* Past and own rows in one buffer (B, rows, H C); what no query sees is NaN. */
static real *joined(const OpCase *c, const real *past, const real *own)
{
    size_t width = (size_t)c->H * (size_t)c->C, rows = key_rows(c);
    real *all = reals((size_t)c->B * rows * width);
    for (size_t i = 0; i < (size_t)c->B * rows * width; i++) all[i] = (real)NAN;
    for (int b = 0; b < c->B; b++)
        for (int row = first_seen(c); row < c->past + c->R; row++)
            memcpy(all + ((size_t)b * rows + (size_t)row) * width, row_of(c, past, own, b, row),
                   width * sizeof *all);
    return all;
}

/* Back into the two arrays, or out of them; rows: of the gradient's buffer, which starts at shift.
 */
static void exchange_rows(const OpCase *c, real *all, real *past, real *own, bool out)
{
    size_t width = (size_t)c->H * (size_t)c->C, rows = key_rows(c) - (size_t)first_seen(c);
    for (int b = 0; b < c->B; b++)
        for (int row = first_seen(c); row < c->past + c->R; row++) {
            real *here = (real *)row_of(c, past, own, b, row);
            real *there = all + ((size_t)b * rows + (size_t)(row - first_seen(c))) * width;
            memcpy(out ? here : there, out ? there : here, width * sizeof *here);
        }
}

static void attention_run(Backend *be, const OpCase *c, Dual y, const Dual *in, Dual lse, Window *w)
{
    *w = (Window){.k = joined(c, in[3].v, in[1].v),
                  .v = joined(c, in[4].v, in[2].v),
                  .step = key_rows(c) * (size_t)c->H * (size_t)c->C,
                  .kt = in[1].t,
                  .vt = in[2].t,
                  .first = c->past,
                  .position = c->position,
                  .window = c->window,
                  .local = c->local};
    be->ops->attention_forward(be, y, lse, in[0], w, c->B, c->R, c->H, c->C);
}

static void attention_call(Backend *be, const OpCase *c, Dual y, const Dual *in)
{
    Window w;
    size_t queries = product(c->B, c->H, c->R);
    Dual lse = {reals(queries), reals(queries)};
    attention_run(be, c, y, in, lse, &w);
    shared_free(lse.v);
    shared_free(lse.t);
    shared_free((real *)w.k);
    shared_free((real *)w.v);
}

static void attention_back_call(Backend *be, const OpCase *c, const Dual *din, Dual dy,
                                const Dual *in)
{
    Window w;
    size_t width = (size_t)c->H * (size_t)c->C, rows = key_rows(c) - (size_t)first_seen(c);
    size_t queries = product(c->B, c->H, c->R), out = product(c->B, c->R, (int)width);
    bool dual = in[0].t || in[1].t || in[2].t;
    Dual lse = {reals(queries), reals(queries)};
    Dual y = {reals(out), dual ? reals(out) : NULL};
    attention_run(be, c, y, in, lse, &w);
    WindowGrad g = {
        .step = rows * width, .shift = first_seen(c), .own_dk = din[1].v, .own_dv = din[2].v};
    if (dy.t) {
        g.dk = reals((size_t)c->B * rows * width);
        g.dv = reals((size_t)c->B * rows * width);
        exchange_rows(c, g.dk, din[3].t, din[1].t, false);
        exchange_rows(c, g.dv, din[4].t, din[2].t, false);
    }
    be->ops->attention_backward(be, din[0], &g, dy, y, lse, in[0], &w, c->B, c->R, c->H, c->C);
    settle();
    if (dy.t) {
        exchange_rows(c, g.dk, din[3].t, din[1].t, true);
        exchange_rows(c, g.dv, din[4].t, din[2].t, true);
    }
    shared_free(lse.v);
    shared_free(lse.t);
    shared_free(y.v);
    shared_free(y.t);
    shared_free(g.dk);
    shared_free(g.dv);
    shared_free((real *)w.k);
    shared_free((real *)w.v);
}

static const Op op_attention = {.name = "attention",
                                .n_in = 5,
                                .tangents = true,
                                .dual = true,
                                .constant = 8 | 16,
                                .adds_t = 2 | 4 | 8 | 16,
                                .sizes = attention_sizes,
                                .reference = attention_reference,
                                .forward = attention_call,
                                .backward = attention_back_call};

#endif
