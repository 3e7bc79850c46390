/* Products of operands rounded to bfloat16 on the CPU's own bfloat16 instructions, by oneDNN. */
#ifndef TTT_BACKEND_GEMM_BF16_H
#define TTT_BACKEND_GEMM_BF16_H

#include <stdint.h>
#include <string.h>

#include "backend/backend.h"

/* Whether this build and this CPU have them. */
bool bf16_native(void);

/* The primitives made so far, one per shape; NULL where bf16_native is false. */
struct GemmCache *gemm_cache_create(void);
void gemm_cache_free(struct GemmCache *cache); /* NULL is fine */

/* One product; not to be called inside a parallel region. */
void gemm_bf16(Backend *be, const Gemm *g);

/* The nearest bfloat16, ties to even, as the upper half of a float; NaN and Inf stay what they are.
 */
static inline uint32_t bf16_round_bits(float x)
{
    uint32_t bits;
    memcpy(&bits, &x, sizeof bits);
    uint32_t up = (bits & 0x7f800000u) != 0x7f800000u ? 0x7fffu + ((bits >> 16) & 1u) : 0;
    return (bits + up) & 0xffff0000u;
}

/* bf16_convert.c: (rows, cols) of x times scale, rounded to nearest even, packed. */
void bf16_pack(uint16_t *to, const float *x, int rows, int cols, int ld, float scale);

#endif
