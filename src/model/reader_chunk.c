/* Rows of a chunk through the model, and what a whole chunk ends with: losses, the inner step, and
 * the window's move on. A whole chunk is one row of operations without a look at any of their
 * results, so that a machine that records can repeat them as one (reader_record.c): the inner step
 * is taken where losses and the gradient's norm are finite. Those of several chunks then come to
 * the host together. */
#include <math.h>
#include <string.h>

#include "base/mem.h" // defines: time_now
#include "model/reader_state.h"

/* ------------------------------------------------------------------------------ the window */

enum { MOVED_PER_TOKEN = 2, MOST_STARTS = 16 };

static int64_t whole_chunks(const Reader *r, int64_t rows)
{
    return (rows + r->chunk - 1) / r->chunk * r->chunk;
}

/* Chunks begin at rows that are multiples of their length. Behind the rows that a chunk looks back
 * on there is room for several, so that rows move to the front only once in so many: for a token
 * MOVED_PER_TOKEN rows move, each there and back once through memory, and half a window more is
 * taken at most. A 125m model with 8,192 rows and chunks of 1,024 moves 151 MB a chunk for 226 MB
 * more, instead of 604 MB. Short chunks move more, for the sake of few places to begin at. */
int64_t reader_window_rows(const Reader *r)
{
    if (r->history < 0) return r->m->cfg.model.seq_len;
    int64_t past = whole_chunks(r, r->history), by = MOVED_PER_TOKEN * (int64_t)r->chunk;
    int64_t starts = (past + by - 1) / by;
    if (starts > MOST_STARTS) starts = MOST_STARTS;
    return past + (starts > 1 ? starts : 1) * r->chunk;
}

int64_t reader_past_rows(const Reader *r)
{
    int64_t position = r->counters.tokens - r->fill;
    return r->history < 0 || position < r->history ? position : r->history;
}

int64_t reader_window_place(Reader *r)
{
    int64_t past = reader_past_rows(r), first = r->history < 0 ? past : whole_chunks(r, past);
    r->kv_base = r->counters.tokens - r->fill - first;
    return first - past;
}

/* Rows [from, from + n) of so many bytes to the front, none of which is written over before it has
 * moved. */
static void move_rows(const Reader *r, void *rows, size_t bytes, int64_t from, int64_t n)
{
    char *to = rows;
    for (int64_t at = 0, part; at < n; at += part) {
        part = from < n - at ? from : n - at;
        backend_copy_bytes(r->m->be, to + (size_t)at * bytes, to + (size_t)(at + from) * bytes,
                           (size_t)part * bytes);
    }
}

static void move_window(const Reader *r, const KvRows *kv, int64_t from, int64_t n)
{
    size_t C = (size_t)r->m->cfg.model.hidden_size;
    move_rows(r, kv->k, C * sizeof *kv->k, from, n);
    move_rows(r, kv->v, C * sizeof *kv->v, from, n);
    if (!kv->k16) return;
    move_rows(r, kv->k16, C * sizeof *kv->k16, from, n);
    move_rows(r, kv->v16, C * sizeof *kv->v16, from, n);
}

/* The next chunk begins: where the window is at its end, keys that can still be seen move. */
static void begin_chunk(Reader *r)
{
    r->fill = 0;
    profile_phase(r->m->be, PHASE_OTHER);
    if (r->history < 0) return;
    int64_t past = whole_chunks(r, r->history), first = r->counters.tokens - r->kv_base;
    if (first + r->chunk <= r->kv.rows) return;
    for (int l = 0; l < r->kv.n_layers; l++) move_window(r, &r->kv.layer[l], first - past, past);
    r->kv_base = r->counters.tokens - past;
}

/* ------------------------------------------------------------------------------ passes */

/* The place among the room's that a chunk has its ids and report in: that of the row it begins at,
 * so that what is recorded of one always finds them. */
static size_t chunk_place(const Reader *r, int64_t start)
{
    return (size_t)((start - r->kv_base) / r->chunk % r->m->room->places);
}

/* (chunk + 1): its inputs, and the target of the last. */
static int32_t *chunk_ids(const Reader *r, int64_t start)
{
    return r->m->room->ids + chunk_place(r, start) * (size_t)r->chunk;
}

/* (chunk + 1): its losses, and its gradient's norm. Before it lies the norm of the chunk before. */
static real *chunk_report(const Reader *r, int64_t start)
{
    return r->m->room->report + 1 + chunk_place(r, start) * (size_t)(r->chunk + 1);
}

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

/* The tail over n rows whose inputs are at x; hidden states are left in the room. */
static void tail_rows(Reader *r, int64_t start, int n, real *x)
{
    Span span = reader_span(r, start, n, tail_reach(r->m));
    TailPass p = reader_pass(r, &span);
    profile_phase(r->m->be, PHASE_TAIL_FORWARD);
    tail_forward(&p, x);
}

