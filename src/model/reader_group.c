/* Readers side by side: see reader.h. One row of each goes through the blocks as one sequence of
 * many; what is their own, they reach by its distance from the first reader's, because readers of
 * one model lie in memory alike. */
#include <string.h>

#include "model/reader_state.h"

typedef struct Group {
    Reader *const *r;
    int n;
    ReaderRoom *room;
    Places places; /* in backend memory */
} Group;

/* In elements; of two arrays that need not be parts of one. Both are aligned to cache lines. */
static ptrdiff_t distance(const real *from, const real *to)
{
    return (ptrdiff_t)((intptr_t)to - (intptr_t)from) / (ptrdiff_t)sizeof(real);
}

static int room_for(Model *m, int streams, Err *err)
{
    return reader_room(m, streams) ? 0 : backend_wait(m->be, err);
}

/* The room is there: room_for saw to it. */
static Group group_of(Reader *const *r, int n)
{
    ReaderRoom *room = r[0]->m->room;
    for (int b = 0; b < n; b++) {
        room->staged.shift[b] = distance(r[0]->memory, r[b]->memory);
        room->staged.position[b] = r[b]->counters.tokens;
        room->staged.first[b] = (int)(r[b]->counters.tokens - r[b]->kv_base);
        room->fast[b] = distance(r[0]->fast, r[b]->fast);
    }
    return (Group){.r = r,
                   .n = n,
                   .room = room,
                   .places = {room->step.shift, room->step.first, room->step.position}};
}

static Weights group_weights(const Group *g)
{
    const Model *m = g->r[0]->m;
    return (Weights){.m = m, .fast = m->inner.size ? g->r[0]->fast : NULL, .shift = g->room->fast};
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

/* All that a step computes; what it needs to know beside the weights is in room->step. */
static void group_passes(void *context)
{
    const Group *g = context;
    Reader *first = g->r[0];
    const Model *m = first->m;
    ReaderRoom *room = g->room;
    Span lead = group_span(g, lead_reach(m)), tail = group_span(g, tail_reach(m));
    int D = (int)(m->cfg.model.hidden_size / m->cfg.model.num_attention_heads);
    m->be->ops->rope_table_at(m->be, room->rope, room->step.position, g->n, D,
                              m->cfg.model.rope_theta);
    profile_phase(m->be, PHASE_LEAD_FORWARD);
    room->x = lead_forward(m, &room->lead, &first->kv, &lead, &room->scratch, room->step.ids);
    TailPass p = {.m = m,
                  .tail = &room->tail,
                  .kv = &first->kv,
                  .span = &tail,
                  .scratch = &room->scratch,
                  .w = group_weights(g)};
    profile_phase(m->be, PHASE_TAIL_FORWARD);
    tail_forward(&p, room->x);
    profile_phase(m->be, PHASE_OTHER);
}

/* A record is of these readers in this order. */
static void group_recognise(const Group *g)
{
    ReaderRoom *room = g->room;
    bool same = room->n_together == g->n;
    for (int b = 0; same && b < g->n; b++) same = room->together[b] == g->r[b]->memory;
    if (same) return;
    repeat_forget(g->r[0]->m->be, &room->repeat);
    room->n_together = g->n;
    for (int b = 0; b < g->n; b++) room->together[b] = g->r[b]->memory;
}

static void group_step(Group *g, const int32_t *tokens)
{
    const Model *m = g->r[0]->m;
    ReaderRoom *room = g->room;
    size_t C = (size_t)m->cfg.model.hidden_size;
    memcpy(room->staged.ids, tokens, (size_t)g->n * sizeof *tokens);
    room_step_upload(m);
    group_recognise(g);
    repeat_run(m->be, &room->repeat, group_passes, g);
    room->held = NULL;
    for (int b = 0; b < g->n; b++)
        reader_row_done(g->r[b], tokens[b], room->x + (size_t)b * C,
                        room->tail.hidden.v + (size_t)b * C);
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
    TRY(check_readers(r, n, err));
    TRY(room_for(r[0]->m, n, err));
    for (int b = 0; b < n; b++)
        if (reader_check_tokens(r[b], tokens + b, 1, err) < 0)
            return err_wrap(err, "reader %d of %d", b, n);
    for (int b = 0; b < n; b++)
        if (r[b]->fill == r[b]->chunk && reader_learn_pieces(r[b], tokens[b], err) < 0)
            return err_wrap(err, "reader %d of %d", b, n);
    Group g = group_of(r, n);
    group_step(&g, tokens);
    return 0;
}

/* Those whose logits are not known yet, all at once where they share the head. */
static void group_logits(Reader *const *r, int n)
{
    const Model *m = r[0]->m;
    const ModelConfig *c = &m->cfg.model;
    Group g = group_of(r, n);
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
}

int readers_logprobs(Reader *const *r, int n, float *out, Err *err)
{
    bool known = true;
    TRY(check_readers(r, n, err));
    for (int b = 0; b < n; b++) known = known && (r[b]->logits_known || !r[b]->counters.tokens);
    if (n > 1 && !known) TRY(room_for(r[0]->m, n, err));
    if (n > 1 && !known) group_logits(r, n);
    for (int b = 0; b < n; b++)
        TRY(reader_logprobs(r[b], out + (size_t)b * (size_t)r[b]->m->cfg.model.output_size, err));
    return 0;
}
