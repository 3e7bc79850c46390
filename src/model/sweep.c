/* The passes of a sweep over time. Read sweep_run first: forward over segments, then the reverse.
 */
#include "model/sweep.h"

#include <stdlib.h>
#include <string.h>

#include "backend/bf16_copy.h"
#include "base/mem.h"
#include "model/sweep_state.h"

static size_t hidden(const Sweep *s)
{
    return (size_t)s->m->cfg.model.hidden_size;
}
static size_t adapted(const Sweep *s)
{
    return (size_t)s->o.batch * s->m->inner.size;
}

/* Adapted weights before chunk `local` of the segment. Those of every stride-th chunk have a place
 * of their own; the others' is that of all chunks so far behind one of them. */
static real *fast_at(const Sweep *s, int64_t local)
{
    int64_t own = s->segment / s->chunk / s->stride + 1, behind = local % s->stride;
    int64_t slot = behind ? own + behind - 1 : local / s->stride;
    return s->learn ? s->fast + (s->o.gradient ? (size_t)slot * adapted(s) : 0) : NULL;
}

/* Copies that products read follow the weights before this chunk. */
static void fast_changed(const Sweep *s, int64_t local)
{
    if (s->copies) bf16_copy_refresh(s->m->be, fast_at(s, local), adapted(s));
}

static real *inner_g_at(const Sweep *s, int64_t local)
{
    return s->inner_g + (s->o.gradient ? (size_t)local * adapted(s) : 0);
}

static real *inner_norm_at(const Sweep *s, int64_t chunk)
{
    return s->inner_norm + chunk * s->o.batch;
}

static const int32_t *targets_at(const Sweep *s, int64_t start)
{
    return s->targets + s->o.batch * start;
}

Span sweep_span(const Sweep *s, int64_t start, int M, int64_t segment_start, int64_t base,
                Reach reach)
{
    const ModelConfig *c = &s->m->cfg.model;
    size_t D = (size_t)(c->hidden_size / c->num_attention_heads);
    return (Span){.B = s->o.batch,
                  .M = M,
                  .position = start,
                  .first = (int)(start - base),
                  .window = reach.window,
                  .local = reach.local,
                  .rope = s->rope + (size_t)(start - segment_start) * D};
}

/* The chunks' own arrays follow each other as (B, rows of the chunk, C). Spans and chunks need not
 * begin together. */
void sweep_exchange_x(const Sweep *s, real *span_rows, int64_t at, int M, int64_t segment_start,
                      bool to_chunks)
{
    Backend *be = s->m->be;
    size_t C = hidden(s), B = (size_t)s->o.batch, step;
    for (int64_t done = 0, rows; done < M; done += rows) {
        int64_t position = at + done, begin = position / s->chunk * s->chunk;
        int64_t length = min64(s->chunk, s->o.length - begin);
        rows = min64(begin + length - position, M - done);
        step = (size_t)length * C;
        real *chunk =
            s->x + (size_t)(begin - segment_start) * B * C + (size_t)(position - begin) * C;
        real *span = span_rows + (size_t)done * C;
        if (to_chunks)
            be->ops->copy_rows(be, chunk, step, span, (size_t)M * C, (int)B, (int)rows, (int)C);
        else
            be->ops->copy_rows(be, span, (size_t)M * C, chunk, step, (int)B, (int)rows, (int)C);
    }
}

/* ------------------------------------------------------------------------------ forward */

static void lead_segment(Sweep *s, int64_t start, int64_t end)
{
    for (int64_t at = start; at < end; at += s->span) {
        int M = (int)min64(s->span, end - at);
        Span span = sweep_span(s, at, M, start, s->kv_base, lead_reach(s->m));
        real *x = lead_forward(s->m, &s->lead, &s->kv, &span, &s->scratch, sweep_inputs(s, at));
        sweep_exchange_x(s, x, at, M, start, true);
    }
}

/* Sequence 0's gradient and weights as the host can read them. Only who asks for them pays. */
static void report_inner_step(const Sweep *s, const SweepReport *out, int64_t chunk, const real *g,
                              const real *weights)
{
    size_t P = s->m->inner.size;
    real *host = malloc(2 * P * sizeof *host);
    mem_need(host, "a report of inner steps");
    backend_download(s->m->be, host, g, P);
    backend_download(s->m->be, host + P, weights, P);
    out->on_inner_step(out->context, chunk, host, host + P);
    free(host);
}

