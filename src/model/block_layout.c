/* Where a block's activations lie. */
#include "model/block.h"

real *arena_take(Arena *a, size_t n)
{
    size_t aligned = (n + 15) / 16 * 16;
    real *p = a->base ? a->base + a->used : NULL;
    a->used += aligned;
    return p;
}

int32_t *arena_take_ids(Arena *a, size_t n)
{
    return (int32_t *)(void *)arena_take(a, reals_for(n * sizeof(int32_t)));
}

double *arena_take_doubles(Arena *a, size_t n)
{
    return (double *)(void *)arena_take(a, reals_for(n * sizeof(double)));
}

Dual arena_take_dual(Arena *a, size_t n, bool tangent)
{
    real *v = arena_take(a, n);
    return (Dual){v, tangent ? arena_take(a, n) : NULL};
}

bool block_has_prime(const Model *m, int layer)
{
    const ParamEntry *e = &m->table.entry[P_PRIME_W1];
    return e->present && layer >= e->first_layer;
}

static size_t act_elements(const Model *m, int act, size_t rows)
{
    const ModelConfig *c = &m->cfg.model;
    bool wide = act == A_PRIME_H1 || act == A_PRIME_H3 || act == A_H1 || act == A_H3;
    return rows * (size_t)(wide ? c->intermediate_size : c->hidden_size);
}

static bool act_present(const Model *m, int layer, int act)
{
    bool prime = act >= A_PRIME_H1 && act <= A_POST_PRIME;
    return act != A_X && (!prime || block_has_prime(m, layer));
}

void block_acts_layout(BlockActs *acts, Arena *a, const Model *m, int layer, int B, int M,
                       bool tangents)
{
    size_t rows = (size_t)B * (size_t)M;
    *acts = (BlockActs){0};
    for (int i = 0; i < N_ACTS; i++) {
        size_t n = act_elements(m, i, rows);
        if (!act_present(m, layer, i)) continue;
        if (i == A_K || i == A_V)
            acts->room[i].t = tangents ? arena_take(a, n) : NULL;
        else
            acts->room[i] = arena_take_dual(a, n, tangents);
    }
    acts->lse = arena_take_dual(a, rows * (size_t)m->cfg.model.num_attention_heads, tangents);
}

void block_acts_layout_again(BlockActs *acts, Arena *a, const Model *m, int layer, int B, int M,
                             const BlockActs *shared, ActSet again)
{
    size_t rows = (size_t)B * (size_t)M;
    *acts = (BlockActs){.again = again & ~act_bit(A_OUT)};
    for (int i = 0; i < N_ACTS; i++) {
        if (!act_present(m, layer, i) || i == A_K) continue;
        acts->room[i].v =
            again & act_bit((Act)i) ? shared->room[i].v : arena_take(a, act_elements(m, i, rows));
    }
    acts->lse.v = arena_take(a, rows * (size_t)m->cfg.model.num_attention_heads);
}

void block_shared_layout(BlockActs *shared, Arena *a, const Model *m, int layer, int B, int M,
                         ActSet again)
{
    *shared = (BlockActs){0};
    for (int i = 0; i < N_ACTS; i++)
        if ((again & act_bit((Act)i)) && act_present(m, layer, i))
            shared->room[i].v = arena_take(a, act_elements(m, i, (size_t)B * (size_t)M));
}

/* Sub-layers' outputs are read by the norms behind them and for the sums; without such norms the
 * sums are kept instead, and the outputs are not needed again. */
ActSet block_again_freely(const ModelConfig *c)
{
    ActSet sums = act_bit(A_MID) | act_bit(A_POST_PRIME);
    return act_bit(A_Q) |
           (c->post_norm ? sums : act_bit(A_PROJECTED) | act_bit(A_PRIME_OUT) | act_bit(A_F));
}

void block_scratch_layout(BlockScratch *s, Arena *a, const Model *m, int B, int M, bool tangents)
{
    size_t rows = (size_t)B * (size_t)M;
    for (int i = 0; i < ARRAY_LEN(s->c); i++)
        s->c[i] = arena_take_dual(a, rows * (size_t)m->cfg.model.hidden_size, tangents);
    for (int i = 0; i < ARRAY_LEN(s->f); i++)
        s->f[i] = arena_take_dual(a, rows * (size_t)m->cfg.model.intermediate_size, tangents);
}