/* n rows behind the `fill` there are, through both halves. */
static void forward_rows(Reader *r, int64_t start, int fill, int n)
{
    size_t C = (size_t)r->m->cfg.model.hidden_size;
    ReaderRoom *room = r->m->room;
    Span span = reader_span(r, start, n, lead_reach(r->m));
    const int32_t *ids = chunk_ids(r, start - fill) + fill;
    profile_phase(r->m->be, PHASE_LEAD_FORWARD);
    const real *x = lead_forward(r->m, &room->lead, &r->kv, &span, &room->scratch, ids);
    real *kept = r->x + (size_t)fill * C;
    backend_copy(r->m->be, kept, x, (size_t)n * C);
    tail_rows(r, start, n, kept);
    backend_copy(r->m->be, r->last_hidden, room->tail.hidden.v + (size_t)(n - 1) * C, C);
}

static void rows_done(Reader *r, const int32_t *tokens, int n)
{
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
    rows_done(r, &token, 1);
}

/* Scores of rows whose tail pass has just run, to nll; with g, their gradient. */
static void score(Reader *r, int64_t start, int n, const int32_t *targets, real *nll,
                  const Grads *g)
{
    Span span = reader_span(r, start, n, tail_reach(r->m));
    TailPass p = reader_pass(r, &span);
    r->m->room->tail.nll = nll;
    tail_loss(&p, targets, g != NULL, 0, g, NULL);
}

/* The last row's target is not known yet: any id will do. */
void reader_score_rows(Reader *r, int n, double *nll)
{
    ReaderRoom *room = r->m->room;
    int64_t chunk = r->counters.tokens - r->fill, start = r->counters.tokens - n;
    real *scores = chunk_report(r, chunk);
    score(r, start, n, chunk_ids(r, chunk) + (start - chunk) + 1, scores, NULL);
    backend_download(r->m->be, room->host, scores, (size_t)n);
    for (int i = 1; i < n; i++) nll[i] = (double)room->host[i - 1];
}

/* ------------------------------------------------------------------------------ whole chunks */

typedef struct ChunkRun {
    Reader *r;
    int64_t start; /* position of the chunk */
    unsigned parts;
} ChunkRun;

/* As if the tail's pass had just run over the chunk: its activations are still there. */
static void resume_rows(Reader *r, int64_t start)
{
    Span span = reader_span(r, start, r->chunk, tail_reach(r->m));
    TailPass p = reader_pass(r, &span);
    tail_resume(&p, r->x);
}

/* The step is taken where it is finite, with all before it since the host has looked. */
static void chunk_loss(Reader *r, int64_t start)
{
    const Model *m = r->m;
    ReaderRoom *room = m->room;
    real *nll = chunk_report(r, start), *norm = nll + r->chunk;
    const int32_t *targets = chunk_ids(r, start) + 1;
    if (!r->learn) {
        score(r, start, r->chunk, targets, nll, NULL);
        return;
    }
    Grads g = {.m = m, .inner = room->g, .use_inner = true};
    StepGuard guard = {nll, room->tail.seed.v, r->chunk, nll - 1};
    profile_phase(m->be, PHASE_INNER_STEP);
    backend_zero(m->be, room->g, m->inner.size);
    score(r, start, r->chunk, targets, nll, &g);
    m->be->ops->inner_sgd_forward(m->be, r->fast, norm, r->fast, room->g, 1, m->inner.size, r->rate,
                                  m->cfg.training.optimizer_inner.clip_gradient, &guard);
}

/* All that is computed of a chunk. The host's part in it does not depend on the position but by the
 * row that it begins at: where attention is local to chunks, each of them begins one. */
static void chunk_passes(void *context)
{
    const ChunkRun *run = context;
    Reader *r = run->r;
    if (run->parts & CHUNK_ROWS)
        forward_rows(r, run->start, 0, r->chunk);
    else if (run->parts & CHUNK_TAIL)
        tail_rows(r, run->start, r->chunk, r->x);
    else
        resume_rows(r, run->start);
    if (run->parts & CHUNK_LOSS) chunk_loss(r, run->start);
}

/* Its ids are in their place. While the window fills, each chunk begins at a row of its own and
 * none comes back. */
static void chunk_start(ChunkRun *run)
{
    Reader *r = run->r;
    int64_t first = run->start - r->kv_base;
    bool full = r->history >= 0 && first >= r->history;
    ChunkKey key = {r->memory, (int)first, run->parts, r->learn};
    Repeat *repeat = full ? reader_record(r->m, &key) : NULL;
    place_rope(r, run->start, r->chunk);
    if (repeat)
        repeat_run(r->m->be, repeat, chunk_passes, run);
    else
        chunk_passes(run);
    r->m->room->held = run->parts == CHUNK_ROWS ? r->memory : NULL;
}