static void inner_step(Sweep *s, const SweepRun *r, int64_t local, int64_t chunk)
{
    const OptimizerConfig *inner = &s->m->cfg.training.optimizer_inner;
    s->m->be->ops->inner_sgd_forward(s->m->be, fast_at(s, local + 1), inner_norm_at(s, chunk),
                                     fast_at(s, local), inner_g_at(s, local), s->o.batch,
                                     s->m->inner.size, s->inner_lr, inner->clip_gradient);
    fast_changed(s, local + 1);
    if (r->report && r->report->on_inner_step)
        report_inner_step(s, r->report, chunk, inner_g_at(s, local), fast_at(s, local + 1));
}

/* The losses of the span's rows go to their place among the run's. */
static TailPass tail_pass(Sweep *s, const Span *span, real *fast, real *tangent)
{
    s->tail.nll = s->nll + s->o.batch * span->position;
    return (TailPass){.m = s->m,
                      .tail = &s->tail,
                      .kv = &s->kv,
                      .span = span,
                      .scratch = &s->scratch,
                      .w = {.m = s->m, .fast = fast, .tangent = tangent}};
}

/* Scores one chunk and, when learning, takes the inner step. The reverse runs every chunk again,
 * its loss included: what only that would need is left out here. */
static void forward_chunk(Sweep *s, const SweepRun *r, int64_t start, int M, int64_t segment_start,
                          bool reverse_follows)
{
    int64_t local = (start - segment_start) / s->chunk, chunk = start / s->chunk;
    Span span = sweep_span(s, start, M, segment_start, s->kv_base, tail_reach(s->m));
    size_t at = (size_t)(start - segment_start) * (size_t)s->o.batch * hidden(s);
    TailPass p = tail_pass(s, &span, fast_at(s, local), NULL);
    Grads g = {.m = s->m, .use_inner = true};
    if (reverse_follows && s->learn) p.head_dx = s->head_dx + at;
    bool last = chunk == s->plan.chunks - 1;
    bool step_reported = r->report && (r->report->inner_gnorm || r->report->on_inner_step);
    if (reverse_follows && last && !step_reported) return;
    profile_phase(s->m->be, PHASE_TAIL_FORWARD);
    tail_forward(&p, s->x + at);
    if (reverse_follows && !s->learn) return;
    if (s->learn) {
        profile_phase(s->m->be, PHASE_INNER_STEP);
        g.inner = inner_g_at(s, local);
        backend_zero(s->m->be, g.inner, adapted(s));
    }
    tail_loss(&p, targets_at(s, start), s->learn, 0, &g, NULL);
    if (s->learn) inner_step(s, r, local, chunk);
}

static void forward_segment(Sweep *s, const SweepRun *r, int64_t index, bool reverse_follows)
{
    const ModelConfig *c = &s->m->cfg.model;
    int64_t start = index * s->segment, end = min64(start + s->segment, s->o.length);
    if (s->rope_start != start)
        s->m->be->ops->rope_table(s->m->be, s->rope, start, (int)(end - start),
                                  (int)(c->hidden_size / c->num_attention_heads), c->rope_theta);
    s->rope_start = start;
    profile_phase(s->m->be, PHASE_LEAD_FORWARD);
    if (s->o.gradient)
        sweep_lead_forward(s, r, index);
    else
        lead_segment(s, start, end);
    for (int64_t at = start; at < end; at += s->chunk)
        forward_chunk(s, r, at, (int)min64(s->chunk, end - at), start, reverse_follows);
}

/* ------------------------------------------------------------------------------ between segments
 */

