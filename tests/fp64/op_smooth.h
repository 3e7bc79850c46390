/* References and calls of the operations other than attention and products, for the table of
 * test_ops.c. The references are written from the formulas, one output at a time. */
#ifndef TTT_TESTS_OP_SMOOTH_H
#define TTT_TESTS_OP_SMOOTH_H

#include "op_linear.h"

/* ------------------------------------------------------------------------------ rmsnorm */

static const double norm_eps = 1e-3;

static void rmsnorm_sizes(const OpCase *c, size_t *in, size_t *out)
{
    *out = in[0] = product(c->B, c->R, c->C);
    in[1] = product(c->per_sequence ? c->B : 1, 1, c->C);
}

static void rmsnorm_reference(const OpCase *c, real *const *in, real *out)
{
    for (int row = 0; row < c->B * c->R; row++) {
        const real *x = in[0] + row * c->C, *w = in[1] + (c->per_sequence ? row / c->R * c->C : 0);
        double mean = inner_product(x, x, (size_t)c->C) / c->C;
        for (int i = 0; i < c->C; i++)
            out[row * c->C + i] = (real)((double)w[i] * (double)x[i] / sqrt(mean + norm_eps));
    }
}

static void rmsnorm_call(Backend *be, const OpCase *c, Dual y, const Dual *in)
{
    be->ops->rmsnorm_forward(be, y, (Dual){0}, in[0], param_in(c, in[1], (size_t)c->C), c->B, c->R,
                             c->C, norm_eps);
}

static void rmsnorm_back_call(Backend *be, const OpCase *c, const Dual *din, Dual dy,
                              const Dual *in)
{
    size_t n = (size_t)c->C;
    be->ops->rmsnorm_backward(be, din[0], c->add, param_in(c, din[1], n), dy, in[0],
                              param_in(c, in[1], n), c->B, c->R, c->C, norm_eps);
}

static const Op op_rmsnorm = {.name = "rmsnorm",
                              .n_in = 2,
                              .tangents = true,
                              .dual = true,
                              .adds_v = 2,
                              .adds_t = 2,
                              .sizes = rmsnorm_sizes,
                              .reference = rmsnorm_reference,
                              .forward = rmsnorm_call,
                              .backward = rmsnorm_back_call};

/* in[2] + norm(in[0]; in[1]), which lies where the sum goes if c->tied. */
static void norm_sum_sizes(const OpCase *c, size_t *in, size_t *out)
{
    rmsnorm_sizes(c, in, out);
    in[2] = *out;
}

static void norm_sum_reference(const OpCase *c, real *const *in, real *out)
{
    rmsnorm_reference(c, in, out);
    for (size_t i = 0; i < product(c->B, c->R, c->C); i++) out[i] += in[2][i];
}

static void norm_sum_call(Backend *be, const OpCase *c, Dual y, const Dual *in)
{
    size_t bytes = product(c->B, c->R, c->C) * sizeof(real);
    Dual plus = in[2];
    if (c->tied) plus.v = memcpy(y.v, plus.v, bytes);
    if (c->tied && plus.t) plus.t = memcpy(y.t, plus.t, bytes);
    be->ops->rmsnorm_forward(be, y, plus, in[0], param_in(c, in[1], (size_t)c->C), c->B, c->R, c->C,
                             norm_eps);
}

/* The sum passes its gradient on. */
static void norm_sum_back_call(Backend *be, const OpCase *c, const Dual *din, Dual dy,
                               const Dual *in)
{
    size_t bytes = product(c->B, c->R, c->C) * sizeof(real);
    rmsnorm_back_call(be, c, din, dy, in);
    if (din[2].v) memcpy(din[2].v, dy.v, bytes);
    if (din[2].t) memcpy(din[2].t, dy.t, bytes);
}

static const Op op_norm_sum = {.name = "rmsnorm and sum",
                               .n_in = 3,
                               .tangents = true,
                               .dual = true,
                               .adds_v = 2,
                               .adds_t = 2,
                               .sizes = norm_sum_sizes,
                               .reference = norm_sum_reference,
                               .forward = norm_sum_call,
                               .backward = norm_sum_back_call};

