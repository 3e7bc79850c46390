/* Reference and calls of rope, with and without the norm of heads, for the table of test_ops.c: R
 * rows of H heads of C channels; padding rows between sequences, other ones in each slot. */
#ifndef TTT_TESTS_OP_ROPE_H
#define TTT_TESTS_OP_ROPE_H

#include "op_smooth.h"

static const double rope_theta = 100;

static void rope_sizes(const OpCase *c, size_t *in, size_t *out)
{
    *out = in[0] = product(c->B, c->R, c->H * c->C);
    in[1] = product(c->per_sequence ? c->B : 1, 1, c->C);
}

/* Sequences with tables of their own (c->tied) begin at positions of their own. */
static int64_t rope_position(const OpCase *c, int b)
{
    return c->position + (c->tied ? 1000 * b : 0);
}

static void rope_reference(const OpCase *c, real *const *in, real *out)
{
    for (int row = 0; row < c->B * c->R; row++)
        for (int h = 0; h < c->H; h++)
            for (int i = 0; i < c->C; i += 2) {
                size_t at = product(row, c->H, c->C) + product(1, h, c->C) + (size_t)i;
                double angle = (double)(rope_position(c, row / c->R) + row % c->R) *
                               pow(rope_theta, -(double)i / c->C);
                double x = (double)in[0][at], y = (double)in[0][at + 1];
                out[at] = (real)(x * cos(angle) - y * sin(angle));
                out[at + 1] = (real)(x * sin(angle) + y * cos(angle));
            }
}

/* Heads are rows of a norm. */
static void rope_norm_reference(const OpCase *c, real *const *in, real *out)
{
    OpCase heads = *c;
    size_t n = product(c->B, c->R, c->H * c->C);
    heads.R = c->R * c->H;
    real *normed = reals(n);
    rmsnorm_reference(&heads, in, normed);
    rope_reference(c, &normed, out);
    shared_free(normed);
}

/* What the calls need: a table, and sequences apart in each slot. */
typedef struct RopeRoom {
    Rope rope;
    Strided wide;
    size_t dense;
} RopeRoom;

static RopeRoom rope_room(Backend *be, const OpCase *c)
{
    size_t width = (size_t)c->H * (size_t)c->C, table = product(c->R, c->C, 1);
    RopeRoom r = {.dense = (size_t)c->R * width};
    r.wide.v_step = r.dense + width;
    r.wide.t_step = r.dense + 2 * width;
    r.wide.v = reals((size_t)c->B * r.wide.v_step);
    r.wide.t = reals((size_t)c->B * r.wide.t_step);
    real *tables = reals((size_t)c->B * table);
    for (int b = 0; b < c->B; b++)
        be->ops->rope_table(be, tables + (size_t)b * table, rope_position(c, b), c->R, c->C,
                            rope_theta);
    r.rope = (Rope){tables, c->tied ? table : 0, norm_eps};
    return r;
}

static void rope_room_free(RopeRoom *r)
{
    shared_free((void *)r->rope.table);
    shared_free(r->wide.v);
    shared_free(r->wide.t);
}

static void rope_forward_call(Backend *be, const OpCase *c, Dual y, Dual x, Param w)
{
    RopeRoom r = rope_room(be, c);
    Strided to = r.wide;
    if (!y.t) to.t = NULL;
    be->ops->rope_forward(be, &to, x, w, &r.rope, c->B, c->R, c->H, c->C);
    int width = c->H * c->C;
    be->ops->copy_rows(be, y.v, r.dense, to.v, to.v_step, c->B, c->R, width);
    if (y.t) be->ops->copy_rows(be, y.t, r.dense, to.t, to.t_step, c->B, c->R, width);
    settle();
    rope_room_free(&r);
}

/* As the block calls it: gradients of queries in place (N 1), of keys with
 * steps of their own. */
static void rope_backward_call(Backend *be, const OpCase *c, Dual dx, Param dw, Dual dy, Dual x,
                               Param w)
{
    RopeRoom r = rope_room(be, c);
    int width = c->H * c->C;
    bool in_place = c->N == 1;
    Strided from = in_place ? (Strided){dx.v, dx.t, r.dense, r.dense, NULL, NULL} : r.wide;
    if (dy.v) be->ops->copy_rows(be, from.v, from.v_step, dy.v, r.dense, c->B, c->R, width);
    if (dy.t) be->ops->copy_rows(be, from.t, from.t_step, dy.t, r.dense, c->B, c->R, width);
    if (!dy.v) from.v = NULL;
    if (!dy.t) from.t = NULL;
    be->ops->rope_backward(be, dx, dw, &from, x, w, &r.rope, c->B, c->R, c->H, c->C);
    settle();
    rope_room_free(&r);
}

static void rope_call(Backend *be, const OpCase *c, Dual y, const Dual *in)
{
    rope_forward_call(be, c, y, in[0], (Param){0});
}

static void rope_back_call(Backend *be, const OpCase *c, const Dual *din, Dual dy, const Dual *in)
{
    rope_backward_call(be, c, din[0], (Param){0}, dy, in[0], (Param){0});
}

static void rope_norm_call(Backend *be, const OpCase *c, Dual y, const Dual *in)
{
    rope_forward_call(be, c, y, in[0], param_in(c, in[1], (size_t)c->C));
}

static void rope_norm_back_call(Backend *be, const OpCase *c, const Dual *din, Dual dy,
                                const Dual *in)
{
    size_t n = (size_t)c->C;
    rope_backward_call(be, c, din[0], param_in(c, din[1], n), dy, in[0], param_in(c, in[1], n));
}

static const Op op_rope = {.name = "rope",
                           .n_in = 1,
                           .tangents = true,
                           .dual = true,
                           .sizes = rope_sizes,
                           .reference = rope_reference,
                           .forward = rope_call,
                           .backward = rope_back_call};

static const Op op_rope_norm = {.name = "norm and rope",
                                .n_in = 2,
                                .tangents = true,
                                .dual = true,
                                .adds_v = 2,
                                .adds_t = 2,
                                .sizes = rope_sizes,
                                .reference = rope_norm_reference,
                                .forward = rope_norm_call,
                                .backward = rope_norm_back_call};

#endif
