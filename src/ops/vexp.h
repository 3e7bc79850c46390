/* exp that the compiler can vectorize: x = n ln2 + f, exp(f) by a polynomial, 2^n by the exponent
 * bits. float: relative error 1e-7 over the whole range, 0 below -87.3. double: the C library's. */
#ifndef TTT_OPS_VEXP_H
#define TTT_OPS_VEXP_H

#include <math.h>
#include <stdint.h>
#include <string.h>

#include "base/real.h"

#ifdef TTT_FP64
static inline real vexp(real x)
{
    return exp(x);
}
#else
static inline real vexp(real x)
{
    const float low = -87.3f, high = 88.7f;
    float clamped = x > low ? (x < high ? x : high) : low; /* NaN goes to low, and back below */
    float n = rintf(clamped * 1.44269504f);
    float f = clamped - n * 0.693145752f - n * 1.42860677e-6f;
    float p = 1.98756912e-4f;
    p = p * f + 1.39819994e-3f;
    p = p * f + 8.33345205e-3f;
    p = p * f + 4.16657962e-2f;
    p = p * f + 1.66666655e-1f;
    p = p * f + 5.00000000e-1f;
    p = p * f * f + f + 1.0f;
    uint32_t scale = (uint32_t)((int32_t)n + 127) << 23;
    float two_n;
    memcpy(&two_n, &scale, sizeof two_n);
    float y = p * two_n;
    return x < low ? 0.0f : x > high ? INFINITY : x != x ? x : y;
}
#endif

#endif