/* Moves the rows that the next segment needs to the front, and its weights to the first slot. */
static void advance(Sweep *s, int64_t index)
{
    int64_t next = (index + 1) * s->segment, past = sweep_past(s, index + 1);
    size_t C = hidden(s);
    if (s->learn && s->o.gradient)
        backend_copy(s->m->be, fast_at(s, 0), fast_at(s, s->segment / s->chunk), adapted(s));
    if (s->learn) fast_changed(s, 0);
    if (s->kv_full) return;
    size_t from = (size_t)(next - past - s->kv_base) * C, n = (size_t)past * C;
    for (int l = first_window(s); l < s->kv.n_layers; l++)
        for (int b = 0; b < s->o.batch; b++) {
            KvRows *kv = &s->kv.layer[l];
            real *k = kv->k + (size_t)b * kv->step, *v = kv->v + (size_t)b * kv->step;
            backend_copy(s->m->be, k, k + from, n);
            backend_copy(s->m->be, v, v + from, n);
        }
    s->kv_base = next - past;
}

/* Copies the state at a segment's start out of (save) or into the working buffers. */
static void exchange_state(Sweep *s, int64_t index, bool save)
{
    Backend *be = s->m->be;
    int64_t past = sweep_past(s, index);
    size_t n = (size_t)past * hidden(s);
    real *fast = s->state_fast[index], *store = s->state_kv[index];
    if (s->learn)
        backend_copy(be, save ? fast : fast_at(s, 0), save ? fast_at(s, 0) : fast, adapted(s));
    if (s->learn && !save) fast_changed(s, 0);
    if (s->kv_full) return;
    for (int l = first_window(s); l < s->kv.n_layers; l++)
        for (int b = 0; b < s->o.batch; b++) {
            KvRows *kv = &s->kv.layer[l];
            real *rows[2] = {kv->k + (size_t)b * kv->step, kv->v + (size_t)b * kv->step};
            for (int i = 0; i < 2; i++, store += n)
                backend_copy(be, save ? store : rows[i], save ? rows[i] : store, n);
        }
    s->kv_base = index * s->segment - past;
}

/* ------------------------------------------------------------------------------ reverse */

/* Gradient rows of keys and values start with the first one that the chunk sees. */
static void place_gradients(Sweep *s, int64_t start)
{
    int64_t base = start - min64(s->history, start);
    for (int l = first_window(s); l < s->kv.n_layers; l++)
        s->kv.layer[l].grad_shift = (int)(base - s->kv_base);
}

static void clear_gradients(Sweep *s)
{
    for (int l = first_window(s); l < s->kv.n_layers; l++) {
        KvRows *kv = &s->kv.layer[l];
        backend_zero(s->m->be, kv->dk, (size_t)s->o.batch * kv->grad_step);
        backend_zero(s->m->be, kv->dv, (size_t)s->o.batch * kv->grad_step);
    }
}

/* What the chunk at `start` owes to rows before it moves to where the chunk before has them. */
static void retreat_gradients(Sweep *s, int64_t start)
{
    size_t C = hidden(s);
    int64_t past = min64(s->history, start);
    int64_t before = start - s->chunk, base = before - min64(s->history, before);
    size_t to = (size_t)(start - past - base) * C, n = (size_t)past * C;
    if (to == 0) return;
    for (int l = first_window(s); l < s->kv.n_layers; l++)
        for (int b = 0; b < s->o.batch; b++) {
            KvRows *kv = &s->kv.layer[l];
            real *rows[2] = {kv->dk + (size_t)b * kv->grad_step,
                             kv->dv + (size_t)b * kv->grad_step};
            for (int i = 0; i < 2; i++) {
                backend_copy(s->m->be, rows[i] + to, rows[i], n);
                backend_zero(s->m->be, rows[i], to);
            }
        }
}

/* One chunk of the meta-gradient (docs/math.md): v = dL/dW after the chunk becomes the tangent u of
 * the weights before it; the tangent slots of the dual pass are the outer gradients, and v grows by
 * that of the inner weights. The last chunk's step has no effect, so nothing has a tangent there.
 */
