/* Reading a stream: see reader.h. A piece of text takes one of two ways: a whole chunk whose last
 * target is at hand is scored and learned from in one pass; anything else is appended row by row
 * and learned from when the chunk is full and its last target arrives. */
#include "model/reader.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "backend/bf16_copy.h"
#include "base/mem.h" // defines: time_now
#include "model/reader_state.h"

static void reader_layout(Reader *r)
{
    const ModelConfig *c = &r->m->cfg.model;
    Arena a = {.base = r->memory};
    size_t C = (size_t)c->hidden_size;
    int64_t rows = r->history < 0 ? c->seq_len : r->history + r->chunk;
    kv_cache_layout(&r->kv, &a, r->m, 1, rows);
    r->x = arena_take(&a, (size_t)r->chunk * C);
    r->fast = arena_take(&a, r->m->inner.size);
    r->last_hidden = arena_take(&a, C);
    r->logits = arena_take(&a, (size_t)c->output_size);
    r->elements = a.used;
}

/* Copies in bfloat16, where the model computes in it, of what products of this reader read. */
static void keep_copies(Reader *r)
{
    const Model *m = r->m;
    bool tied = m->cfg.model.tie_word_embeddings;
    for (int i = 0; i < N_PARAMS; i++) {
        const ParamEntry *e = &m->table.entry[i];
        bool multiplied = !e->is_norm && (i != P_WTE || tied);
        if (e->present && multiplied) bf16_copy_keep(m->be, m->params + e->offset, e->size);
    }
    bf16_copy_keep(m->be, r->fast, m->inner.size);
}

static void drop_copies(Reader *r)
{
    const Model *m = r->m;
    for (int i = 0; i < N_PARAMS; i++)
        if (m->table.entry[i].present) bf16_copy_drop(m->be, m->params + m->table.entry[i].offset);
    bf16_copy_drop(m->be, r->fast);
}

void reader_fast_changed(Reader *r)
{
    bf16_copy_refresh(r->m->be, r->fast, r->m->inner.size);
}

static void start_weights(Reader *r)
{
    for (int i = 0; i < r->m->inner.n; i++) {
        const InnerSlice *s = &r->m->inner.slice[i];
        if (s->live)
            backend_copy(r->m->be, r->fast + s->inner_offset, r->m->params + s->param_offset,
                         s->size);
    }
}

int reader_create(Reader **out, Model *m, bool learn, double inner_lr, Err *err)
{
    if (learn && !model_learns(m))
        return err_set(err,
                       "this model was not meta-trained: it has no inner weights to learn with; "
                       "read without learning");
    Reader *r = calloc(1, sizeof *r);
    CHECK(r, "out of memory");
    r->m = m;
    r->learn = learn;
    r->inner_lr = inner_lr > 0 ? inner_lr : m->cfg.training.optimizer_inner.lr;
    r->chunk = (int)m->cfg.model.mini_batch_size;
    r->history = history_rows(m);
    r->counters.last_chunk_loss = NAN;
    r->counters.last_grad_norm = NAN;
    size_t layers = (size_t)m->cfg.model.num_hidden_layers;
    r->kv.n_layers = (int)layers;
    r->kv.layer = calloc(layers, sizeof *r->kv.layer);
    r->tokens = calloc((size_t)r->chunk, sizeof *r->tokens);
    r->targets = calloc((size_t)r->chunk, sizeof *r->targets);
    CHECK(r->kv.layer && r->tokens && r->targets, "out of memory");
    (void)reader_room(m, 1);
    reader_layout(r);
    r->memory = backend_alloc(m->be, r->elements);
    reader_layout(r);
    start_weights(r);
    keep_copies(r);
    if (backend_wait(m->be, err) < 0) {
        reader_free(r);
        return -1;
    }
    *out = r;
    return 0;
}

void reader_free(Reader *r)
{
    if (!r) return;
    reader_room_forget(r->m);
    drop_copies(r);
    backend_free(r->m->be, r->memory, r->elements);
    free(r->kv.layer);
    free(r->tokens);
    free(r->targets);
    free(r);
}

