/* The leading half of a sweep with a gradient: block by block, each over all spans of the segment,
 * so that one window of keys and values, with its gradients, serves all blocks in turn. What a
 * block leaves for others to need later:
 *   past   its last keys and values, which the next segment begins with
 *   owed   gradients of those of the segment before, which that one goes on from
 * Gradients travel in the tangent slot, where every outer gradient lives (ops/ops.h). */
#include "model/sweep_state.h"

/* One segment's pass. */
typedef struct LeadPass {
    Sweep *s;
    const SweepRun *r;
    int64_t index, start, end;
    int64_t past; /* rows before it in the window */
    Weights w;
    Grads g;
} LeadPass;

static LeadPass lead_pass(Sweep *s, const SweepRun *r, int64_t index)
{
    int64_t start = index * s->segment;
    return (LeadPass){.s = s,
                      .r = r,
                      .index = index,
                      .start = start,
                      .end = min64(start + s->segment, s->o.length),
                      .past = min64(s->history, start),
                      .w = {.m = s->m},
                      .g = {.m = s->m, .outer = r->gradient}};
}

static Span span_of(const LeadPass *p, int i)
{
    const Sweep *s = p->s;
    int64_t at = p->start + (int64_t)i * s->span;
    return sweep_span(s, at, (int)min64(s->span, p->end - at), p->start, p->start - p->past,
                      lead_reach(s->m));
}

static int spans_of(const LeadPass *p)
{
    return (int)((p->end - p->start + p->s->span - 1) / p->s->span);
}

static BlockPass block_pass(const LeadPass *p, const Span *span, int layer)
{
    return (BlockPass){.w = &p->w,
                       .g = &p->g,
                       .kv = &p->s->window,
                       .span = span,
                       .scratch = &p->s->scratch,
                       .layer = layer};
}

static BlockActs *acts_of(const LeadPass *p, int i, int layer)
{
    return p->s->acts + i * lead_layers(p->s->m) + layer;
}

static real *embed(const LeadPass *p, const Span *span)
{
    Sweep *s = p->s;
    const Model *m = s->m;
    m->be->ops->embed_forward(m->be, s->embedded, sweep_inputs(s, span->position),
                              m->params + m->table.entry[P_WTE].offset, span->B * span->M,
                              (int)m->cfg.model.hidden_size);
    return s->embedded;
}

static real *input_of(const LeadPass *p, int i, const Span *span, int layer)
{
    return layer ? acts_of(p, i, layer - 1)->room[A_OUT].v : embed(p, span);
}

/* ------------------------------------------------------------------------------ between segments
 */

/* Rows of one layer in `past` or `owed`: slot 0 (keys) or 1 (values) of sequence b. */
static real *stored(const Sweep *s, real *store, int64_t rows, int layer, int slot, int b)
{
    size_t at = ((size_t)layer * 2 + (size_t)slot) * (size_t)s->o.batch + (size_t)b;
    return store + at * (size_t)rows * (size_t)s->m->cfg.model.hidden_size;
}

/* n rows of the window's two arrays from row `row`, to (save) or from rows `at` of a store. */
static void exchange(const LeadPass *p, real *store, int64_t rows, int layer, real *const window[2],
                     int64_t row, int64_t at, int64_t n, bool save)
{
    const Sweep *s = p->s;
    size_t C = (size_t)s->m->cfg.model.hidden_size;
    if (n == 0) return;
    for (int slot = 0; slot < 2; slot++)
        for (int b = 0; b < s->o.batch; b++) {
            real *here = window[slot] + (size_t)b * s->window.step + (size_t)row * C;
            real *there = stored(s, store, rows, layer, slot, b) + (size_t)at * C;
            backend_copy(s->m->be, save ? there : here, save ? here : there, (size_t)n * C);
        }
}

/* Every segment leaves its last rows behind those of the segments before it, as many as are ever
 * needed: what comes before a segment ends where it will leave its own. */
static void past_restore(const LeadPass *p, int layer)
{
    const Sweep *s = p->s;
    real *window[2] = {s->window.k, s->window.v};
    int64_t kept = min64(s->history, s->segment);
    exchange(p, s->past, s->past_rows, layer, window, 0, p->index * kept - p->past, p->past, false);
}

