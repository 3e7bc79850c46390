/* Inside of the block: the small steps that its sub-layers (block_attention.c, block_mlp.c) are
 * made of, each a forward and, where it has one, its mirror image; and the sub-layers, for block.c.
 */
#ifndef TTT_MODEL_BLOCK_STEPS_H
#define TTT_MODEL_BLOCK_STEPS_H

#include "model/block.h"

/* x: input; returns the sum after the sub-layer, which lives in acts. */
Dual block_attention(const BlockPass *p, BlockActs *acts, Dual x);
/* dx: gradient of that sum; the sub-layer's own is added to `below`, the same or less of it. */
void block_attention_back(const BlockPass *p, BlockActs *acts, Dual dx, Dual below, Dual x);
void block_attention_again(const BlockPass *p, BlockActs *acts, Dual x);

/* The two MLPs differ in names only. */
typedef struct MlpNames {
    ParamId pre, w1, w2, w3, post;
    Act x, h1, h3, f, out;
} MlpNames;

Dual block_mlp(const BlockPass *p, BlockActs *acts, const MlpNames *m, Dual x);
void block_mlp_back(const BlockPass *p, BlockActs *acts, const MlpNames *m, Dual dx, Dual below,
                    Dual x);
void block_mlp_again(const BlockPass *p, BlockActs *acts, const MlpNames *m, Dual x);

/* ------------------------------------------------------------------------------ small steps */

/* Slots of a gradient follow those of the gradient that it comes from. */
static inline Dual like(Dual storage, Dual dy)
{
    return (Dual){dy.v ? storage.v : NULL, dy.t ? storage.t : NULL};
}

static inline const ModelConfig *config_of(const BlockPass *p)
{
    return &p->w->m->cfg.model;
}
static inline Backend *backend_of(const BlockPass *p)
{
    return p->w->m->be;
}

static inline size_t hidden_elements(const BlockPass *p)
{
    return (size_t)p->span->B * (size_t)p->span->M * (size_t)config_of(p)->hidden_size;
}

/* x (rows of `width`) is written next, for products of this group only. */
static inline void operand(const BlockPass *p, Dual x, int64_t width)
{
    size_t rows = (size_t)p->span->B * (size_t)p->span->M;
    product_operand(backend_of(p), x, p->span->M, rows * (size_t)width);
}

static inline void norm_back(const BlockPass *p, Dual dx, bool add, Dual dy, Dual x, ParamId id)
{
    const ModelConfig *c = config_of(p);
    backend_of(p)->ops->rmsnorm_backward(backend_of(p), dx, add, grad_of(p->g, id, p->layer), dy, x,
                                         weight_of(p->w, id, p->layer), p->span->B, p->span->M,
                                         (int)c->hidden_size, c->rms_norm_eps);
}

/* As enter, for products to do it. */
static inline Input input_of(const BlockPass *p, Dual x, ParamId pre)
{
    Input in = {.x = x, .eps = config_of(p)->rms_norm_eps};
    if (!config_of(p)->pre_norm) return in;
    in.norm = weight_of(p->w, pre, p->layer);
    in.normed = dual_when(p->scratch->c[0], x.t || in.norm.t);
    return in;
}

/* A product with a weight into `to`. */
static inline Linear linear_of(const BlockPass *p, Dual to, const Input *in, ParamId id, int N)
{
    Param w = weight_of(p->w, id, p->layer);
    return (Linear){.y = dual_when(to, in->x.t || in->norm.t || w.t), .w = w, .N = N};
}

static inline void linears(const BlockPass *p, const Linear *l, int n, const Input *in, Dual gated,
                           int K)
{
    linears_forward(backend_of(p), l, n, in, gated, p->span->B, p->span->M, K);
}

static inline Dual linear(const BlockPass *p, Dual to, Dual x, ParamId id, int K, int N)
{
    Input in = {.x = x, .eps = config_of(p)->rms_norm_eps};
    Linear l = linear_of(p, to, &in, id, N);
    linears(p, &l, 1, &in, (Dual){0}, K);
    return l.y;
}