void reader_set_learning(Reader *r, bool learn)
{
    r->learn = learn && model_learns(r->m);
}
bool reader_learning(const Reader *r)
{
    return r->learn;
}

void reader_counters(const Reader *r, ReaderCounters *c)
{
    *c = r->counters;
    c->pending = r->fill;
}

size_t reader_state_bytes(const Reader *r)
{
    size_t C = (size_t)r->m->cfg.model.hidden_size;
    size_t window = 2 * (size_t)r->kv.n_layers * (size_t)r->kv.rows * C;
    return (r->m->inner.size + window + (size_t)(r->chunk + 1) * C) * sizeof(real) +
           (size_t)r->chunk * sizeof *r->tokens;
}

/* ------------------------------------------------------------------------------ passes */

static Span reader_span(const Reader *r, int64_t start, int M, Reach reach)
{
    return (Span){.B = 1,
                  .M = M,
                  .position = start,
                  .first = (int)(start - r->kv_base),
                  .window = reach.window,
                  .local = reach.local,
                  .rope = r->m->room->rope};
}

static void place_rope(Reader *r, int64_t start, int M)
{
    const ModelConfig *c = &r->m->cfg.model;
    r->m->be->ops->rope_table(r->m->be, r->m->room->rope, start, M,
                              (int)(c->hidden_size / c->num_attention_heads), c->rope_theta);
}

static TailPass reader_pass(Reader *r, const Span *span)
{
    return (TailPass){.m = r->m,
                      .tail = &r->m->room->tail,
                      .kv = &r->kv,
                      .span = span,
                      .scratch = &r->m->room->scratch,
                      .w = {.m = r->m, .fast = r->m->inner.size ? r->fast : NULL}};
}

/* Rows [fill, fill + n) of the chunk through both halves: hidden states in the room's tail. */
static void append_rows(Reader *r, const int32_t *tokens, int n)
{
    size_t C = (size_t)r->m->cfg.model.hidden_size;
    int64_t start = r->counters.tokens;
    Span lead = reader_span(r, start, n, lead_reach(r->m));
    Span tail = reader_span(r, start, n, tail_reach(r->m));
    place_rope(r, start, n);
    profile_phase(r->m->be, PHASE_LEAD_FORWARD);
    ReaderRoom *room = r->m->room;
    real *x =
        lead_forward(r->m, &room->lead, &r->kv, &lead, &room->scratch, room_ids(r->m, tokens, n));
    real *kept = r->x + (size_t)r->fill * C;
    backend_copy(r->m->be, kept, x, (size_t)n * C);
    TailPass p = reader_pass(r, &tail);
    profile_phase(r->m->be, PHASE_TAIL_FORWARD);
    tail_forward(&p, kept);
    backend_copy(r->m->be, r->last_hidden, room->tail.hidden.v + (size_t)(n - 1) * C, C);
    memcpy(r->tokens + r->fill, tokens, (size_t)n * sizeof *tokens);
    r->fill += n;
    r->counters.tokens += n;
    r->logits_known = false;
}

void reader_row_done(Reader *r, int32_t token, const real *x, const real *hidden)
{
    size_t C = (size_t)r->m->cfg.model.hidden_size;
    backend_copy(r->m->be, r->x + (size_t)r->fill * C, x, C);
    backend_copy(r->m->be, r->last_hidden, hidden, C);
    r->tokens[r->fill++] = token;
    r->counters.tokens++;
    r->logits_known = false;
}

/* The next chunk begins: keys that it can still see move to the front. */
static void begin_chunk(Reader *r)
{
    r->fill = 0;
    profile_phase(r->m->be, PHASE_OTHER);
    if (r->history < 0) return;
    size_t C = (size_t)r->m->cfg.model.hidden_size;
    int64_t position = r->counters.tokens;
    int64_t past = r->history < position ? r->history : position;
    size_t from = (size_t)(position - past - r->kv_base) * C, n = (size_t)past * C;
    for (int l = 0; l < r->kv.n_layers; l++) {
        backend_copy(r->m->be, r->kv.layer[l].k, r->kv.layer[l].k + from, n);
        backend_copy(r->m->be, r->kv.layer[l].v, r->kv.layer[l].v + from, n);
    }
    r->kv_base = position - past;
}

