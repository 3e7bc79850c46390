/* Benchmarks of one stream: reading pieces of text, and generating token by token. */

#include "base/mem.h"   // defines: mem_alloc
#include "model/tail.h" // defines: history_rows, lead_reach
#include "run/bench_work.h"
#include "run/sampler.h" // defines: sampler_best

enum { READ_STEPS = 3, FRESH_TOKENS = 8192 };

/* Tokens of one timed step of reading: a sequence of training, in whole chunks. */
static int64_t piece_tokens(const Config *c)
{
    int64_t chunk = c->model.mini_batch_size, wanted = c->training.seq_length;
    return (wanted + chunk - 1) / chunk * chunk;
}

/* A full window, so that what is timed is how it goes on. */
static int64_t prompt_tokens(const BenchWork *w)
{
    const Config *c = &w->cfg;
    int64_t window = c->model.sliding_window_size, length = c->training.seq_length;
    return w->o->tokens >= 0 ? w->o->tokens : window < length ? window : length;
}

/* Random tokens again and again. */
static int feed(BenchWork *w, Reader *reader, int64_t n, Err *err)
{
    for (int64_t done = 0; done < n;) {
        int64_t part = n - done < w->room ? n - done : w->room;
        TRY(reader_feed(reader, w->tokens, (size_t)part, NULL, err));
        done += part;
    }
    return 0;
}

static int fresh_open(BenchWork *w, Err *err)
{
    BenchResult *r = w->result;
    r->fresh_tokens = w->o->tokens < FRESH_TOKENS ? w->o->tokens : FRESH_TOKENS;
    w->fresh_seconds = mem_alloc((size_t)(w->o->warmup + w->steps) * sizeof *w->fresh_seconds);
    TRY(reader_create(&w->fresh, w->m, w->learn, 0, err));
    return feed(w, w->fresh, r->fresh_tokens, err);
}

static int read_open(BenchWork *w, Err *err)
{
    w->steps = w->o->steps < 0 ? READ_STEPS : w->o->steps;
    w->result->step_tokens = piece_tokens(&w->cfg);
    w->result->tokens_before = w->o->tokens > 0 ? w->o->tokens : 0;
    w->restarts = history_rows(w->m) < 0;
    if (w->restarts && w->o->tokens > 0)
        return err_set(err, "full attention has no stream to go on with; leave out --tokens");
    TRY(feed(w, w->reader, w->result->tokens_before, err));
    return w->o->tokens > 0 && !w->restarts ? fresh_open(w, err) : 0;
}

/* Copies of the reader for the other texts. */
static int readers_open(BenchWork *w, Err *err)
{
    size_t n = (size_t)w->o->batch;
    w->readers = mem_alloc(n * sizeof *w->readers);
    w->next = mem_alloc(n * sizeof *w->next);
    w->readers[0] = w->reader;
    for (size_t i = 1; i < n; i++) TRY(reader_clone(&w->readers[i], w->reader, err));
    return 0;
}

/* At least one pause for learning is met. */
static int generate_open(BenchWork *w, Err *err)
{
    int64_t chunk = w->cfg.model.mini_batch_size;
    w->steps = w->o->steps >= 0 ? w->o->steps : w->learn && chunk > 64 ? chunk + 1 : 65;
    w->result->step_tokens = w->o->batch;
    w->result->tokens_before = prompt_tokens(w);
    w->pause = mem_alloc((size_t)w->steps * sizeof *w->pause);
    w->rate = mem_alloc((size_t)w->steps * sizeof *w->rate);
    w->logp = mem_alloc((size_t)(w->o->batch * w->cfg.model.output_size) * sizeof *w->logp);
    w->reads = bench_reads_open(w->be);
    TRY(feed(w, w->reader, w->result->tokens_before, err));
    return readers_open(w, err);
}

int bench_reader_open(BenchWork *w, Err *err)
{
    TRY(model_create(&w->m, w->be, &w->cfg, err));
    w->learn = model_learns(w->m) && !w->o->no_learning;
    TRY(reader_create(&w->reader, w->m, w->learn, 0, err));
    bench_tokens(w, piece_tokens(&w->cfg));
    return w->o->kind == BENCH_READ ? read_open(w, err) : generate_open(w, err);
}

int bench_read_step(BenchWork *w, int64_t step, Err *err)
{
    if (w->restarts) {
        reader_free(w->reader);
        w->reader = NULL;
        TRY(reader_create(&w->reader, w->m, w->learn, 0, err));
    }
    bench_start(w, step);
    int status = feed(w, w->reader, w->result->step_tokens, err);
    bench_stop(w, step);
    TRY(status);
    if (!w->fresh) return 0;
    double began = time_now();
    TRY(feed(w, w->fresh, w->result->step_tokens, err));
    w->fresh_seconds[step] = time_now() - began;
    return 0;
}

static int32_t best_token(const float *logp, int64_t n)
{
    int32_t best = sampler_best(logp, (int32_t)n);
    return best < 0 ? 0 : best;
}