/* ------------------------------------------------------------------------------ swiglu */

static void swiglu_sizes(const OpCase *c, size_t *in, size_t *out)
{
    *out = in[0] = in[1] = product(c->B, c->R, c->C);
}

static void swiglu_reference(const OpCase *c, real *const *in, real *out)
{
    size_t n = product(c->B, c->R, c->C);
    for (size_t i = 0; i < n; i++) out[i] = in[0][i] / (1 + exp(-in[0][i])) * in[1][i];
}

static void swiglu_call(Backend *be, const OpCase *c, Dual y, const Dual *in)
{
    be->ops->swiglu_forward(be, y, in[0], in[1], product(c->B, c->R, c->C));
}

static void swiglu_back_call(Backend *be, const OpCase *c, const Dual *din, Dual dy, const Dual *in)
{
    be->ops->swiglu_backward(be, din[0], din[1], dy, in[0], in[1], product(c->B, c->R, c->C));
}

/* As the MLP calls it: dy's storage becomes db's. */
static void swiglu_back_in_place(Backend *be, const OpCase *c, const Dual *din, Dual dy,
                                 const Dual *in)
{
    size_t n = product(c->B, c->R, c->C);
    if (dy.v) memcpy(din[1].v, dy.v, n * sizeof *dy.v);
    if (dy.t) memcpy(din[1].t, dy.t, n * sizeof *dy.t);
    be->ops->swiglu_backward(be, din[0], din[1], din[1], in[0], in[1], n);
}

static const Op op_swiglu = {.name = "swiglu",
                             .n_in = 2,
                             .tangents = true,
                             .dual = true,
                             .sizes = swiglu_sizes,
                             .reference = swiglu_reference,
                             .forward = swiglu_call,
                             .backward = swiglu_back_call};

static const Op op_swiglu_in_place = {.name = "swiglu in place",
                                      .n_in = 2,
                                      .tangents = true,
                                      .dual = true,
                                      .sizes = swiglu_sizes,
                                      .reference = swiglu_reference,
                                      .forward = swiglu_call,
                                      .backward = swiglu_back_in_place};

/* ------------------------------------------------------------------------------ embedding
 * R tokens of a vocabulary of N, each of which may come several times. */

static void embed_tokens(const OpCase *c, int32_t *tokens)
{
    for (int i = 0; i < c->R; i++) tokens[i] = (int32_t)((7 * i + i * i / 3) % c->N);
}

static void embed_sizes(const OpCase *c, size_t *in, size_t *out)
{
    in[0] = product(1, c->N, c->C);
    *out = product(1, c->R, c->C);
}

static void embed_reference(const OpCase *c, real *const *in, real *out)
{
    int32_t *tokens = ids((size_t)c->R);
    embed_tokens(c, tokens);
    for (int i = 0; i < c->R; i++)
        for (int k = 0; k < c->C; k++) out[i * c->C + k] = in[0][tokens[i] * c->C + k];
    shared_free(tokens);
}

static void embed_call(Backend *be, const OpCase *c, Dual y, const Dual *in)
{
    int32_t *tokens = ids((size_t)c->R);
    embed_tokens(c, tokens);
    be->ops->embed_forward(be, y.v, tokens, in[0].v, c->R, c->C);
    shared_free(tokens);
}

static void embed_back_call(Backend *be, const OpCase *c, const Dual *din, Dual dy, const Dual *in)
{
    (void)in;
    int32_t *tokens = ids((size_t)c->R);
    embed_tokens(c, tokens);
    if (dy.v) be->ops->embed_backward(be, din[0].v, tokens, dy.v, c->R, c->C);
    if (dy.t) be->ops->embed_backward(be, din[0].t, tokens, dy.t, c->R, c->C);
    shared_free(tokens);
}