/* Loss of the whole chunk, whose tail pass has just run, and the inner step if learning. */
static int finish_chunk(Reader *r, const Span *span, Err *err)
{
    const OptimizerConfig *inner = &r->m->cfg.training.optimizer_inner;
    Backend *be = r->m->be;
    TailPass p = reader_pass(r, span);
    ReaderRoom *room = r->m->room;
    Grads g = {.m = r->m, .inner = room->g, .use_inner = true};
    double loss;
    if (r->learn) profile_phase(be, PHASE_INNER_STEP);
    if (r->learn) backend_zero(be, room->g, r->m->inner.size);
    tail_loss(&p, room_ids(r->m, r->targets, span->M), r->learn, 0, &g, NULL);
    backend_download(be, room->host, room->tail.nll, (size_t)span->M);
    chunk_losses(r->m, &loss, room->host, r->targets, 1, span->M);
    TRY(backend_wait(be, err));
    if (!isfinite(loss))
        return err_set(err,
                       "the loss is not finite in the chunk that ends at token %lld; nothing was "
                       "learned from it; read with a lower inner learning rate",
                       (long long)(span->position + span->M));
    r->counters.last_chunk_loss = loss;
    if (!r->learn) return 0;
    backend_upload_doubles(be, room->scalar, &r->inner_lr, 1);
    be->ops->inner_sgd_forward(be, room->next, room->norm, r->fast, room->g, 1, r->m->inner.size,
                               room->scalar, inner->clip_gradient);
    real norm;
    backend_download(be, &norm, room->norm, 1);
    if (!isfinite((double)norm))
        return err_set(err,
                       "the inner gradient is not finite in the chunk that ends at token %lld; "
                       "nothing was learned from it; read with a lower inner learning rate",
                       (long long)(span->position + span->M));
    backend_copy(be, r->fast, room->next, r->m->inner.size);
    reader_fast_changed(r);
    r->counters.last_grad_norm = (double)norm;
    r->counters.steps++;
    return 0;
}

int reader_learn_pieces(Reader *r, int32_t next_token, Err *err)
{
    double began = time_now();
    int64_t start = r->counters.tokens - r->chunk;
    if (r->learn) {
        Span span = reader_span(r, start, r->chunk, tail_reach(r->m));
        TailPass p = reader_pass(r, &span);
        memcpy(r->targets, r->tokens + 1, (size_t)(r->chunk - 1) * sizeof *r->targets);
        r->targets[r->chunk - 1] = next_token;
        place_rope(r, start, r->chunk);
        tail_forward(&p, r->x);
        TRY(finish_chunk(r, &span, err));
    }
    r->logits_known = false;
    begin_chunk(r);
    if (r->learn) r->counters.last_step_seconds = time_now() - began;
    return 0;
}

/* tokens: a chunk's inputs and, behind them, its last target. nll: of tokens[1..chunk], or NULL. */
static int read_whole_chunk(Reader *r, const int32_t *tokens, double *nll, Err *err)
{
    double began = time_now();
    int64_t start = r->counters.tokens;
    append_rows(r, tokens, r->chunk);
    memcpy(r->targets, tokens + 1, (size_t)r->chunk * sizeof *r->targets);
    Span span = reader_span(r, start, r->chunk, tail_reach(r->m));
    TRY(finish_chunk(r, &span, err));
    for (int i = 0; nll && i < r->chunk; i++) nll[1 + i] = (double)r->m->room->host[i];
    begin_chunk(r);
    if (r->learn) r->counters.last_step_seconds = time_now() - began;
    return 0;
}

/* ------------------------------------------------------------------------------ scores */

