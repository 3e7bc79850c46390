/* bfloat16 as cuda_bf16.h has it: the type, pairs, and conversions, to nearest even. */
#ifndef EMULATOR_CUDA_BF16_H
#define EMULATOR_CUDA_BF16_H

#include <cuda_runtime.h>

struct __nv_bfloat16 {
    unsigned short bits;
    __nv_bfloat16() = default;
    __nv_bfloat16(float x);
    operator float() const;
};

struct alignas(4) __nv_bfloat162 {
    __nv_bfloat16 x, y;
};

using nv_bfloat16 = __nv_bfloat16;
using nv_bfloat162 = __nv_bfloat162;

static inline __nv_bfloat16 __ushort_as_bfloat16(unsigned short bits)
{
    __nv_bfloat16 x;
    x.bits = bits;
    return x;
}
static inline unsigned short __bfloat16_as_ushort(__nv_bfloat16 x)
{
    return x.bits;
}

static inline __nv_bfloat16 __float2bfloat16_rn(float x)
{
    unsigned bits = __float_as_uint(x);
    if (x != x) return __ushort_as_bfloat16(0x7fff);
    bits += 0x7fffu + ((bits >> 16) & 1u);
    return __ushort_as_bfloat16((unsigned short)(bits >> 16));
}
static inline __nv_bfloat16 __float2bfloat16(float x)
{
    return __float2bfloat16_rn(x);
}
static inline __nv_bfloat16 __double2bfloat16(double x)
{
    return __float2bfloat16_rn((float)x);
}
static inline float __bfloat162float(__nv_bfloat16 x)
{
    return __uint_as_float((unsigned)x.bits << 16);
}

inline __nv_bfloat16::__nv_bfloat16(float x) : bits(__float2bfloat16_rn(x).bits) {}
inline __nv_bfloat16::operator float() const
{
    return __bfloat162float(*this);
}

static inline __nv_bfloat162 __halves2bfloat162(__nv_bfloat16 low, __nv_bfloat16 high)
{
    return {low, high};
}
static inline __nv_bfloat162 __floats2bfloat162_rn(float low, float high)
{
    return {__float2bfloat16_rn(low), __float2bfloat16_rn(high)};
}
static inline __nv_bfloat162 __float22bfloat162_rn(float2 x)
{
    return __floats2bfloat162_rn(x.x, x.y);
}
static inline float2 __bfloat1622float2(__nv_bfloat162 x)
{
    return {__bfloat162float(x.x), __bfloat162float(x.y)};
}
static inline float __low2float(__nv_bfloat162 x)
{
    return __bfloat162float(x.x);
}
static inline float __high2float(__nv_bfloat162 x)
{
    return __bfloat162float(x.y);
}

#endif
