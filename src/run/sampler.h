/* Choosing the next token from log-probabilities. The order is fixed: repetition penalty,
 * temperature, top-k, top-p, then one draw from the sampler's own random numbers. */
#ifndef TTT_RUN_SAMPLER_H
#define TTT_RUN_SAMPLER_H

#include <stdint.h>

#include "base/rng.h"

enum { SAMPLER_WINDOW = 256 }; /* tokens that the repetition penalty looks back on */

typedef struct SamplerOptions {
    double temperature; /* 0: always the most probable token */
    int32_t top_k;      /* only the k most probable; 0: all */
    double top_p;       /* the fewest tokens that hold this share of what top-k left; 1: all */
    double repetition_penalty; /* log p of a recent token is multiplied by it; 1: none */
} SamplerOptions;

typedef struct Sampler {
    SamplerOptions options;
    int32_t vocab_size;
    Rng rng;
    float *score;                   /* (vocab_size) log p after the penalty */
    float *weight;                  /* (vocab_size) exp((score - best) / temperature) */
    int32_t *candidate;             /* (vocab_size) ids that are left */
    uint16_t *repeats;              /* (vocab_size) how often each id is in the window */
    int32_t recent[SAMPLER_WINDOW]; /* a ring of the last noted tokens */
    int64_t noted;
} Sampler;

/* The first of the greatest; -1 where none is above -INFINITY. NaN is passed over. */
int32_t sampler_best(const float *score, int32_t n);

/* Memory for one vocabulary; nothing is allocated afterwards. Same seed, same choices. */
void sampler_init(Sampler *s, const SamplerOptions *options, int32_t vocab_size, uint64_t seed);
void sampler_free(Sampler *s);

/* Puts a token (0 <= token < vocab_size) into the window of the repetition penalty. */
void sampler_note(Sampler *s, int32_t token);
/* Empties the window; or makes it the other sampler's, of the same vocabulary. */
void sampler_clear(Sampler *s);
void sampler_note_as(Sampler *s, const Sampler *other);
/* logp: (vocab_size) log-probabilities, up to a common constant only when there is no repetition
 * penalty; -INFINITY forbids a token and NaN counts as that. Returns the chosen id, or -1 when
 * every token is forbidden. Equal candidates are ranked by id. */
int32_t sampler_next(Sampler *s, const float *logp);

#endif
