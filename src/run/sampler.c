/* Choosing the next token. Candidates sit in a heap, so that only as many are put in order as top-k
 * and top-p keep; without both, the draw needs no order at all. */
#include "run/sampler.h"

#include <math.h>
#include <string.h>

#include "base/err.h"
#include "base/mem.h"

void sampler_init(Sampler *s, const SamplerOptions *options, int32_t vocab_size, uint64_t seed)
{
    CHECK(vocab_size > 0, "a sampler needs a vocabulary");
    memset(s, 0, sizeof *s);
    s->options = *options;
    s->vocab_size = vocab_size;
    size_t n = (size_t)vocab_size;
    s->score = mem_alloc(n * sizeof *s->score);
    s->heap = mem_alloc(n * sizeof *s->heap);
    s->repeats = mem_alloc(n * sizeof *s->repeats);
    rng_seed(&s->rng, seed, 0);
}

void sampler_free(Sampler *s)
{
    mem_free(s->score);
    mem_free(s->heap);
    mem_free(s->repeats);
    memset(s, 0, sizeof *s);
}

void sampler_note(Sampler *s, int32_t token)
{
    CHECK(token >= 0 && token < s->vocab_size, "token %d is not in the sampler's vocabulary",
          (int)token);
    int32_t *slot = &s->recent[s->noted % SAMPLER_WINDOW];
    if (s->noted >= SAMPLER_WINDOW) s->repeats[*slot]--;
    *slot = token;
    s->repeats[token]++;
    s->noted++;
}

/* Whether a comes before b in the order of candidates. */
static bool ranks_before(const Sampler *s, int32_t a, int32_t b)
{
    return s->score[a] > s->score[b] || (s->score[a] == s->score[b] && a < b);
}

static void sift_down(Sampler *s, int32_t n, int32_t at)
{
    int32_t moving = s->heap[at];
    for (int32_t child = 2 * at + 1; child < n; child = 2 * at + 1) {
        if (child + 1 < n && ranks_before(s, s->heap[child + 1], s->heap[child])) child++;
        if (!ranks_before(s, s->heap[child], moving)) break;
        s->heap[at] = s->heap[child];
        at = child;
    }
    s->heap[at] = moving;
}

/* Moves the best of n candidates to the end of them: after k calls the last k are in order. */
static void pop_best(Sampler *s, int32_t n)
{
    int32_t best = s->heap[0];
    s->heap[0] = s->heap[n - 1];
    s->heap[n - 1] = best;
    sift_down(s, n - 1, 0);
}

/* Fills score with penalized log-probabilities and heap with the ids that are not forbidden;
 * returns how many, and the best of them. */
static int32_t gather(Sampler *s, const float *logp, int32_t *best)
{
    int32_t n = 0;
    *best = -1;
    for (int32_t id = 0; id < s->vocab_size; id++) {
        double x = logp[id];
        if (isnan(x) || x == -INFINITY) continue;
        s->score[id] = s->repeats[id] > 0 ? x * s->options.repetition_penalty : x;
        s->heap[n++] = id;
        if (*best < 0 || ranks_before(s, id, *best)) *best = id;
    }
    return n;
}

/* Weights exp((score - best) / temperature), at most 1, take the place of the scores; their sum. */
static double weigh(Sampler *s, int32_t n, int32_t best)
{
    double top = s->score[best], sum = 0;
    for (int32_t i = 0; i < n; i++) {
        double *score = &s->score[s->heap[i]];
        *score = exp((*score - top) / s->options.temperature);
        sum += *score;
    }
    return sum;
}

/* Puts the candidates that top-k and top-p keep at the end of the heap's n, best last; sets *sum to
 * their weight and returns how many. */
static int32_t keep_best(Sampler *s, int32_t n, double *sum)
{
    const SamplerOptions *o = &s->options;
    int32_t limit = o->top_k > 0 && o->top_k < n ? o->top_k : n;
    if (limit == n && o->top_p >= 1) return n;
    for (int32_t i = n / 2 - 1; i >= 0; i--) sift_down(s, n, i);
    /* What top-p takes its share of is known beforehand only where top-k keeps everything. */
    int32_t popped = 0;
    if (limit < n) {
        *sum = 0;
        for (; popped < limit; popped++) {
            pop_best(s, n - popped);
            *sum += s->score[s->heap[n - 1 - popped]];
        }
        if (o->top_p >= 1) return limit;
    }
    double wanted = o->top_p * *sum, held = 0;
    int32_t kept = 0;
    while (kept < limit && (kept == 0 || held < wanted)) {
        if (kept == popped) pop_best(s, n - popped++);
        held += s->score[s->heap[n - 1 - kept]];
        kept++;
    }
    *sum = held;
    return kept;
}

int32_t sampler_next(Sampler *s, const float *logp)
{
    int32_t best, n = gather(s, logp, &best);
    if (n == 0 || s->options.temperature <= 0) return best;
    double sum = weigh(s, n, best);
    int32_t kept = keep_best(s, n, &sum);
    double at = rng_uniform(&s->rng) * sum;
    for (int32_t i = 0; i < kept; i++) {
        int32_t id = s->heap[n - 1 - i];
        at -= s->score[id];
        if (at < 0) return id;
    }
    return best; /* rounding left a remainder */
}
