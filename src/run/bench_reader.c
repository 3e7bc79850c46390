/* Benchmarks of one stream: reading pieces of text, and generating token by token. */
#include <math.h>

#include "base/mem.h"   // defines: mem_alloc
#include "model/tail.h" // defines: history_rows, lead_reach
#include "run/bench_peak.h"
#include "run/bench_work.h"

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

/* At least one pause for learning is met. */
static int generate_open(BenchWork *w, Err *err)
{
    int64_t chunk = w->cfg.model.mini_batch_size;
    w->steps = w->o->steps >= 0 ? w->o->steps : w->learn && chunk > 64 ? chunk + 1 : 65;
    w->result->step_tokens = 1;
    w->result->tokens_before = prompt_tokens(w);
    w->pause = mem_alloc((size_t)w->steps * sizeof *w->pause);
    w->logp = mem_alloc((size_t)w->cfg.model.output_size * sizeof *w->logp);
    return feed(w, w->reader, w->result->tokens_before, err);
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
    int64_t best = 0;
    for (int64_t i = 1; i < n; i++)
        if (logp[i] > logp[best]) best = i;
    return (int32_t)best;
}

int bench_generate_step(BenchWork *w, int64_t step, Err *err)
{
    ReaderCounters before, after;
    reader_counters(w->reader, &before);
    bench_start(w, step);
    int status = reader_logprobs(w->reader, w->logp, err);
    int32_t token = best_token(w->logp, w->cfg.model.vocab_size);
    if (status == 0) status = reader_feed(w->reader, &token, 1, NULL, err);
    bench_stop(w, step);
    TRY(status);
    reader_counters(w->reader, &after);
    if (step >= w->o->warmup && after.steps > before.steps)
        w->pause[step - w->o->warmup] = after.last_step_seconds;
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
    int64_t first = r->tokens_before + w->o->warmup * r->step_tokens;
    if (w->restarts) first = 0;
    int64_t end = first + (w->restarts ? 1 : w->steps) * r->step_tokens;
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

/* Bytes that one token cannot do without: all weights but the embedding's other rows, and the keys
 * and values that its queries see. */
static double token_bytes(const BenchWork *w)
{
    const ModelConfig *c = &w->cfg.model;
    size_t weights = w->m->table.size;
    if (!c->tie_word_embeddings) weights -= w->m->table.entry[P_WTE].size;
    int64_t seen = w->result->tokens_before + w->o->warmup + w->steps / 2;
    Reach reach = lead_reach(w->m);
    if (reach.window > 0 && seen > reach.window) seen = reach.window;
    if (reach.local > 0 && seen > reach.local) seen = reach.local;
    double window = 2.0 * (double)c->num_hidden_layers * (double)seen * (double)c->hidden_size;
    return (double)weights * (w->be->bf16 ? 2 : sizeof(real)) + window * sizeof(real);
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
    r->read_gbs = bench_peak_memory(w->be, PEAK_READ);
    r->read_seconds = r->read_bytes / r->read_gbs / 1e9;
}