static void past_save(const LeadPass *p, int layer)
{
    const Sweep *s = p->s;
    real *window[2] = {s->window.k, s->window.v};
    int64_t kept = min64(s->history, s->segment);
    if (p->index == s->plan.segments - 1) return;
    exchange(p, s->past, s->past_rows, layer, window, p->past + s->segment - kept, p->index * kept,
             kept, true);
}

static void owed_restore(const LeadPass *p, int layer)
{
    const Sweep *s = p->s;
    real *window[2] = {s->window.dk, s->window.dv};
    backend_zero(s->m->be, s->window.dk, (size_t)s->o.batch * s->window.grad_step);
    backend_zero(s->m->be, s->window.dv, (size_t)s->o.batch * s->window.grad_step);
    if (p->index == s->plan.segments - 1) return;
    int64_t n = min64(s->history, p->end);
    exchange(p, s->owed, s->owed_rows, layer, window, p->past + s->segment - n, 0, n, false);
}

static void owed_save(const LeadPass *p, int layer)
{
    const Sweep *s = p->s;
    real *window[2] = {s->window.dk, s->window.dv};
    exchange(p, s->owed, s->owed_rows, layer, window, 0, 0, p->past, true);
}

/* ------------------------------------------------------------------------------ the passes */

static void block_over_segment(const LeadPass *p, int layer)
{
    past_restore(p, layer);
    for (int i = 0; i < spans_of(p); i++) {
        Span span = span_of(p, i);
        BlockPass b = block_pass(p, &span, layer);
        real *x = input_of(p, i, &span, layer);
        x = block_forward(&b, acts_of(p, i, layer), (Dual){.v = x}).v;
        if (layer == lead_layers(p->s->m) - 1)
            sweep_exchange_x(p->s, x, span.position, span.M, p->start, true);
    }
    past_save(p, layer);
}

void sweep_lead_forward(Sweep *s, const SweepRun *r, int64_t index)
{
    LeadPass p = lead_pass(s, r, index);
    int layers = lead_layers(s->m);
    for (int l = 0; l < layers; l++) block_over_segment(&p, l);
    for (int i = 0; !layers && i < spans_of(&p); i++) {
        Span span = span_of(&p, i);
        sweep_exchange_x(s, embed(&p, &span), span.position, span.M, p.start, true);
    }
}

static void window_again(const LeadPass *p, int layer)
{
    past_restore(p, layer);
    for (int i = 0; i < spans_of(p); i++) {
        Span span = span_of(p, i);
        BlockPass b = block_pass(p, &span, layer);
        block_window_again(&b, acts_of(p, i, layer));
    }
}

/* The gradient goes down from block to block in s->x. */
static void block_over_segment_back(const LeadPass *p, int layer)
{
    Sweep *s = p->s;
    real *dx = s->shared.room[A_OUT].v;
    window_again(p, layer);
    owed_restore(p, layer);
    for (int i = spans_of(p) - 1; i >= 0; i--) {
        Span span = span_of(p, i);
        BlockPass b = block_pass(p, &span, layer);
        BlockActs *acts = acts_of(p, i, layer);
        block_again(&b, acts, (Dual){.v = input_of(p, i, &span, layer)});
        sweep_exchange_x(s, dx, span.position, span.M, p->start, false);
        block_backward(&b, acts, (Dual){.t = dx}, PARTS);
        sweep_exchange_x(s, dx, span.position, span.M, p->start, true);
    }
    owed_save(p, layer);
}

static void embed_back(const LeadPass *p, int i)
{
    Sweep *s = p->s;
    const Model *m = s->m;
    Span span = span_of(p, i);
    sweep_exchange_x(s, s->embedded, span.position, span.M, p->start, false);
    m->be->ops->embed_backward(m->be, p->r->gradient + m->table.entry[P_WTE].offset,
                               sweep_inputs(s, span.position), s->embedded, span.B * span.M,
                               (int)m->cfg.model.hidden_size);
}

void sweep_lead_backward(Sweep *s, const SweepRun *r, int64_t index)
{
    LeadPass p = lead_pass(s, r, index);
    for (int l = lead_layers(s->m) - 1; l >= 0; l--) block_over_segment_back(&p, l);
    for (int i = spans_of(&p) - 1; i >= 0; i--) embed_back(&p, i);
}