static void next_logits(Reader *r)
{
    const ModelConfig *c = &r->m->cfg.model;
    if (r->logits_known) return;
    Weights w = {.m = r->m, .fast = r->m->inner.size ? r->fast : NULL};
    Head h = {.C = (int)c->hidden_size,
              .V = (int)c->output_size,
              .tied = c->tie_word_embeddings,
              .w = weight_of(&w, c->tie_word_embeddings ? P_WTE : P_LM_HEAD, 0)};
    head_logits(r->m->be, &h, 0, r->logits, r->last_hidden, 1);
    r->logits_known = true;
}

static double log_norm(Reader *r)
{
    double norm, *scalar = r->m->room->scalar;
    next_logits(r);
    r->m->be->ops->log_sum_exp(r->m->be, scalar, r->logits, (int)r->m->cfg.model.output_size);
    backend_download_doubles(r->m->be, &norm, scalar, 1);
    return norm;
}

int reader_logprobs(Reader *r, float *out, Err *err)
{
    int64_t V = r->m->cfg.model.output_size;
    if (r->counters.tokens == 0)
        return err_set(err, "nothing was read yet: feed at least one token (BOS) first");
    double norm = log_norm(r);
    real *logits = r->m->room->host;
    backend_download(r->m->be, logits, r->logits, (size_t)V);
    TRY(backend_wait(r->m->be, err));
    for (int64_t i = 0; i < V; i++) out[i] = (float)((double)logits[i] - norm);
    return 0;
}

static double score_next(Reader *r, int32_t token)
{
    if (r->counters.tokens == 0) return 0;
    double norm = log_norm(r);
    real logit;
    backend_download(r->m->be, &logit, r->logits + token, 1);
    return norm - (double)logit;
}

/* Scores of tokens[1..n) from the n rows just appended. */
static void score_rows(Reader *r, const int32_t *tokens, int n, int64_t start, double *nll)
{
    Span span = reader_span(r, start, n, tail_reach(r->m));
    TailPass p = reader_pass(r, &span);
    memcpy(r->targets, tokens + 1, (size_t)(n - 1) * sizeof *tokens);
    r->targets[n - 1] = 0;
    tail_loss(&p, room_ids(r->m, r->targets, n), false, 0, NULL, NULL);
    real *scores = r->m->room->host;
    backend_download(r->m->be, scores, r->m->room->tail.nll, (size_t)n);
    for (int i = 1; i < n; i++) nll[i] = (double)scores[i - 1];
}

int reader_check_tokens(const Reader *r, const int32_t *tokens, size_t n, Err *err)
{
    int64_t V = r->m->cfg.model.vocab_size;
    for (size_t i = 0; i < n; i++)
        if (tokens[i] < 0 || tokens[i] >= V)
            return err_set(err, "token %zu of %zu is %d, outside the model's vocabulary 0..%lld", i,
                           n, (int)tokens[i], (long long)(V - 1));
    if (r->history < 0 && r->counters.tokens + (int64_t)n > r->m->cfg.model.seq_len)
        return err_set(err,
                       "full attention reads at most model.seq_len = %lld tokens; a window "
                       "(model.seq_modeling_block=SWA) reads without limit",
                       (long long)r->m->cfg.model.seq_len);
    return 0;
}

int reader_feed(Reader *r, const int32_t *tokens, size_t n, double *nll, Err *err)
{
    TRY(reader_check_tokens(r, tokens, n, err));
    bool scored = false; /* tokens[i], as the last target of the chunk before */
    for (size_t i = 0; i < n;) {
        if (nll && !scored) nll[i] = score_next(r, tokens[i]);
        if (r->fill == r->chunk) TRY(reader_learn_pieces(r, tokens[i], err));
        scored = r->fill == 0 && n - i > (size_t)r->chunk;
        if (scored) {
            TRY(read_whole_chunk(r, tokens + i, nll ? nll + i : NULL, err));
            i += (size_t)r->chunk;
            continue;
        }
        int room = r->chunk - r->fill, rows = n - i < (size_t)room ? (int)(n - i) : room;
        int64_t start = r->counters.tokens;
        append_rows(r, tokens + i, rows);
        if (nll && rows > 1) score_rows(r, tokens + i, rows, start, nll + i);
        i += (size_t)rows;
    }
    return 0;
}
