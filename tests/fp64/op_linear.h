/* References and calls of products with weights, for the table of test_ops.c; and what the other
 * operations' need too. */
#ifndef TTT_TESTS_OP_LINEAR_H
#define TTT_TESTS_OP_LINEAR_H

#include "op_check.h"

static size_t product(int a, int b, int c)
{
    return (size_t)a * (size_t)b * (size_t)c;
}

static Param param_in(const OpCase *c, Dual w, size_t n)
{
    return (Param){.v = w.v, .t = w.t, .step = c->per_sequence ? n : 0};
}

/* ------------------------------------------------------------------------------ linear */

static void linear_sizes(const OpCase *c, size_t *in, size_t *out)
{
    in[0] = product(c->B, c->R, c->C);
    in[1] = product(c->per_sequence ? c->B : 1, c->C, c->N);
    *out = product(c->B, c->R, c->N);
}

static void linear_reference(const OpCase *c, real *const *in, real *out)
{
    for (int row = 0; row < c->B * c->R; row++)
        for (int n = 0; n < c->N; n++) {
            const real *w = in[1] + (c->per_sequence ? product(row / c->R, c->C, c->N) : 0);
            real sum = 0;
            for (int k = 0; k < c->C; k++) sum += in[0][row * c->C + k] * w[k * c->N + n];
            out[row * c->N + n] = sum;
        }
}

static void linear_call(Backend *be, const OpCase *c, Dual y, const Dual *in)
{
    Param w = param_in(c, in[1], product(1, c->C, c->N));
    Input x = {.x = in[0]};
    linears_forward(be, &(Linear){.y = y, .w = w, .N = c->N}, 1, &x, (Dual){0}, c->B, c->R, c->C);
}

static void linear_back_call(Backend *be, const OpCase *c, const Dual *din, Dual dy, const Dual *in)
{
    size_t n = product(1, c->C, c->N);
    LinearGrad l = {dy, param_in(c, in[1], n), param_in(c, din[1], n), c->N};
    linears_backward(be, din[0], c->add, &l, 1, in[0], c->B, c->R, c->C);
}

static const Op op_linear = {.name = "linear",
                             .n_in = 2,
                             .tangents = true,
                             .dual = true,
                             .adds_v = 2,
                             .adds_t = 2,
                             .sizes = linear_sizes,
                             .reference = linear_reference,
                             .forward = linear_call,
                             .backward = linear_back_call};

/* Three products of one input, behind each other; `tied`: sequences share the second weight. */
enum { LINEARS = 3 };

static int linears_width(const OpCase *c, int i)
{
    return i == 1 ? 2 * c->N + 1 : c->N;
}

static bool linears_own(const OpCase *c, int i)
{
    return c->per_sequence && !(c->tied && i == 1);
}

static void linears_sizes(const OpCase *c, size_t *in, size_t *out)
{
    *out = 0;
    in[0] = product(c->B, c->R, c->C);
    for (int i = 0; i < LINEARS; i++) {
        in[1 + i] = product(linears_own(c, i) ? c->B : 1, c->C, linears_width(c, i));
        *out += product(c->B, c->R, linears_width(c, i));
    }
}

static void linears_reference(const OpCase *c, real *const *in, real *out)
{
    for (int i = 0; i < LINEARS; i++) {
        OpCase one = *c;
        one.N = linears_width(c, i);
        one.per_sequence = linears_own(c, i);
        linear_reference(&one, (real *const[]){in[0], in[1 + i]}, out);
        out += product(c->B, c->R, one.N);
    }
}

static real *further(real *x, size_t n)
{
    return x ? x + n : NULL;
}

/* The i-th part of the output, or of its gradient. */
static Dual linears_part(const OpCase *c, Dual y, int i)
{
    size_t at = 0;
    for (int k = 0; k < i; k++) at += product(c->B, c->R, linears_width(c, k));
    return (Dual){further(y.v, at), further(y.t, at)};
}

static Param linears_param(const OpCase *c, Dual w, int i)
{
    size_t n = product(1, c->C, linears_width(c, i));
    return (Param){.v = w.v, .t = w.t, .step = linears_own(c, i) ? n : 0};
}

/* What has no tangent by its input or weight is not asked for one. */
static void linears_call(Backend *be, const OpCase *c, Dual y, const Dual *in)
{
    Linear l[LINEARS];
    Input x = {.x = in[0]};
    for (int i = 0; i < LINEARS; i++) {
        int N = linears_width(c, i);
        Dual part = linears_part(c, y, i);
        Param w = linears_param(c, in[1 + i], i);
        if (part.t && !in[0].t && !w.t) {
            backend_zero(be, part.t, product(c->B, c->R, N));
            part.t = NULL;
        }
        l[i] = (Linear){.y = part, .w = w, .N = N};
    }
    linears_forward(be, l, LINEARS, &x, (Dual){0}, c->B, c->R, c->C);
}

static void linears_back_call(Backend *be, const OpCase *c, const Dual *din, Dual dy,
                              const Dual *in)
{
    LinearGrad l[LINEARS];
    for (int i = 0; i < LINEARS; i++)
        l[i] = (LinearGrad){linears_part(c, dy, i), linears_param(c, in[1 + i], i),
                            linears_param(c, din[1 + i], i), linears_width(c, i)};
    linears_backward(be, din[0], c->add, l, LINEARS, in[0], c->B, c->R, c->C);
}

static const Op op_linears = {.name = "linears",
                              .n_in = 1 + LINEARS,
                              .tangents = true,
                              .dual = true,
                              .adds_v = 14,
                              .adds_t = 14,
                              .sizes = linears_sizes,
                              .reference = linears_reference,
                              .forward = linears_call,
                              .backward = linears_back_call};

#endif