/* One token of each text. */
static int generate_tokens(BenchWork *w, Err *err)
{
    int n = (int)w->o->batch;
    int64_t V = w->cfg.model.output_size;
    TRY(readers_logprobs(w->readers, n, w->logp, err));
    for (int i = 0; i < n; i++) w->next[i] = best_token(w->logp + i * V, w->cfg.model.vocab_size);
    return readers_feed(w->readers, n, w->next, err);
}

static int64_t steps_taken(const BenchWork *w, double *last_seconds)
{
    int64_t steps = 0;
    *last_seconds = 0;
    for (int64_t i = 0; i < w->o->batch; i++) {
        ReaderCounters c;
        reader_counters(w->readers[i], &c);
        steps += c.steps;
        *last_seconds += c.last_step_seconds;
    }
    return steps;
}

int bench_generate_step(BenchWork *w, int64_t step, Err *err)
{
    enum { RATES = 64 };
    double learning;
    int64_t before = steps_taken(w, &learning), timed = step - w->o->warmup;
    if (timed >= 0 && timed % (w->steps / RATES + 1) == 0)
        w->rate[timed] = bench_reads_burst(w->reads);
    bench_start(w, step);
    int status = generate_tokens(w, err);
    bench_stop(w, step);
    TRY(status);
    /* Copies of one reader complete their chunks together. */
    if (steps_taken(w, &learning) > before && timed >= 0) w->pause[timed] = learning;
    return 0;
}

/* The floor of the timed tokens alone: sums of positions a..b are those of 0..b less those of 0..a.
 */
static double floor_between(const BenchWork *w, int64_t a, int64_t b)
{
    double head = a > 0 ? (double)a * sweep_floor_flops(w->m, a, false, w->learn) : 0;
    return ((double)b * sweep_floor_flops(w->m, b, false, w->learn) - head) / (double)(b - a);
}

static void floor_set(BenchWork *w)
{
    BenchResult *r = w->result;
    int64_t each = w->o->kind == BENCH_GENERATE ? 1 : r->step_tokens; /* of a stream */
    int64_t first = r->tokens_before + w->o->warmup * each;
    if (w->restarts) first = 0;
    int64_t end = first + (w->restarts ? 1 : w->steps) * each;
    ReaderCounters c;
    reader_counters(w->reader, &c);
    r->floor_flops = floor_between(w, first, end);
    r->loss = c.last_chunk_loss;
}

void bench_read_close(BenchWork *w)
{
    floor_set(w);
    if (w->fresh) w->result->fresh = bench_times(w->fresh_seconds + w->o->warmup, w->steps);
}

/* Bytes that one token of each text cannot do without: all weights but the embedding's other rows,
 * adapted ones for each text, and the keys and values that its query sees. */
static double token_bytes(const BenchWork *w)
{
    const ModelConfig *c = &w->cfg.model;
    double weights = (double)w->m->table.size, texts = (double)w->o->batch;
    if (!c->tie_word_embeddings) weights -= (double)w->m->table.entry[P_WTE].size;
    weights += (texts - 1) * (double)w->m->inner.size;
    int64_t seen = w->result->tokens_before + w->o->warmup + w->steps / 2;
    Reach reach = lead_reach(w->m);
    if (reach.window > 0 && seen > reach.window) seen = reach.window;
    if (reach.local > 0 && seen > reach.local) seen = reach.local;
    double window = 2.0 * (double)c->num_hidden_layers * (double)seen * (double)c->hidden_size;
    return weights * (w->be->bf16 ? 2 : sizeof(real)) +
           texts * window * (backend_half_windows(w->be) ? sizeof(uint16_t) : sizeof(real));
}

static BenchTimes rates_taken(BenchWork *w)
{
    int64_t n = 0;
    for (int64_t i = 0; i < w->steps; i++)
        if (w->rate[i] > 0) w->rate[n++] = w->rate[i];
    return bench_times(w->rate, n);
}

/* Takes the pauses out of the tokens' times. */
static void pauses_split(BenchWork *w)
{
    BenchResult *r = w->result;
    double *token = mem_alloc((size_t)w->steps * sizeof *token);
    int64_t n = 0;
    for (int64_t i = 0; i < w->steps; i++) {
        double pause = w->pause[i];
        token[i] = w->seconds[w->o->warmup + i] - pause;
        if (pause > 0) w->pause[n++] = pause;
    }
    r->token = bench_times(token, w->steps);
    if (n > 0) r->pause = bench_times(w->pause, n);
    mem_free(token);
}

void bench_generate_close(BenchWork *w)
{
    BenchResult *r = w->result;
    floor_set(w);
    pauses_split(w);
    r->read_bytes = token_bytes(w);
    r->peak_rss -= bench_reads_bytes(w->reads); /* no part of what is measured */
    r->read_gbs = rates_taken(w);
    r->read_seconds = r->read_bytes / r->read_gbs.median / 1e9;
}
