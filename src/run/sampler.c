/* Choosing the next token in time that grows with the vocabulary alone: top-k, top-p and the draw
 * each ask for the shortest run of best candidates that holds a number or a weight, which a
 * selection (Hoare, 1961) finds without putting them in order. The draw walks down from the best
 * one, so that rounding in the log-probabilities moves its borders by as little. */
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
    s->weight = mem_alloc(n * sizeof *s->weight);
    s->candidate = mem_alloc(n * sizeof *s->candidate);
    s->repeats = mem_alloc(n * sizeof *s->repeats);
    rng_seed(&s->rng, seed, 0);
}

void sampler_free(Sampler *s)
{
    mem_free(s->score);
    mem_free(s->weight);
    mem_free(s->candidate);
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

void sampler_clear(Sampler *s)
{
    memset(s->repeats, 0, (size_t)s->vocab_size * sizeof *s->repeats);
    s->noted = 0;
}

void sampler_note_as(Sampler *s, const Sampler *other)
{
    CHECK(s->vocab_size == other->vocab_size, "samplers of %d and %d tokens", (int)s->vocab_size,
          (int)other->vocab_size);
    memcpy(s->repeats, other->repeats, (size_t)s->vocab_size * sizeof *s->repeats);
    memcpy(s->recent, other->recent, sizeof s->recent);
    s->noted = other->noted;
}

/* In lanes and blocks, so that compilers vectorize it: a search that remembers where it is takes
 * one element at a time. */
int32_t sampler_best(const float *score, int32_t n)
{
    enum { LANES = 32, BLOCK = 1024 };
    float lane[LANES], top = -INFINITY;
    int32_t i = 0;
    for (int l = 0; l < LANES; l++) lane[l] = top;
    for (; i + LANES <= n; i += LANES)
        for (int l = 0; l < LANES; l++) lane[l] = score[i + l] > lane[l] ? score[i + l] : lane[l];
    for (; i < n; i++) top = score[i] > top ? score[i] : top;
    for (int l = 0; l < LANES; l++) top = lane[l] > top ? lane[l] : top;
    if (!(top > -INFINITY)) return -1;
    int32_t from = 0;
    for (int found = 0; from + BLOCK <= n; from += BLOCK) {
        for (int j = 0; j < BLOCK; j++) found |= score[from + j] == top;
        if (found) break;
    }
    while (score[from] != top) from++;
    return from;
}

/* Fills score with penalized log-probabilities, -INFINITY where forbidden; returns the best id, -1
 * when there is none. */
static int32_t score_all(Sampler *s, const float *logp)
{
    for (int32_t id = 0; id < s->vocab_size; id++)
        s->score[id] = logp[id] > -INFINITY ? logp[id] : -INFINITY; /* NaN too */
    int64_t window = s->noted < SAMPLER_WINDOW ? s->noted : SAMPLER_WINDOW;
    for (int64_t i = 0; i < window; i++) {
        int32_t id = s->recent[i];
        if (s->score[id] > -INFINITY)
            s->score[id] = (float)((double)logp[id] * s->options.repetition_penalty);
    }
    return sampler_best(s->score, s->vocab_size);
}

/* Weights exp((score - best) / temperature), at most 1; those under 1e-13 are none. Their sum. */
static double weigh(Sampler *s, int32_t best)
{
    const double nothing = -30;
    double top = (double)s->score[best], sum = 0;
    for (int32_t id = 0; id < s->vocab_size; id++) {
        double x = ((double)s->score[id] - top) / s->options.temperature;
        s->weight[id] = x > nothing ? expf((float)x) : 0;
        sum += (double)s->weight[id];
    }
    s->weight[best] = 1; /* also where 0 / temperature is none */
    return sum > 0 ? sum : 1;
}

/* The ids of weight `least` and more, which is positive. */
static int32_t gather(Sampler *s, float least)
{
    int32_t n = 0;
    for (int32_t id = 0; id < s->vocab_size; id++) {
        s->candidate[n] = id;
        n += s->weight[id] >= least;
        if (n == s->vocab_size) break;
    }
    return n;
}

/* Whether a comes before b in the order of candidates. */
static bool ranks_before(const Sampler *s, int32_t a, int32_t b)
{
    return (s->score[a] > s->score[b]) | ((s->score[a] == s->score[b]) & (a < b));
}

static void swap(int32_t *a, int32_t *b)
{
    int32_t t = *a;
    *a = *b;
    *b = t;
}

/* What a candidate counts for: 1, or its weight. */
static double measure(const Sampler *s, int32_t id, bool count)
{
    return count ? 1 : (double)s->weight[id];
}

/* Candidates [from, to) around the middle one's rank: those before it come first. Returns its new
 * place; *held: what lies before it measures. */
static int32_t partition(Sampler *s, int32_t from, int32_t to, bool count, double *held)
{
    int32_t *c = s->candidate, pivot = c[from + (to - from) / 2], place = from;
    swap(&c[from + (to - from) / 2], &c[to - 1]);
    *held = 0;
    for (int32_t i = from; i < to - 1; i++) {
        int32_t id = c[i]; /* no branch: which way it goes cannot be foreseen */
        bool before = ranks_before(s, id, pivot);
        *held += before ? measure(s, id, count) : 0;
        c[i] = c[place];
        c[place] = id;
        place += before;
    }
    swap(&c[place], &c[to - 1]);
    return place;
}

/* Moves the fewest best of n candidates that measure `wanted` to the front, the last of them at
 * their end; at least one. Returns how many; *held: what they measure. */
static int32_t select_best(Sampler *s, int32_t n, double wanted, bool count, double *held)
{
    int32_t from = 0, to = n;
    double before = 0; /* of [0, from) */
    for (;;) {
        double part;
        int32_t place = partition(s, from, to, count, &part);
        double with = before + part + measure(s, s->candidate[place], count);
        if (place > from && before + part >= wanted) {
            to = place;
        } else if (with >= wanted || place + 1 == to) {
            *held = with;
            return place + 1;
        } else {
            before = with;
            from = place + 1;
        }
    }
}

/* Puts the candidates that top-k and top-p keep in front; returns how many, and their weight. */
static int32_t keep_best(Sampler *s, double *sum)
{
    const SamplerOptions *o = &s->options;
    const float least = 1e-37F;
    bool top_k = o->top_k > 0 && o->top_k < s->vocab_size;
    /* All that weigh less than this together cannot make up what top-p leaves out. */
    double share = (1 - o->top_p) * *sum / s->vocab_size;
    int32_t n = gather(s, !top_k && share > (double)least ? (float)(0.999 * share) : least);
    double wanted = o->top_p * *sum;
    if (top_k && o->top_k < n) {
        n = select_best(s, n, o->top_k, true, sum);
        *sum = 0;
        for (int32_t i = 0; i < n; i++) *sum += (double)s->weight[s->candidate[i]];
        wanted = o->top_p * *sum;
    }
    return o->top_p < 1 ? select_best(s, n, wanted, false, sum) : n;
}

int32_t sampler_next(Sampler *s, const float *logp)
{
    int32_t best = score_all(s, logp);
    if (best < 0 || s->options.temperature <= 0) return best;
    double sum = weigh(s, best), held;
    int32_t kept = keep_best(s, &sum);
    double at = rng_uniform(&s->rng) * sum;
    return s->candidate[select_best(s, kept, at, false, &held) - 1];
}
