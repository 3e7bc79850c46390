/* Writing several texts side by side: see streams.h. */
#include "cli/streams.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h" // defines: mem_alloc, mem_free, time_now
#include "cli/interrupt.h"

static void silent_find(Streams *all)
{
    const Tokenizer *tok = all->s->tokenizer;
    char piece[TOKENIZER_MAX_PIECE];
    int32_t ids = (int32_t)all->s->info.vocab_size;
    all->silent = mem_alloc((size_t)ids * sizeof *all->silent);
    for (int32_t id = 0; id < ids; id++) {
        bool text = id < tokenizer_vocab_size(tok) && tokenizer_decode(tok, id, piece) > 0;
        if (!text && id != tokenizer_eos(tok)) all->silent[all->n_silent++] = id;
    }
}

void streams_open(Streams *all, const Session *s, int n)
{
    size_t size = (size_t)n;
    *all = (Streams){.s = s, .n = n};
    all->stream = mem_alloc(size * sizeof *all->stream);
    all->active = mem_alloc(size * sizeof *all->active);
    all->index = mem_alloc(size * sizeof *all->index);
    all->token = mem_alloc(size * sizeof *all->token);
    all->logp = mem_alloc(size * (size_t)s->info.vocab_size * sizeof *all->logp);
    silent_find(all);
}

void streams_close(Streams *all)
{
    for (int i = 0; i < all->n; i++) {
        Stream *t = &all->stream[i];
        ttt_reader_free(t->reader);
        if (t->sampler.score) sampler_free(&t->sampler);
        if (t->to && t->to != stdout) fclose(t->to);
        free(t->text);
    }
    mem_free(all->stream);
    mem_free(all->active);
    mem_free(all->index);
    mem_free(all->token);
    mem_free(all->logp);
    mem_free(all->silent);
    mem_free(all->pause);
    *all = (Streams){0};
}

void stream_begin(Streams *all, int i, ttt_reader *reader, const SamplerOptions *sampler,
                  int64_t seed, const TextList *stops, bool live)
{
    Stream *t = &all->stream[i];
    t->reader = reader;
    t->seed = seed;
    sampler_init(&t->sampler, sampler, (int32_t)all->s->info.vocab_size, (uint64_t)seed);
    t->to = live ? stdout : open_memstream(&t->text, &t->size);
    mem_need(t->to != NULL, "the text");
    text_out_init(&t->out, t->to, stops);
    sha256_init(&t->sha);
}

int64_t streams_tokens(const Streams *all)
{
    int64_t sum = 0;
    for (int i = 0; i < all->n; i++) sum += all->stream[i].tokens;
    return sum;
}

static void pause_add(Streams *all, double seconds)
{
    if (all->n_pauses == all->room) {
        all->room = all->room ? 2 * all->room : 256;
        double *more = mem_alloc((size_t)all->room * sizeof *more);
        if (all->n_pauses > 0) memcpy(more, all->pause, (size_t)all->n_pauses * sizeof *more);
        mem_free(all->pause);
        all->pause = more;
    }
    all->pause[all->n_pauses++] = seconds;
}

/* The next token, or -1 with err set. Ids that stand for no text are left to training. */
static int32_t choose(const Streams *all, Stream *t, float *logp, Err *err)
{
    for (int i = 0; i < all->n_silent; i++) logp[all->silent[i]] = -INFINITY;
    int32_t id = sampler_next(&t->sampler, logp);
    return id >= 0 ? id : err_set(err, "no token has any probability: the model is damaged");
}

/* Writes a token. Returns 1 where its reader is to read it, else 0; the stream may have ended. */
static int take(const Session *s, Stream *t, int32_t id, Err *err)
{
    char piece[TOKENIZER_MAX_PIECE];
    if (id == tokenizer_eos(s->tokenizer)) {
        t->end = "eos";
        return 0;
    }
    sampler_note(&t->sampler, id);
    size_t n = (size_t)tokenizer_decode(s->tokenizer, id, piece);
    sha256_update(&t->sha, piece, n);
    if (text_out_push(&t->out, piece, n)) t->end = "stop";
    if (ferror(t->to)) return err_errno(err, "cannot write to standard output");
    return 1;
}

/* The streams that go on, chosen tokens in all->token. Returns their number. */
static int choose_all(Streams *all, int n, Err *err)
{
    int kept = 0;
    for (int k = 0; k < n; k++) {
        Stream *t = &all->stream[all->index[k]];
        float *logp = all->logp + (size_t)k * (size_t)all->s->info.vocab_size;
        int32_t id = choose(all, t, logp, err);
        TRY(id);
        int reads = take(all->s, t, id, err);
        TRY(reads);
        if (!reads) continue;
        all->index[kept] = all->index[k];
        all->active[kept] = t->reader;
        all->token[kept++] = id;
    }
    return kept;
}

/* Steps of learning that active reader k has taken. */
static int64_t steps_taken(const Streams *all, int k)
{
    ttt_reader_info info;
    ttt_reader_describe(all->active[k], &info);
    return info.steps;
}

/* Feeds n tokens and times what learning they had to wait for. */
static int feed_all(Streams *all, int n, Err *err)
{
    int64_t *before = mem_alloc((size_t)n * sizeof *before);
    double waited = 0;
    for (int k = 0; k < n; k++) before[k] = steps_taken(all, k);
    int status = ttt_feed_each(all->active, n, all->token);
    if (status < 0) err_set(err, "%s", ttt_error(all->active[0]));
    for (int k = 0; status == 0 && k < n; k++) {
        ttt_reader_info info;
        ttt_reader_describe(all->active[k], &info);
        if (info.steps > before[k]) waited += info.last_step_seconds;
        all->stream[all->index[k]].tokens++;
    }
    mem_free(before);
    if (waited > 0) pause_add(all, waited);
    return status;
}

/* Puts those that are to go on in front. */
static int still_writing(Streams *all, int64_t max_tokens)
{
    int n = 0;
    for (int i = 0; i < all->n; i++) {
        Stream *t = &all->stream[i];
        if (!t->end && t->tokens >= max_tokens) t->end = "length";
        if (!t->end && interrupt_signal()) t->end = "interrupted";
        if (t->end) continue;
        all->index[n] = i;
        all->active[n++] = t->reader;
    }
    return n;
}

static int write_all(Streams *all, int64_t max_tokens, Err *err)
{
    for (;;) {
        int n = still_writing(all, max_tokens);
        if (n == 0) return 0;
        if (ttt_logprobs_each(all->active, n, all->logp) < 0)
            return err_set(err, "%s", ttt_error(all->active[0]));
        n = choose_all(all, n, err);
        TRY(n);
        TRY(n > 0 ? feed_all(all, n, err) : 0);
    }
}

int streams_write(Streams *all, int64_t max_tokens, Err *err)
{
    double start = time_now();
    TRY(write_all(all, max_tokens, err));
    all->seconds = time_now() - start;
    for (int i = 0; i < all->n; i++) {
        text_out_end(&all->stream[i].out);
        if (all->stream[i].to != stdout) fflush(all->stream[i].to); /* fills in text and size */
    }
    return 0;
}