static const Op op_embed = {.name = "embed",
                            .n_in = 1,
                            .adds_v = 1,
                            .adds_t = 1,
                            .sizes = embed_sizes,
                            .reference = embed_reference,
                            .forward = embed_call,
                            .backward = embed_back_call};

/* ------------------------------------------------------------------------------ cross entropy
 * R rows of N logits; y is the row's NLL, so that dy is the seed. */

static void targets_of(const OpCase *c, int32_t *target, int rows)
{
    for (int i = 0; i < rows; i++) target[i] = (int32_t)((5 * i + 3) % c->N);
}

static void cross_entropy_sizes(const OpCase *c, size_t *in, size_t *out)
{
    in[0] = product(1, c->R, c->N);
    *out = (size_t)c->R;
}

static real nll_reference(const real *z, int target, int V)
{
    double sum = 0;
    for (int j = 0; j < V; j++) sum += exp((double)z[j]);
    return (real)(log(sum) - (double)z[target]);
}

static void cross_entropy_reference(const OpCase *c, real *const *in, real *out)
{
    for (int i = 0; i < c->R; i++)
        out[i] = nll_reference(in[0] + i * c->N, (5 * i + 3) % c->N, c->N);
}

static void cross_entropy_run(Backend *be, const OpCase *c, real *nll, Dual z, Dual seed)
{
    int32_t *target = ids((size_t)c->R);
    targets_of(c, target, c->R);
    be->ops->cross_entropy(be, nll, z, seed, target, c->R, c->N);
    shared_free(target);
}

static void cross_entropy_call(Backend *be, const OpCase *c, Dual y, const Dual *in)
{
    cross_entropy_run(be, c, y.v, (Dual){.v = in[0].v}, (Dual){NULL, NULL});
}

static void cross_entropy_back_call(Backend *be, const OpCase *c, const Dual *din, Dual dy,
                                    const Dual *in)
{
    size_t n = product(1, c->R, c->N);
    real *nll = reals((size_t)c->R);
    Dual z = {copied(in[0].v, n), in[0].t ? copied(in[0].t, n) : NULL};
    cross_entropy_run(be, c, nll, z, dy);
    settle();
    if (din[0].v) memcpy(din[0].v, z.v, n * sizeof *z.v);
    if (din[0].t) memcpy(din[0].t, z.t ? z.t : z.v, n * sizeof *z.v);
    shared_free(nll);
    shared_free(z.v);
    shared_free(z.t);
}

static const Op op_cross_entropy = {.name = "cross entropy",
                                    .n_in = 1,
                                    .dual = true,
                                    .needs_tangent = true,
                                    .sizes = cross_entropy_sizes,
                                    .reference = cross_entropy_reference,
                                    .forward = cross_entropy_call,
                                    .backward = cross_entropy_back_call};

/* ------------------------------------------------------------------------------ head
 * in: x (B, R, C), W; H: rows of logits at a time. */

static void head_sizes(const OpCase *c, size_t *in, size_t *out)
{
    in[0] = product(c->B, c->R, c->C);
    in[1] = product(c->per_sequence ? c->B : 1, c->C, c->N);
    *out = product(c->B, c->R, 1);
}

static void head_reference(const OpCase *c, real *const *in, real *out)
{
    real *z = reals((size_t)c->N);
    for (int row = 0; row < c->B * c->R; row++) {
        const real *w = in[1] + (c->per_sequence ? product(row / c->R, c->C, c->N) : 0);
        for (int n = 0; n < c->N; n++) {
            z[n] = 0;
            for (int k = 0; k < c->C; k++)
                z[n] += in[0][row * c->C + k] * (c->tied ? w[n * c->C + k] : w[k * c->N + n]);
        }
        out[row] = nll_reference(z, (5 * row + 3) % c->N, c->N);
    }
    shared_free(z);
}

