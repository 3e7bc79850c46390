/* float to bfloat16 by the instruction for it; compiled for the CPUs that have it and called only
 * there (bf16_native). */
#include "backend/gemm_bf16.h"

#ifdef __AVX512BF16__
#include <immintrin.h>

static void pack_row(uint16_t *to, const float *x, int n, float scale)
{
    __m512 s = _mm512_set1_ps(scale);
    int j = 0;
    for (; j + 16 <= n; j += 16) {
        __m256bh h = _mm512_cvtneps_pbh(_mm512_mul_ps(_mm512_loadu_ps(x + j), s));
        _mm256_storeu_si256((__m256i *)(void *)(to + j), (__m256i)h);
    }
    if (j == n) return;
    __mmask16 rest = (__mmask16)((1u << (n - j)) - 1);
    __m256bh h = _mm512_cvtneps_pbh(_mm512_mul_ps(_mm512_maskz_loadu_ps(rest, x + j), s));
    _mm256_mask_storeu_epi16(to + j, rest, (__m256i)h);
}

void bf16_pack(uint16_t *to, const float *x, int rows, int cols, int ld, float scale)
{
#pragma omp parallel for schedule(static) if ((long)rows * cols > 1 << 16)
    for (int i = 0; i < rows; i++)
        pack_row(to + (size_t)i * (size_t)cols, x + (size_t)i * (size_t)ld, cols, scale);
}
#else
void bf16_pack(uint16_t *to, const float *x, int rows, int cols, int ld, float scale)
{
    (void)to, (void)x, (void)rows, (void)cols, (void)ld, (void)scale;
    CHECK(false, "this build has no bfloat16 instructions");
}
#endif