static void reverse_chunk(Sweep *s, const SweepRun *r, int64_t start, int M, int64_t segment_start)
{
    const OptimizerConfig *inner = &s->m->cfg.training.optimizer_inner;
    int64_t local = (start - segment_start) / s->chunk, chunk = start / s->chunk;
    bool moves = s->learn && chunk < s->plan.chunks - 1;
    real *u = inner_g_at(s, local); /* in the place of g, which nothing needs any more */
    size_t at = (size_t)(start - segment_start) * (size_t)s->o.batch * hidden(s);
    Span span = sweep_span(s, start, M, segment_start, s->kv_base, tail_reach(s->m));
    if (moves)
        s->m->be->ops->inner_sgd_backward(s->m->be, u, s->v, u, inner_norm_at(s, chunk), s->o.batch,
                                          s->m->inner.size, s->inner_lr, inner->clip_gradient);
    if (moves && s->copies) bf16_copy_refresh(s->m->be, u, adapted(s));
    TailPass p = tail_pass(s, &span, fast_at(s, local), moves ? u : NULL);
    if (moves) {
        p.head_dx = s->head_dx + at;
        p.head_dx_known = true;
    }
    Grads g = {.m = s->m, .inner_t = s->v, .outer = r->gradient, .use_inner = s->learn};
    tail_forward(&p, s->x + at);
    tail_loss(&p, targets_at(s, start), moves, r->chunk_weight, &g, s->x + at);
}

/* Weights between kept ones, again from the chunks' kept gradients: the same bits. */
static void weights_again(Sweep *s, int64_t segment_start, int64_t last)
{
    const OptimizerConfig *inner = &s->m->cfg.training.optimizer_inner;
    int64_t first = segment_start / s->chunk;
    for (int64_t local = last / s->stride * s->stride; local < last; local++) {
        s->m->be->ops->inner_sgd_forward(
            s->m->be, fast_at(s, local + 1), inner_norm_at(s, first + local), fast_at(s, local),
            inner_g_at(s, local), s->o.batch, s->m->inner.size, s->inner_lr, inner->clip_gradient);
        fast_changed(s, local + 1);
    }
}

static void reverse_segment(Sweep *s, const SweepRun *r, int64_t index)
{
    int64_t start = index * s->segment, end = min64(start + s->segment, s->o.length);
    profile_phase(s->m->be, PHASE_REVERSE);
    int64_t last = (end - start - 1) / s->chunk;
    for (int64_t local = last; local >= 0; local--) {
        int64_t at = start + local * s->chunk;
        bool last_of_group = local % s->stride == s->stride - 1;
        if (s->learn && last_of_group && local < last) weights_again(s, start, local);
        place_gradients(s, at);
        reverse_chunk(s, r, at, (int)min64(s->chunk, end - at), start);
        if (at > 0) retreat_gradients(s, at);
    }
    profile_phase(s->m->be, PHASE_LEAD_BACKWARD);
    sweep_lead_backward(s, r, index);
}

/* ------------------------------------------------------------------------------ whole runs */

static void start_weights(Sweep *s)
{
    s->kv_base = 0;
    if (!s->learn) return;
    for (int b = 0; b < s->o.batch; b++)
        for (int i = 0; i < s->m->inner.n; i++) {
            const InnerSlice *slice = &s->m->inner.slice[i];
            if (!slice->live) continue;
            backend_copy(s->m->be, s->fast + (size_t)b * s->m->inner.size + slice->inner_offset,
                         s->m->params + slice->param_offset, slice->size);
        }
    fast_changed(s, 0);
    if (s->o.gradient) backend_zero(s->m->be, s->v, adapted(s));
}

/* dL/dW of the first chunk's weights is the outer gradient of the inner parameters. */
static void add_initial_weights(Sweep *s, real *gradient)
{
    for (int b = 0; s->learn && b < s->o.batch; b++)
        for (int i = 0; i < s->m->inner.n; i++) {
            const InnerSlice *slice = &s->m->inner.slice[i];
            if (!slice->live) continue;
            real *to = gradient + slice->param_offset;
            s->m->be->ops->add(s->m->be, to, to,
                               s->v + (size_t)b * s->m->inner.size + slice->inner_offset,
                               slice->size);
        }
}

static void reverse(Sweep *s, const SweepRun *r)
{
    clear_gradients(s);
    for (int64_t i = s->plan.segments - 1; i >= 0; i--) {
        if (i < s->plan.segments - 1) {
            SweepRun again = *r;
            again.report = NULL;
            exchange_state(s, i, false);
            forward_segment(s, &again, i, true);
        }
        reverse_segment(s, r, i);
    }
    add_initial_weights(s, r->gradient);
}

