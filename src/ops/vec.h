/* One register of `real`, as wide as the instruction set of this file has them. Loads and stores
 * need no alignment. */
#ifndef TTT_OPS_VEC_H
#define TTT_OPS_VEC_H

#include <stdint.h>
#include <string.h>
#ifdef __AVX2__
#include <immintrin.h>
#endif

#include "base/real.h"

#if defined __AVX512F__
enum { VECTOR = 64 };
#elif defined __AVX__
enum { VECTOR = 32 };
#else
enum { VECTOR = 16 };
#endif

enum { LANES = VECTOR / (int)sizeof(real) };

typedef real Vec __attribute__((vector_size(VECTOR), may_alias));

static inline Vec vec_load(const real *x)
{
    Vec v;
    memcpy(&v, x, sizeof v);
    return v;
}

static inline void vec_store(real *y, Vec v)
{
    memcpy(y, &v, sizeof v);
}

static inline real vec_sum(Vec v)
{
    real sum = 0;
    for (int i = 0; i < LANES; i++) sum += v[i];
    return sum;
}

/* bfloat16 is the upper half of a float. */
static inline real widen_one(uint16_t half)
{
    uint32_t bits = (uint32_t)half << 16;
    float x;
    memcpy(&x, &bits, sizeof x);
    return (real)x;
}

/* LANES of them. The compiler's own conversion goes by way of two halves. */
static inline Vec vec_widen(const uint16_t *half)
{
#if defined __AVX512F__ && !defined TTT_FP64
    __m256i h = _mm256_loadu_si256((const __m256i *)(const void *)half);
    return (Vec)_mm512_slli_epi32(_mm512_cvtepu16_epi32(h), 16);
#elif defined __AVX2__ && !defined TTT_FP64
    __m128i h = _mm_loadu_si128((const __m128i *)(const void *)half);
    return (Vec)_mm256_slli_epi32(_mm256_cvtepu16_epi32(h), 16);
#else
    Vec v = {0};
    for (int i = 0; i < LANES; i++) v[i] = widen_one(half[i]);
    return v;
#endif
}

#endif
