/* Readers side by side: see reader.h. One row of each goes through the blocks as one sequence of
 * many; what is their own, they reach by its distance from the first reader's, because readers of
 * one model lie in memory alike. */
#include <stdlib.h>

#include "model/reader_state.h"

typedef struct Group {
    Reader *const *r;
    int n;
    ReaderRoom *room;
    ptrdiff_t *window, *fast; /* (n) distances */
    int *first;               /* (n) */
    int64_t *position;        /* (n) */
    Places places;
} Group;

/* In elements; of two arrays that need not be parts of one. Both are aligned to cache lines. */
static ptrdiff_t distance(const real *from, const real *to)
{
    return (ptrdiff_t)((intptr_t)to - (intptr_t)from) / (ptrdiff_t)sizeof(real);
}

static void group_open(Group *g, Reader *const *r, int n)
{
    size_t size = (size_t)n;
    *g = (Group){.r = r, .n = n, .room = reader_room(r[0]->m, n)};
    g->window = malloc(size * sizeof *g->window);
    g->fast = malloc(size * sizeof *g->fast);
    g->first = malloc(size * sizeof *g->first);
    g->position = malloc(size * sizeof *g->position);
    CHECK(g->window && g->fast && g->first && g->position, "out of memory");
    for (int b = 0; b < n; b++) {
        g->window[b] = distance(r[0]->memory, r[b]->memory);
        g->fast[b] = distance(r[0]->fast, r[b]->fast);
        g->position[b] = r[b]->counters.tokens;
        g->first[b] = (int)(g->position[b] - r[b]->kv_base);
    }
    g->places = (Places){.shift = g->window, .first = g->first, .position = g->position};
}

static void group_close(Group *g)
{
    free(g->window);
    free(g->fast);
    free(g->first);
    free(g->position);
}

static Weights group_weights(const Group *g)
{
    const Model *m = g->r[0]->m;
    return (Weights){.m = m, .fast = m->inner.size ? g->r[0]->fast : NULL, .shift = g->fast};
}

static void place_rope(const Group *g)
{
    const Model *m = g->r[0]->m;
    int D = (int)(m->cfg.model.hidden_size / m->cfg.model.num_attention_heads);
    for (int b = 0; b < g->n; b++)
        m->be->ops->rope_table(m->be, g->room->rope + (size_t)b * (size_t)D, g->position[b], 1, D,
                               m->cfg.model.rope_theta);
}

static Span group_span(const Group *g, Reach reach)
{
    return (Span){.B = g->n,
                  .M = 1,
                  .window = reach.window,
                  .local = reach.local,
                  .rope = g->room->rope,
                  .places = &g->places};
}

static void group_step(const Group *g, const int32_t *tokens)
{
    Reader *first = g->r[0];
    const Model *m = first->m;
    size_t C = (size_t)m->cfg.model.hidden_size;
    ReaderRoom *room = g->room;
    Span lead = group_span(g, lead_reach(m)), tail = group_span(g, tail_reach(m));
    place_rope(g);
    profile_phase(m->be, PHASE_LEAD_FORWARD);
    real *x =
        lead_forward(m, &room->lead, &first->kv, &lead, &room->scratch, room_ids(m, tokens, g->n));
    TailPass p = {.m = m,
                  .tail = &room->tail,
                  .kv = &first->kv,
                  .span = &tail,
                  .scratch = &room->scratch,
                  .w = group_weights(g)};
    profile_phase(m->be, PHASE_TAIL_FORWARD);
    tail_forward(&p, x);
    profile_phase(m->be, PHASE_OTHER);
    for (int b = 0; b < g->n; b++)
        reader_row_done(g->r[b], tokens[b], x + (size_t)b * C, room->tail.hidden.v + (size_t)b * C);
}

static int check_readers(Reader *const *r, int n, Err *err)
{
    for (int b = 0; b < n; b++) {
        if (r[b]->m != r[0]->m)
            return err_set(err, "reader %d belongs to another model than reader 0", b);
        for (int a = 0; a < b; a++)
            if (r[a] == r[b]) return err_set(err, "readers %d and %d are the same one", a, b);
    }
    return 0;
}

int readers_feed(Reader *const *r, int n, const int32_t *tokens, Err *err)
{
    if (n == 0) return 0;
    if (n == 1) return reader_feed(r[0], tokens, 1, NULL, err);
    TRY(check_readers(r, n, err));
    for (int b = 0; b < n; b++)
        if (reader_check_tokens(r[b], tokens + b, 1, err) < 0)
            return err_wrap(err, "reader %d of %d", b, n);
    for (int b = 0; b < n; b++)
        if (r[b]->fill == r[b]->chunk && reader_learn_pieces(r[b], tokens[b], err) < 0)
            return err_wrap(err, "reader %d of %d", b, n);
    Group g;
    group_open(&g, r, n);
    group_step(&g, tokens);
    group_close(&g);
    return 0;
}

/* Those whose logits are not known yet, all at once where they share the head. */
static void group_logits(Reader *const *r, int n)
{
    const Model *m = r[0]->m;
    const ModelConfig *c = &m->cfg.model;
    Group g;
    group_open(&g, r, n);
    Weights w = group_weights(&g);
    Head h = {.C = (int)c->hidden_size,
              .V = (int)c->output_size,
              .tied = c->tie_word_embeddings,
              .w = weight_of(&w, c->tie_word_embeddings ? P_WTE : P_LM_HEAD, 0)};
    size_t C = (size_t)h.C, V = (size_t)h.V;
    for (int b = 0; b < n; b++)
        backend_copy(m->be, g.room->hidden + (size_t)b * C, r[b]->last_hidden, C);
    if (h.w.step == 0) head_logits(m->be, &h, 0, g.room->logits, g.room->hidden, n);
    for (int b = 0; b < n; b++) {
        real *own = g.room->logits + (size_t)b * V;
        if (h.w.step) head_logits(m->be, &h, b, own, r[b]->last_hidden, 1);
        backend_copy(m->be, r[b]->logits, own, V);
        r[b]->logits_known = true;
    }
    group_close(&g);
}

int readers_logprobs(Reader *const *r, int n, float *out, Err *err)
{
    bool known = true;
    TRY(check_readers(r, n, err));
    for (int b = 0; b < n; b++) known = known && (r[b]->logits_known || !r[b]->counters.tokens);
    if (n > 1 && !known) group_logits(r, n);
    for (int b = 0; b < n; b++)
        TRY(reader_logprobs(r[b], out + (size_t)b * (size_t)r[b]->m->cfg.model.output_size, err));
    return 0;
}
