/* The block's MLPs, prime and plain: see block.h. */
#include "model/block_steps.h"

static Dual hidden_of(const BlockPass *p, Dual h1, Dual h3)
{
    return dual_when(p->scratch->f[0], h1.t || h3.t);
}

/* h1, h3 and, if it is wanted, what mlp_hidden makes of them. */
static Dual mlp_inputs(const BlockPass *p, BlockActs *acts, const MlpNames *m, Dual x, bool hidden)
{
    int C = (int)config_of(p)->hidden_size, F = (int)config_of(p)->intermediate_size;
    Input in = input_of(p, x, m->pre);
    Linear l[] = {linear_of(p, acts->room[m->h1], &in, m->w1, F),
                  linear_of(p, acts->room[m->h3], &in, m->w3, F)};
    Dual gated = hidden ? hidden_of(p, l[0].y, l[1].y) : (Dual){0};
    operand(p, gated, F);
    linears(p, l, ARRAY_LEN(l), &in, gated, C);
    acts->act[m->h1] = l[0].y;
    acts->act[m->h3] = l[1].y;
    return gated;
}

static Dual mlp_hidden(const BlockPass *p, const BlockActs *acts, const MlpNames *m)
{
    Backend *be = backend_of(p);
    Dual h1 = acts->act[m->h1], h3 = acts->act[m->h3], hidden = hidden_of(p, h1, h3);
    operand(p, hidden, config_of(p)->intermediate_size);
    size_t rows = (size_t)p->span->B * (size_t)p->span->M;
    be->ops->swiglu_forward(be, hidden, h1, h3, rows * (size_t)config_of(p)->intermediate_size);
    return hidden;
}

Dual block_mlp(const BlockPass *p, BlockActs *acts, const MlpNames *m, Dual x)
{
    gemm_group_begin(backend_of(p));
    Dual hidden = mlp_inputs(p, acts, m, x, true);
    Dual y = linear_residual(p, acts, m->f, hidden, m->w2, (int)config_of(p)->intermediate_size,
                             m->out, x, m->post);
    gemm_group_end(backend_of(p));
    return y;
}

void block_mlp_back(const BlockPass *p, BlockActs *acts, const MlpNames *m, Dual dx, Dual below,
                    Dual x)
{
    int C = (int)config_of(p)->hidden_size, F = (int)config_of(p)->intermediate_size;
    Backend *be = backend_of(p);
    BlockScratch *s = p->scratch;
    size_t wide = (size_t)p->span->B * (size_t)p->span->M * (size_t)F;
    gemm_group_begin(be);
    Dual h1 = acts->act[m->h1], h3 = acts->act[m->h3], hidden = mlp_hidden(p, acts, m);
    Dual df = residual_back(p, dx, acts->act[m->f], m->post);
    Dual dh1 = like(s->f[1], dx), dh3 = like(s->f[2], dx);
    linear_back(p, dh3, df, hidden, m->w2, F, C);
    operand(p, dh1, F);
    operand(p, dh3, F);
    be->ops->swiglu_backward(be, dh1, dh3, dh3, h1, h3, wide);
    Dual n = enter(p, x, m->pre), dn = like(s->c[2], dx);
    Param pre = grad_of(p->g, m->pre, p->layer);
    if (!below.v && !pre.v && !weight_of(p->w, m->pre, p->layer).t) dn.v = NULL;
    LinearGrad l[] = {linear_grad_of(p, dh1, m->w1, F), linear_grad_of(p, dh3, m->w3, F)};
    linears_back(p, dn, l, ARRAY_LEN(l), n, C);
    gemm_group_end(be);
    enter_back(p, below, dn, x, m->pre);
}

void block_mlp_again(const BlockPass *p, BlockActs *acts, const MlpNames *m, Dual x)
{
    bool sum = acts->again & act_bit(m->out);
    if (acts->again & act_bit(m->h1)) mlp_inputs(p, acts, m, x, false);
    int C = (int)config_of(p)->hidden_size, F = (int)config_of(p)->intermediate_size;
    if ((acts->again & act_bit(m->f)) && (sum || config_of(p)->post_norm))
        acts->act[m->f] = linear(p, acts->room[m->f], mlp_hidden(p, acts, m), m->w2, F, C);
    if (sum) residual(p, acts->room[m->out], x, acts->act[m->f], m->post);
}
