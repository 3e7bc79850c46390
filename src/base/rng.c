/* xoshiro256++ and splitmix64 (Blackman and Vigna), and the distributions that are needed. */
#include "base/rng.h"

#include <math.h>

#include "base/err.h"

static uint64_t splitmix(uint64_t *x)
{
    uint64_t z = (*x += 0x9e3779b97f4a7c15u);
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return z ^ (z >> 31);
}

void rng_seed(Rng *rng, uint64_t seed, uint64_t stream)
{
    /* The seed is mixed before the stream comes in, so (1, 2) and (2, 1) share nothing. */
    uint64_t x = splitmix(&seed) ^ stream;
    for (int i = 0; i < 4; i++) rng->s[i] = splitmix(&x);
}

static uint64_t rotate_left(uint64_t x, int k)
{
    return (x << k) | (x >> (64 - k));
}

uint64_t rng_u64(Rng *rng)
{
    uint64_t *s = rng->s;
    uint64_t result = rotate_left(s[0] + s[3], 23) + s[0];
    uint64_t shifted = s[1] << 17;
    s[2] ^= s[0];
    s[3] ^= s[1];
    s[1] ^= s[2];
    s[0] ^= s[3];
    s[2] ^= shifted;
    s[3] = rotate_left(s[3], 45);
    return result;
}

double rng_uniform(Rng *rng)
{
    return (double)(rng_u64(rng) >> 11) * 0x1p-53;
}

/* Box-Muller; 1 - u lies in (0, 1], where the logarithm is finite. */
double rng_normal(Rng *rng)
{
    double radius = sqrt(-2 * log(1 - rng_uniform(rng)));
    return radius * cos(2 * M_PI * rng_uniform(rng));
}

uint64_t rng_below(Rng *rng, uint64_t n)
{
    CHECK(n > 0, "rng_below(0)");
    uint64_t surplus = -n % n; /* 2^64 mod n: that many values would come up once too often */
    uint64_t x;
    do x = rng_u64(rng);
    while (x < surplus);
    return x % n;
}