static int not_finite(const Reader *r, const char *what, Err *err)
{
    return err_set(err,
                   "the %s is not finite in the chunk that ends at token %lld; nothing was "
                   "learned from it; read with a lower inner learning rate",
                   what, (long long)r->counters.tokens);
}

/* Of a whole chunk, the tail's activations are left for its learning, should that be next. */
void reader_append_rows(Reader *r, const int32_t *tokens, int n)
{
    int64_t start = r->counters.tokens;
    int fill = r->fill;
    backend_upload_ids(r->m->be, chunk_ids(r, start - fill) + fill, tokens, (size_t)n);
    rows_done(r, tokens, n);
    if (n == r->chunk) {
        chunk_start(&(ChunkRun){r, start, CHUNK_ROWS});
        return;
    }
    place_rope(r, start, n);
    forward_rows(r, start, fill, n);
    r->m->room->held = NULL;
}

/* tokens: inputs of n chunks and the last target. No step before the first has been refused. */
static void chunks_prepare(Reader *r, int64_t start, const int32_t *tokens, int n)
{
    backend_upload_ids(r->m->be, chunk_ids(r, start), tokens, (size_t)n * (size_t)r->chunk + 1);
    backend_zero(r->m->be, chunk_report(r, start) - 1, 1);
}

/* Reports of n chunks that were started; the one place that waits for them. */
static int chunks_wait(Reader *r, int64_t start, int n, Err *err)
{
    backend_download(r->m->be, r->m->room->host, chunk_report(r, start),
                     (size_t)n * (size_t)(r->chunk + 1));
    return backend_wait(r->m->be, err);
}

/* What the machine has decided by itself: whether the chunk that was just read was learned from. */
static int chunk_learned(Reader *r, const real *report, const int32_t *targets, Err *err)
{
    double loss, norm = (double)report[r->chunk];
    chunk_losses(r->m, &loss, report, targets, 1, r->chunk);
    if (!isfinite(loss)) return not_finite(r, "loss", err);
    r->counters.last_chunk_loss = loss;
    if (!r->learn) return 0;
    if (!isfinite(norm)) return not_finite(r, "inner gradient", err);
    r->counters.last_grad_norm = norm;
    r->counters.steps++;
    return 0;
}

int reader_learn_pieces(Reader *r, int32_t next_token, Err *err)
{
    double began = time_now();
    if (r->learn) {
        unsigned tail = r->m->room->held == r->memory ? 0 : CHUNK_TAIL;
        ChunkRun run = {r, r->counters.tokens - r->chunk, tail | CHUNK_LOSS};
        r->tokens[r->chunk] = next_token;
        chunks_prepare(r, run.start, r->tokens, 1);
        chunk_start(&run);
        TRY(chunks_wait(r, run.start, 1, err));
        TRY(chunk_learned(r, r->m->room->host, r->tokens + 1, err));
    }
    r->logits_known = false;
    begin_chunk(r);
    if (r->learn) r->counters.last_step_seconds = time_now() - began;
    return 0;
}

/* As many as the window takes before it moves: the last of them may have to be given up for what
 * the first has come to, and what moves is gone. */
int reader_chunks_at_once(const Reader *r, size_t n)
{
    int64_t first = r->counters.tokens - r->kv_base, most = (r->kv.rows - first) / r->chunk;
    int places = r->m->room->places - (int)chunk_place(r, r->counters.tokens);
    if (most > places) most = places;
    return n < (size_t)most ? (int)n : (int)most;
}

/* One chunk of those that were all started, once it is known how it went. */
static int chunk_finish(Reader *r, const int32_t *tokens, const real *report, double *nll, Err *err)
{
    rows_done(r, tokens, r->chunk);
    TRY(chunk_learned(r, report, tokens + 1, err));
    for (int i = 0; nll && i < r->chunk; i++) nll[1 + i] = (double)report[i];
    begin_chunk(r);
    return 0;
}

/* After a chunk that is not learned from, those behind it have changed nothing but what goes on
 * from its rows: these are made again. */
int reader_read_chunks(Reader *r, const int32_t *tokens, int n, double *nll, Err *err)
{
    double began = time_now();
    int64_t start = r->counters.tokens, chunk = r->chunk;
    chunks_prepare(r, start, tokens, n);
    for (int i = 0; i < n; i++)
        chunk_start(&(ChunkRun){r, start + i * chunk, CHUNK_ROWS | CHUNK_LOSS});
    TRY(chunks_wait(r, start, n, err));
    for (int i = 0; i < n; i++) {
        int64_t at = i * chunk;
        const real *report = r->m->room->host + i * (chunk + 1);
        if (chunk_finish(r, tokens + at, report, nll ? nll + at : NULL, err) == 0) continue;
        if (i < n - 1) chunk_start(&(ChunkRun){r, start + at, CHUNK_ROWS});
        return -1;
    }
    if (r->learn) r->counters.last_step_seconds = (time_now() - began) / n;
    return 0;
}
