/* One thread's bfloat16 products in registers. The only code of this file is compiled for CPUs with
 * AVX512_BF16 (CMakeLists.txt) and called on those alone. */
#include "backend/peak.h"

#ifdef __AVX512BF16__
#include <immintrin.h>

const bool peak_bf16_compiled = true;

/* Twelve sums that depend on nothing but themselves; named, as in ops/peak.c. They begin apart, or
 * the compiler would keep only one of them. */
double peak_bf16_loop(float *out, int64_t rounds)
{
    enum { SUMS = 12, LANES = 16, PAIR = 2 };
    __m512bh a = _mm512_cvtne2ps_pbh(_mm512_set1_ps(0.25F), _mm512_set1_ps(-0.25F));
    __m512bh b = _mm512_cvtne2ps_pbh(_mm512_set1_ps(0.5F), _mm512_set1_ps(0.5F));
    __m512 one = _mm512_set1_ps(1), x0 = one, x1 = x0 + one, x2 = x1 + one, x3 = x2 + one;
    __m512 x4 = x3 + one, x5 = x4 + one, x6 = x5 + one, x7 = x6 + one, x8 = x7 + one;
    __m512 x9 = x8 + one, x10 = x9 + one, x11 = x10 + one;
    for (int64_t i = 0; i < rounds; i++) {
        x0 = _mm512_dpbf16_ps(x0, a, b);
        x1 = _mm512_dpbf16_ps(x1, a, b);
        x2 = _mm512_dpbf16_ps(x2, a, b);
        x3 = _mm512_dpbf16_ps(x3, a, b);
        x4 = _mm512_dpbf16_ps(x4, a, b);
        x5 = _mm512_dpbf16_ps(x5, a, b);
        x6 = _mm512_dpbf16_ps(x6, a, b);
        x7 = _mm512_dpbf16_ps(x7, a, b);
        x8 = _mm512_dpbf16_ps(x8, a, b);
        x9 = _mm512_dpbf16_ps(x9, a, b);
        x10 = _mm512_dpbf16_ps(x10, a, b);
        x11 = _mm512_dpbf16_ps(x11, a, b);
    }
    __m512 sum = x0 + x1 + x2 + x3 + x4 + x5 + x6 + x7 + x8 + x9 + x10 + x11;
    *out = _mm512_reduce_add_ps(sum);
    return 2.0 * SUMS * LANES * PAIR * (double)rounds;
}
#else
const bool peak_bf16_compiled = false;

double peak_bf16_loop(float *out, int64_t rounds)
{
    (void)rounds;
    *out = 0;
    return 0;
}
#endif
