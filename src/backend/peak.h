/* The bfloat16 product peak, for `ttt bench`; those of `real` and of memory are kernels
 * (ops/peak.c). */
#ifndef TTT_BACKEND_PEAK_H
#define TTT_BACKEND_PEAK_H

#include <stdint.h>

#include "backend/backend.h"

/* Whether this build and this CPU have products of bfloat16 pairs with float32 sums. */
bool peak_bf16_available(void);

/* Runs such products in registers on all threads; returns the multiply-adds x 2 done. out:
 * (threads), so that the work is not left out. */
double peak_bf16(Backend *be, float *out, int64_t rounds);

/* peak_bf16.c: one thread's loop, and whether it is more than a stub. */
extern const bool peak_bf16_compiled;
double peak_bf16_loop(float *out, int64_t rounds);

#endif
