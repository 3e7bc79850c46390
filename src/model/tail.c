/* The half that the inner loop adapts: suffix blocks, ln_f, head and loss. */
#include "model/tail.h"

#include "backend/machine.h"

/* Of logits that a block of the head takes; with tangents it has two for a row of the chunk. */
static int head_rows(const Model *m, int64_t B, int64_t M, bool tangents)
{
    const Machine *on = m->be->machine;
    int64_t rows = on->head_logits / m->cfg.model.output_size, all = B * M * (tangents ? 2 : 1);
    if (rows > on->head_rows) rows = on->head_rows;
    if (rows > all) rows = all;
    return rows < 2 ? 2 : (int)rows;
}

static int tail_blocks(const Model *m)
{
    return (int)m->cfg.model.num_hidden_layers - lead_layers(m);
}

void tail_layout(Tail *t, Arena *a, const Model *m, int B, int M, bool gradient)
{
    size_t rows = (size_t)B * (size_t)M, hidden = rows * (size_t)m->cfg.model.hidden_size;
    bool tangents = gradient && m->inner.size > 0;
    for (int i = 0; i < tail_blocks(m); i++)
        block_acts_layout(&t->acts[i], a, m, lead_layers(m) + i, B, M, tangents);
    t->hidden = arena_take_dual(a, hidden, tangents);
    t->dx = arena_take_dual(a, hidden, gradient);
    t->seed = arena_take_dual(a, rows, true);
    t->rows = head_rows(m, B, M, tangents);
    t->logits = arena_take(a, (size_t)t->rows * (size_t)m->cfg.model.output_size);
    if (tangents)
        t->stack = arena_take(a, (size_t)t->rows * 3 / 2 * (size_t)m->cfg.model.hidden_size);
    t->nll = arena_take(a, rows);
}

/* The sub-layer (counted through the tail) of the first inner weight; past the last one when none.
 */
static int first_inner_part(const Model *m)
{
    static const int part_of[N_PARAMS] = {[P_W1] = PART_MLP,
                                          [P_W2] = PART_MLP,
                                          [P_W3] = PART_MLP,
                                          [P_FFN_NORM] = PART_MLP,
                                          [P_FFN_POST_NORM] = PART_MLP,
                                          [P_PRIME_W1] = PART_PRIME,
                                          [P_PRIME_W2] = PART_PRIME,
                                          [P_PRIME_W3] = PART_PRIME,
                                          [P_PRIME_NORM] = PART_PRIME,
                                          [P_PRIME_POST_NORM] =
                                              PART_PRIME}; /* others: attention, 0 */
    int first = PARTS * tail_blocks(m);
    for (int i = 0; i < m->inner.n; i++) {
        const InnerSlice *s = &m->inner.slice[i];
        if (!s->live || s->n_layers == 0) continue;
        int part = PARTS * (s->first_layer - lead_layers(m)) + part_of[s->id];
        if (part < first) first = part;
    }
    return first;
}

static Dual block_input(const TailPass *p, int block, real *x)
{
    return block == 0 ? (Dual){.v = x} : p->tail->acts[block - 1].act[A_OUT];
}

void tail_forward(const TailPass *p, real *x)
{
    const ModelConfig *c = &p->m->cfg.model;
    Tail *t = p->tail;
    int lead = lead_layers(p->m), n = tail_blocks(p->m);
    for (int i = 0; i < n; i++) {
        BlockPass b = {.w = &p->w,
                       .kv = &p->kv->layer[lead + i],
                       .span = p->span,
                       .scratch = p->scratch,
                       .layer = lead + i};
        block_forward(&b, &t->acts[i], block_input(p, i, x));
    }
    Dual last = block_input(p, n, x);
    if (n == 0) t->acts[0].act[A_OUT] = last; /* the head's input, for the backward pass */
    Param w = weight_of(&p->w, P_LN_F, 0);
    Dual y = dual_when(t->hidden, last.t || w.t);
    p->m->be->ops->rmsnorm_forward(p->m->be, y, (Dual){0}, last, w, p->span->B, p->span->M,
                                   (int)c->hidden_size, c->rms_norm_eps);
}

/* Only the first input is one caller's or another's; all else lies where the tail has it. */
void tail_resume(const TailPass *p, real *x)
{
    Tail *t = p->tail;
    t->acts[0].act[tail_blocks(p->m) ? A_X : A_OUT] = (Dual){.v = x};
}

static ParamId head_weight(const Model *m)
{
    return m->cfg.model.tie_word_embeddings ? P_WTE : P_LM_HEAD;
}

const real *head_unadapted(const Model *m, size_t *n)
{
    ParamId id = head_weight(m);
    for (int i = 0; i < m->inner.n; i++)
        if (m->inner.slice[i].live && m->inner.slice[i].id == id) return NULL;
    *n = m->table.entry[id].size;
    return m->params + m->table.entry[id].offset;
}

