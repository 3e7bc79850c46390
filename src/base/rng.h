/* Random numbers from four words of explicit state: xoshiro256++, seeded through splitmix64. The
 * state is all there is (nothing is cached), so saving s[4] saves the generator. */
#ifndef TTT_BASE_RNG_H
#define TTT_BASE_RNG_H

#include <stdint.h>

typedef struct Rng {
    uint64_t s[4];
} Rng;

/* Different streams of one seed are independent sequences. */
void rng_seed(Rng *rng, uint64_t seed, uint64_t stream);
uint64_t rng_u64(Rng *rng);
double rng_uniform(Rng *rng);             /* in [0, 1), 53 bits */
double rng_normal(Rng *rng);              /* mean 0, variance 1; takes two words each */
uint64_t rng_below(Rng *rng, uint64_t n); /* in [0, n), without bias; n > 0 */

#endif
