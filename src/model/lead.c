/* The leading half: embedding and the blocks that no inner step touches; plain first-order
 * training. Its gradients travel in the tangent slot, where every outer gradient lives (ops/ops.h).
 */
#include "model/tail.h"

int lead_layers(const Model *m)
{
    bool meta = m->cfg.training.train_mode == TRAIN_META;
    return (int)(m->cfg.model.num_hidden_layers - (meta ? m->cfg.model.suffix_len : 0));
}

static Reach chunked_reach(const ModelConfig *c)
{
    switch (c->seq_modeling_block) {
    case SEQ_SWA:
        return (Reach){c->sliding_window_size, 0, c->sliding_window_size - 1};
    case SEQ_SWA_FULL:
        return (Reach){c->sliding_window_size, c->mini_batch_size, 0};
    default:
        return (Reach){0, c->mini_batch_size, 0};
    }
}

Reach tail_reach(const Model *m)
{
    return chunked_reach(&m->cfg.model);
}

Reach lead_reach(const Model *m)
{
    const ModelConfig *c = &m->cfg.model;
    if (m->cfg.training.train_mode != TRAIN_META) return chunked_reach(c);
    if (c->seq_modeling_block == SEQ_SELF_ATTENTION) return (Reach){0, 0, -1};
    return (Reach){c->sliding_window_size, 0, c->sliding_window_size - 1};
}

int64_t history_rows(const Model *m)
{
    int64_t lead = lead_layers(m) > 0 ? lead_reach(m).history : 0;
    int64_t tail = lead_layers(m) < m->cfg.model.num_hidden_layers ? tail_reach(m).history : 0;
    if (lead < 0 || tail < 0) return -1;
    return lead > tail ? lead : tail;
}

void kv_rows_layout(KvRows *r, Arena *a, const Model *m, int B, int64_t rows, bool gradients)
{
    size_t step = (size_t)rows * (size_t)m->cfg.model.hidden_size, n = (size_t)B * step;
    *r = (KvRows){.step = step, .k = arena_take(a, n), .v = arena_take(a, n)};
    if (!gradients) return;
    r->grad_step = step;
    r->dk = arena_take(a, n);
    r->dv = arena_take(a, n);
}

void kv_cache_layout(KvCache *kv, Arena *a, const Model *m, int B, int64_t rows)
{
    kv->rows = rows;
    for (int l = 0; l < kv->n_layers; l++) kv_rows_layout(&kv->layer[l], a, m, B, rows, false);
}

void kv_halves_layout(KvCache *kv, Arena *a, const Model *m, int B, int first)
{
    if (!backend_half_windows(m->be)) return;
    for (int l = first; l < kv->n_layers; l++) {
        size_t n = reals_for((size_t)B * kv->layer[l].step * sizeof(uint16_t));
        kv->layer[l].k16 = (uint16_t *)(void *)arena_take(a, n);
        kv->layer[l].v16 = (uint16_t *)(void *)arena_take(a, n);
    }
}

/* The last block has the most parts (prime MLPs where every block leads). A block is done with its
 * input before it writes its output, so both may lie in the same place. */
void lead_layout_shared(Lead *l, Arena *a, const Model *m, int B, int M)
{
    int n = lead_layers(m);
    l->embedded = arena_take(a, (size_t)B * (size_t)M * (size_t)m->cfg.model.hidden_size);
    if (n > 0) block_acts_layout(&l->acts[0], a, m, n - 1, B, M, false);
    for (int i = 1; i < n; i++) l->acts[i] = l->acts[0];
}

real *lead_forward(const Model *m, Lead *l, const KvCache *kv, const Span *s, BlockScratch *scratch,
                   const int32_t *tokens)
{
    Weights w = {.m = m};
    const ParamEntry *wte = &m->table.entry[P_WTE];
    m->be->ops->embed_forward(m->be, l->embedded, tokens, m->params + wte->offset, s->B * s->M,
                              (int)m->cfg.model.hidden_size);
    Dual x = {.v = l->embedded};
    for (int i = 0; i < lead_layers(m); i++) {
        BlockPass p = {.w = &w, .kv = &kv->layer[i], .span = s, .scratch = scratch, .layer = i};
        x = block_forward(&p, &l->acts[i], x);
    }
    return x.v;
}