static bool anything_adapted_moves(const TailPass *p)
{
    return p->w.tangent && p->m->inner.size > 0;
}

/* Whether ln_f's output has a tangent under these weights. */
static bool hidden_has_tangent(const TailPass *p, Dual last)
{
    return last.t || weight_of(&p->w, P_LN_F, 0).t;
}

static Dual head_gradient(const TailPass *p, Dual last, const int32_t *target, Dual seed,
                          const Grads *g)
{
    const ModelConfig *c = &p->m->cfg.model;
    Tail *t = p->tail;
    Head h = {.B = p->span->B,
              .M = p->span->M,
              .C = (int)c->hidden_size,
              .V = (int)c->output_size,
              .tied = c->tie_word_embeddings,
              .x = dual_when(t->hidden, hidden_has_tangent(p, last)),
              .w = weight_of(&p->w, head_weight(p->m), 0),
              .target = target,
              .nll = t->nll,
              .seed = seed,
              .rows = t->rows,
              .logits = t->logits,
              .stack = t->stack};
    Dual dx = {seed.v ? t->dx.v : NULL, seed.t ? t->dx.t : NULL};
    bool known = p->head_dx && p->head_dx_known;
    if (seed.v || seed.t) {
        h.dx = (Dual){known ? NULL : dx.v, dx.t};
        h.dw = grad_of(g, head_weight(p->m), 0);
    }
    head_loss(p->m->be, &h);
    size_t n = (size_t)h.B * (size_t)h.M * (size_t)h.C;
    if (dx.v && known)
        backend_copy(p->m->be, dx.v, p->head_dx, n);
    else if (dx.v && p->head_dx)
        backend_copy(p->m->be, p->head_dx, dx.v, n);
    return dx;
}

static Dual seeds_for(const TailPass *p, const int32_t *target, bool inner_seed, double outer_seed)
{
    const Tail *t = p->tail;
    const ModelConfig *c = &p->m->cfg.model;
    Dual seed = {inner_seed ? t->seed.v : NULL, outer_seed > 0 ? t->seed.t : NULL};
    if (seed.v)
        p->m->be->ops->loss_seeds(p->m->be, seed.v, target, p->span->B, p->span->M,
                                  (int32_t)c->bos_token_id, 1);
    if (seed.t)
        p->m->be->ops->loss_seeds(p->m->be, seed.t, target, p->span->B, p->span->M,
                                  (int32_t)c->bos_token_id, outer_seed);
    return seed;
}

void tail_loss(const TailPass *p, const int32_t *target, bool inner_seed, double outer_seed,
               const Grads *g, real *dx_out)
{
    const ModelConfig *c = &p->m->cfg.model;
    Tail *t = p->tail;
    Backend *be = p->m->be;
    int lead = lead_layers(p->m), n = tail_blocks(p->m);
    CHECK(!(inner_seed && outer_seed > 0) || anything_adapted_moves(p), "two seeds, no tangent");
    Dual last = n ? t->acts[n - 1].act[A_OUT] : t->acts[0].act[A_OUT];
    Dual seed = seeds_for(p, target, inner_seed, outer_seed);
    Dual dx = head_gradient(p, last, target, seed, g);
    if (!dx.v && !dx.t) return;
    int stop = first_inner_part(p->m);
    Dual below = stop >= PARTS * n ? (Dual){.t = dx.t} : dx;
    be->ops->rmsnorm_backward(be, below, false, grad_of(g, P_LN_F, 0), dx, last,
                              weight_of(&p->w, P_LN_F, 0), p->span->B, p->span->M,
                              (int)c->hidden_size, c->rms_norm_eps);
    dx = below;
    for (int i = n - 1; i >= 0 && (dx.v || dx.t); i--) {
        BlockPass b = {.w = &p->w,
                       .g = g,
                       .kv = &p->kv->layer[lead + i],
                       .span = p->span,
                       .scratch = p->scratch,
                       .layer = lead + i};
        dx = block_backward(&b, &t->acts[i], dx, stop - PARTS * i);
    }
    if (dx_out)
        backend_copy(be, dx_out, dx.t,
                     (size_t)p->span->B * (size_t)p->span->M * (size_t)c->hidden_size);
}

void chunk_losses(const Model *m, double *loss, const real *nll, const int32_t *target, int B,
                  int M)
{
    for (int b = 0; b < B; b++) {
        double sum = 0;
        int64_t count = 0;
        for (int i = b * M; i < (b + 1) * M; i++) {
            if (target[i] == m->cfg.model.bos_token_id) continue;
            sum += (double)nll[i];
            count++;
        }
        loss[b] = count ? sum / (double)count : 0;
    }
}
