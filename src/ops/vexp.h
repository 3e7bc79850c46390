/* exp that the compiler can vectorize: x = n ln2 + f, exp(f) by a polynomial, 2^n by the exponent
 * bits. float: relative error 1e-7 over the whole range, 0 below -87.3. double: the C library's.
 * vexp_low: of x <= 80 only, at three quarters of the work; about 1e-38 where vexp gives 0. */
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
static inline real vexp_low(real x)
{
    return exp(x);
}
#else
/* exp(n ln2 + f) 2^-n */
static inline float vexp_part(float x, float n)
{
    float f = x - n * 0.693145752f - n * 1.42860677e-6f;
    float p = 1.98756912e-4f;
    p = p * f + 1.39819994e-3f;
    p = p * f + 8.33345205e-3f;
    p = p * f + 4.16657962e-2f;
    p = p * f + 1.66666655e-1f;
    p = p * f + 5.00000000e-1f;
    return p * f * f + f + 1.0f;
}

static inline real vexp_low(real x)
{
    float clamped = x < -87.0f ? -87.0f : x; /* NaN stays */
    float n = rintf(clamped * 1.44269504f), p = vexp_part(clamped, n);
    float whole = n > -127.0f ? n : -127.0f; /* NaN has no integer */
    uint32_t bits;
    memcpy(&bits, &p, sizeof bits);
    bits += (uint32_t)(int32_t)whole << 23;
    memcpy(&p, &bits, sizeof bits);
    return p;
}

static inline real vexp(real x)
{
    const float low = -87.3f, high = 88.7f;
    float clamped = x > low ? (x < high ? x : high) : low; /* NaN goes to low, and back below */
    float n = rintf(clamped * 1.44269504f);
    float p = vexp_part(clamped, n);
    uint32_t scale = (uint32_t)((int32_t)n + 127) << 23;
    float two_n;
    memcpy(&two_n, &scale, sizeof two_n);
    float y = p * two_n;
    return x < low ? 0.0f : x > high ? INFINITY : x != x ? x : y;
}
#endif

#endif
