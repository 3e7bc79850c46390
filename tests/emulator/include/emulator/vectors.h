/* Vector types of CUDA with their alignment, without which a misplaced vector load would pass. */
#ifndef EMULATOR_VECTORS_H
#define EMULATOR_VECTORS_H

struct uint3 {
    unsigned x, y, z;
};

struct dim3 {
    unsigned x, y, z;
    constexpr dim3(unsigned x_ = 1, unsigned y_ = 1, unsigned z_ = 1) : x(x_), y(y_), z(z_) {}
    constexpr dim3(uint3 v) : x(v.x), y(v.y), z(v.z) {}
};

template <typename T> struct alignas(2 * sizeof(T)) Emulated2 {
    T x, y;
};
template <typename T, int ALIGN> struct alignas(ALIGN) Emulated4 {
    T x, y, z, w;
};

using float2 = Emulated2<float>;
using double2 = Emulated2<double>;
using int2 = Emulated2<int>;
using uint2 = Emulated2<unsigned>;
using short2 = Emulated2<short>;
using ushort2 = Emulated2<unsigned short>;
using longlong2 = Emulated2<long long>;
using ulonglong2 = Emulated2<unsigned long long>;
using float4 = Emulated4<float, 16>;
using int4 = Emulated4<int, 16>;
using uint4 = Emulated4<unsigned, 16>;
using short4 = Emulated4<short, 8>;
using ushort4 = Emulated4<unsigned short, 8>;
using uchar4 = Emulated4<unsigned char, 4>;
using double4 = Emulated4<double, 16>;
struct float3 {
    float x, y, z;
};
struct int3 {
    int x, y, z;
};

static inline float2 make_float2(float x, float y)
{
    return {x, y};
}
static inline double2 make_double2(double x, double y)
{
    return {x, y};
}
static inline int2 make_int2(int x, int y)
{
    return {x, y};
}
static inline uint2 make_uint2(unsigned x, unsigned y)
{
    return {x, y};
}
static inline float3 make_float3(float x, float y, float z)
{
    return {x, y, z};
}
static inline float4 make_float4(float x, float y, float z, float w)
{
    return {x, y, z, w};
}
static inline int4 make_int4(int x, int y, int z, int w)
{
    return {x, y, z, w};
}
static inline uint4 make_uint4(unsigned x, unsigned y, unsigned z, unsigned w)
{
    return {x, y, z, w};
}

#endif