static inline LinearGrad linear_grad_of(const BlockPass *p, Dual dy, ParamId id, int N)
{
    return (LinearGrad){dy, weight_of(p->w, id, p->layer), grad_of(p->g, id, p->layer), N};
}

static inline void linears_back(const BlockPass *p, Dual dx, const LinearGrad *l, int n, Dual x,
                                int K)
{
    linears_backward(backend_of(p), dx, false, l, n, x, p->span->B, p->span->M, K);
}

static inline void linear_back(const BlockPass *p, Dual dx, Dual dy, Dual x, ParamId id, int K,
                               int N)
{
    LinearGrad l = linear_grad_of(p, dy, id, N);
    linears_back(p, dx, &l, 1, x, K);
}

/* x + post(f) into `to`; the mirror image returns the gradient of f. */
static inline Residual residual_of(const BlockPass *p, Dual to, Dual x, Dual f, ParamId post)
{
    Param w = config_of(p)->post_norm ? weight_of(p->w, post, p->layer) : (Param){0};
    return (Residual){dual_when(to, x.t || f.t || w.t), x, w};
}

static inline Dual residual(const BlockPass *p, Dual to, Dual x, Dual f, ParamId post)
{
    const ModelConfig *c = config_of(p);
    Residual r = residual_of(p, to, x, f, post);
    residual_forward(backend_of(p), &r, f, p->span->B, p->span->M, (int)c->hidden_size,
                     c->rms_norm_eps);
    return r.y;
}

/* A sub-layer's last product, of `in` (rows of K), into act f, and the sum into act `to`, which is
 * returned. */
static inline Dual linear_residual(const BlockPass *p, BlockActs *acts, Act f, Dual in, ParamId id,
                                   int K, Act to, Dual x, ParamId post)
{
    Input from = {.x = in, .eps = config_of(p)->rms_norm_eps};
    Linear l = linear_of(p, acts->room[f], &from, id, (int)config_of(p)->hidden_size);
    Residual r = residual_of(p, acts->room[to], x, l.y, post);
    l.sum = &r;
    linears(p, &l, 1, &from, (Dual){0}, K);
    acts->act[f] = l.y;
    return acts->act[to] = r.y;
}

static inline Dual residual_back(const BlockPass *p, Dual dx, Dual f, ParamId post)
{
    if (!config_of(p)->post_norm) return dx;
    Dual df = like(p->scratch->c[1], dx);
    operand(p, df, config_of(p)->hidden_size);
    norm_back(p, df, false, dx, f, post);
    return df;
}

/* The sub-layer's input gradient dn through its pre-norm, added to the residual's dx. */
static inline void enter_back(const BlockPass *p, Dual dx, Dual dn, Dual x, ParamId pre)
{
    if (config_of(p)->pre_norm) {
        norm_back(p, dx, true, dn, x, pre);
        return;
    }
    Backend *be = backend_of(p);
    if (dx.v) be->ops->add(be, dx.v, dx.v, dn.v, hidden_elements(p));
    if (dx.t) be->ops->add(be, dx.t, dx.t, dn.t, hidden_elements(p));
}

/* What the sub-layer's first products, in one group, read. */
static inline Dual enter(const BlockPass *p, Dual x, ParamId pre)
{
    if (!config_of(p)->pre_norm) return x;
    const ModelConfig *c = config_of(p);
    Param w = weight_of(p->w, pre, p->layer);
    Dual y = dual_when(p->scratch->c[0], x.t || w.t);
    operand(p, y, c->hidden_size);
    backend_of(p)->ops->rmsnorm_forward(backend_of(p), y, (Dual){0}, x, w, p->span->B, p->span->M,
                                        (int)c->hidden_size, c->rms_norm_eps);
    return y;
}

#endif