/* The run's tokens (B, T+1) into backend memory, as spans and chunks will ask for them. */
static void stage_tokens(Sweep *s, const int32_t *tokens)
{
    int64_t T = s->o.length, B = s->o.batch;
    int32_t *inputs = s->staged, *targets = s->staged + B * T;
    for (int64_t at = 0, M; at < T; at += M) {
        M = min64(s->span, min64((at / s->segment + 1) * s->segment, T) - at);
        for (int64_t b = 0; b < B; b++, inputs += M)
            memcpy(inputs, tokens + b * (T + 1) + at, (size_t)M * sizeof *inputs);
    }
    for (int64_t at = 0, M; at < T; at += M) {
        M = min64(s->chunk, T - at);
        for (int64_t b = 0; b < B; b++, targets += M)
            memcpy(targets, tokens + b * (T + 1) + at + 1, (size_t)M * sizeof *targets);
    }
    backend_upload_ids(s->m->be, s->inputs, s->staged, (size_t)(B * T));
    backend_upload_ids(s->m->be, s->targets, s->staged + B * T, (size_t)(B * T));
}

/* Losses of chunks, and of tokens where they are asked for. */
static void report_losses(Sweep *s, const SweepReport *out)
{
    int64_t T = s->o.length, B = s->o.batch;
    backend_download(s->m->be, s->reported, s->nll, (size_t)(B * T));
    const int32_t *targets = s->staged + B * T;
    const real *nll = s->reported;
    for (int64_t start = 0; start < T; start += s->chunk) {
        int64_t M = min64(s->chunk, T - start), chunk = start / s->chunk;
        chunk_losses(s->m, s->losses, nll, targets, (int)B, (int)M);
        for (int64_t b = 0; b < B; b++, nll += M, targets += M) {
            s->chunk_loss[b * s->plan.chunks + chunk] = s->losses[b];
            for (int64_t m = 0; out && out->token_nll && m < M; m++)
                out->token_nll[b * T + start + m] = (double)nll[m];
        }
    }
}

static void report_norms(Sweep *s, double *out)
{
    int64_t chunks = s->plan.chunks, B = s->o.batch;
    backend_download(s->m->be, s->reported, s->inner_norm, (size_t)(chunks * B));
    for (int64_t i = 0; i < chunks; i++)
        for (int64_t b = 0; b < B; b++) out[b * chunks + i] = (double)s->reported[i * B + b];
}

void sweep_passes(Sweep *s, const SweepRun *r)
{
    if (s->head) bf16_copy_refresh(s->m->be, s->head, s->head_size);
    if (s->copies) bf16_copy_refresh(s->m->be, s->m->params, s->m->table.size);
    start_weights(s);
    for (int64_t i = 0; i < s->plan.segments; i++) {
        bool last = i == s->plan.segments - 1;
        if (r->gradient && !last) exchange_state(s, i, true);
        forward_segment(s, r, i, r->gradient && last);
        if (!last) advance(s, i);
    }
    if (r->gradient) reverse(s, r);
}

double sweep_run(Sweep *s, const int32_t *tokens, double inner_lr, real *gradient, double weight,
                 SweepReport *report)
{
    CHECK(!gradient || s->o.gradient, "this sweep was made without room for gradients");
    size_t losses = (size_t)s->o.batch * (size_t)s->plan.chunks;
    SweepRun r = {.gradient = gradient, .chunk_weight = weight / (double)losses, .report = report};
    stage_tokens(s, tokens);
    if (s->learn) backend_upload_doubles(s->m->be, s->inner_lr, &inner_lr, 1);
    sweep_play(s, &r);
    profile_phase(s->m->be, PHASE_OTHER);
    report_losses(s, report);
    if (report && report->inner_gnorm && s->learn) report_norms(s, report->inner_gnorm);
    double sum = 0;
    for (size_t i = 0; i < losses; i++) sum += s->chunk_loss[i];
    if (report && report->chunk_loss)
        memcpy(report->chunk_loss, s->chunk_loss, losses * sizeof *s->chunk_loss);
    return sum / (double)losses;
}