static void head_run(Backend *be, const OpCase *c, real *nll, const Dual *din, Dual dy,
                     const Dual *in)
{
    int rows = 2 * c->H;
    size_t weights = product(1, c->C, c->N);
    int32_t *target = ids(product(c->B, c->R, 1));
    targets_of(c, target, c->B * c->R);
    Head h = {.B = c->B,
              .M = c->R,
              .C = c->C,
              .V = c->N,
              .tied = c->tied,
              .x = in[0],
              .w = param_in(c, in[1], weights),
              .target = target,
              .nll = nll,
              .seed = dy,
              .rows = rows,
              .logits = reals(product(1, rows, c->N)),
              .stack = reals(product(3, c->H, c->C))};
    if (din) {
        h.dx = din[0];
        h.dw = param_in(c, din[1], weights);
    }
    head_loss(be, &h);
    shared_free(target);
    shared_free(h.logits);
    shared_free(h.stack);
}

static void head_call(Backend *be, const OpCase *c, Dual y, const Dual *in)
{
    head_run(be, c, y.v, NULL, (Dual){NULL, NULL}, in);
}

static void head_back_call(Backend *be, const OpCase *c, const Dual *din, Dual dy, const Dual *in)
{
    real *nll = reals(product(c->B, c->R, 1));
    head_run(be, c, nll, din, dy, in);
    shared_free(nll);
}

static const Op op_head = {.name = "head",
                           .n_in = 2,
                           .dual = true,
                           .needs_tangent = true,
                           .adds_v = 2,
                           .adds_t = 2,
                           .sizes = head_sizes,
                           .reference = head_reference,
                           .forward = head_call,
                           .backward = head_back_call};

/* ------------------------------------------------------------------------------ inner step
 * in: w, g (B, C); y = w' */

static void inner_sgd_sizes(const OpCase *c, size_t *in, size_t *out)
{
    *out = in[0] = in[1] = product(c->B, 1, c->C);
}

static void inner_sgd_reference(const OpCase *c, real *const *in, real *out)
{
    for (int b = 0; b < c->B; b++) {
        const real *g = in[1] + b * c->C;
        double norm = sqrt(inner_product(g, g, (size_t)c->C)), factor = 1;
        if (c->clip > 0 && norm >= c->clip) factor = c->clip / norm;
        for (int i = 0; i < c->C; i++)
            out[b * c->C + i] = in[0][b * c->C + i] - (real)(c->lr * factor) * g[i];
    }
}

static void inner_sgd_call(Backend *be, const OpCase *c, Dual y, const Dual *in)
{
    real *norm = reals((size_t)c->B);
    double *lr = shared_double(c->lr);
    be->ops->inner_sgd_forward(be, y.v, norm, in[0].v, in[1].v, c->B, (size_t)c->C, lr, c->clip,
                               NULL);
    settle();
    for (int b = 0; b < c->B; b++) {
        const real *g = in[1].v + b * c->C;
        expect_below(c, "norm", fabs((double)norm[b] - sqrt(inner_product(g, g, (size_t)c->C))),
                     1e-12);
    }
    shared_free(norm);
    shared_free(lr);
}

static void inner_sgd_back_call(Backend *be, const OpCase *c, const Dual *din, Dual dy,
                                const Dual *in)
{
    size_t n = product(c->B, 1, c->C);
    real *norm = reals((size_t)c->B), *next = reals(n);
    double *lr = shared_double(c->lr);
    real *v = dy.v ? dy.v : dy.t, *dw = dy.v ? din[0].v : din[0].t, *u = dy.v ? din[1].v : din[1].t;
    be->ops->inner_sgd_forward(be, next, norm, in[0].v, in[1].v, c->B, (size_t)c->C, lr, c->clip,
                               NULL);
    be->ops->inner_sgd_backward(be, u, v, in[1].v, norm, c->B, (size_t)c->C, lr, c->clip);
    memcpy(dw, v, n * sizeof *v);
    shared_free(norm);
    shared_free(next);
    shared_free(lr);
}

static const Op op_inner_sgd = {.name = "inner sgd",
                                .n_in = 2,
                                .sizes = inner_sgd_sizes,
                                .reference = inner_sgd_reference,
                                .forward = inner_sgd_call,
                                .backward = inner_sgd_back_call};

#endif
