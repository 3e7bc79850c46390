/* Reading a stream: see reader.h. A piece of text takes one of two ways (reader_chunk.c): a whole
 * chunk whose last target is at hand is scored and learned from in one pass; anything else is
 * appended row by row and learned from when the chunk is full and its last target arrives. */
#include "model/reader.h"

#include <math.h>
#include <stdlib.h>

#include "backend/bf16_copy.h"
#include "base/mem.h"
#include "model/reader_state.h"

static void reader_layout(Reader *r)
{
    const ModelConfig *c = &r->m->cfg.model;
    Arena a = {.base = r->memory};
    size_t C = (size_t)c->hidden_size;
    kv_cache_layout(&r->kv, &a, r->m, 1, reader_window_rows(r));
    kv_halves_layout(&r->kv, &a, r->m, 1, 0);
    r->x = arena_take(&a, (size_t)r->chunk * C);
    r->fast = arena_take(&a, r->m->inner.size);
    r->last_hidden = arena_take(&a, C);
    r->logits = arena_take(&a, logits_room(r->m));
    r->rate = arena_take_doubles(&a, 1);
    r->elements = a.used;
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
    mem_need(r, "a reader");
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
    r->tokens = calloc((size_t)r->chunk + 1, sizeof *r->tokens);
    mem_need(r->kv.layer && r->tokens, "a reader");
    (void)reader_room(m, 1);
    reader_layout(r);
    r->memory = backend_alloc(m->be, r->elements);
    if (backend_wait(m->be, err) < 0) {
        backend_free(m->be, r->memory, r->elements);
        r->memory = NULL;
        reader_free(r);
        return -1;
    }
    reader_layout(r);
    start_weights(r);
    backend_upload_doubles(m->be, r->rate, &r->inner_lr, 1);
    model_copies_keep(m);
    bf16_copy_keep(m->be, r->fast, m->inner.size);
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
    reader_room_forget(r->m, r->memory);
    if (r->memory) {
        model_copies_drop(r->m);
        bf16_copy_drop(r->m->be, r->fast);
    }
    backend_free(r->m->be, r->memory, r->elements);
    free(r->kv.layer);
    free(r->tokens);
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
    size_t halves = r->kv.layer[0].k16 ? window * sizeof(uint16_t) : 0;
    return (r->m->inner.size + window + (size_t)(r->chunk + 1) * C) * sizeof(real) + halves +
           (size_t)r->chunk * sizeof *r->tokens;
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
    reader_logits_done(r);
}

void reader_logits_done(Reader *r)
{
    r->m->be->ops->log_sum_exp(r->m->be, logits_sum(r->m, r->logits), r->logits,
                               (int)r->m->cfg.model.output_size);
    r->logits_known = true;
}

int reader_logprobs(Reader *r, float *out, Err *err)
{
    int64_t V = r->m->cfg.model.output_size;
    if (r->counters.tokens == 0)
        return err_set(err, "nothing was read yet: feed at least one token (BOS) first");
    next_logits(r);
    real *logits = r->m->room->host;
    backend_download(r->m->be, logits, r->logits, logits_room(r->m));
    TRY(backend_wait(r->m->be, err));
    double norm = *logits_sum(r->m, logits);
    for (int64_t i = 0; i < V; i++) out[i] = (float)((double)logits[i] - norm);
    return 0;
}

static double score_next(Reader *r, int32_t token)
{
    if (r->counters.tokens == 0) return 0;
    double norm;
    real logit;
    next_logits(r);
    backend_download_doubles(r->m->be, &norm, logits_sum(r->m, r->logits), 1);
    backend_download(r->m->be, &logit, r->logits + token, 1);
    return norm - (double)logit;
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
            int chunks = reader_chunks_at_once(r, (n - i - 1) / (size_t)r->chunk);
            TRY(reader_read_chunks(r, tokens + i, chunks, nll ? nll + i : NULL, err));
            i += (size_t)chunks * (size_t)r->chunk;
            continue;
        }
        int room = r->chunk - r->fill, rows = n - i < (size_t)room ? (int)(n - i) : room;
        reader_append_rows(r, tokens + i, rows);
        if (nll && rows > 1) reader_score_rows(r, rows, nll + i);
        i += (size_t)rows;
    }
    return 0;
}
