/* The block: see block.h. Every sub-layer is a forward and, below it, the same lines upside down.
 */
#include "model/block_steps.h"

Param weight_of(const Weights *w, ParamId id, int layer)
{
    const ParamEntry *e = &w->m->table.entry[id];
    ptrdiff_t at = w->fast ? inner_offset(&w->m->inner, id, layer) : -1;
    if (at >= 0)
        return (Param){w->fast + at, w->tangent ? w->tangent + at : NULL, w->m->inner.size,
                       w->shift};
    return (Param){.v =
                       w->m->params + e->offset + (size_t)(layer - e->first_layer) * e->layer_size};
}

Param grad_of(const Grads *g, ParamId id, int layer)
{
    const ParamEntry *e = &g->m->table.entry[id];
    ptrdiff_t at = g->use_inner ? inner_offset(&g->m->inner, id, layer) : -1;
    if (at >= 0)
        return (Param){.v = g->inner ? g->inner + at : NULL,
                       .t = g->inner_t ? g->inner_t + at : NULL,
                       .step = g->m->inner.size};
    size_t offset = e->offset + (size_t)(layer - e->first_layer) * e->layer_size;
    return (Param){.t = g->outer ? g->outer + offset : NULL};
}

static const MlpNames prime_mlp = {P_PRIME_NORM,      P_PRIME_W1,  P_PRIME_W2, P_PRIME_W3,
                                   P_PRIME_POST_NORM, A_MID,       A_PRIME_H1, A_PRIME_H3,
                                   A_PRIME_OUT,       A_POST_PRIME};
static const MlpNames plain_mlp = {P_FFN_NORM,   P_W1, P_W2, P_W3, P_FFN_POST_NORM,
                                   A_POST_PRIME, A_H1, A_H3, A_F,  A_OUT};

Dual block_forward(const BlockPass *p, BlockActs *acts, Dual x)
{
    acts->act[A_X] = x;
    x = block_attention(p, acts, x);
    if (block_has_prime(p->w->m, p->layer)) x = block_mlp(p, acts, &prime_mlp, x);
    acts->act[A_POST_PRIME] = x;
    return acts->act[A_OUT] = block_mlp(p, acts, &plain_mlp, x);
}

/* dx below a sub-layer: at and under the first inner one, only the tangent slot is followed. */
static Dual below_part(Dual dx, int part, int stop)
{
    return part <= stop ? (Dual){.t = dx.t} : dx;
}

Dual block_backward(const BlockPass *p, BlockActs *acts, Dual dx, int stop)
{
    Dual below = below_part(dx, PART_MLP, stop);
    gradient_group_begin(backend_of(p));
    block_mlp_back(p, acts, &plain_mlp, dx, below, acts->act[A_POST_PRIME]);
    dx = below;
    if (block_has_prime(p->w->m, p->layer)) {
        below = below_part(dx, PART_PRIME, stop);
        if (dx.v || dx.t) block_mlp_back(p, acts, &prime_mlp, dx, below, acts->act[A_MID]);
        dx = below;
    }
    below = below_part(dx, PART_ATTENTION, stop);
    if (dx.v || dx.t) block_attention_back(p, acts, dx, below, acts->act[A_X]);
    gradient_group_end(backend_of(p));
    return below;
}

void block_again(const BlockPass *p, BlockActs *acts, Dual x)
{
    acts->act[A_X] = x;
    block_attention_again(p, acts, x);
    if (block_has_prime(p->w->m, p->layer)) block_mlp_again(p, acts, &prime_mlp, acts->act[A_MID]);
    block_mlp_again(p, acts, &plain_mlp, acts->act[A_POST_PRIME]);
}
