/* What CUDA C++ adds to the language, for a thread of an emulated block: its place, barriers,
 * exchanges within a warp, and functions of mathematics. */
#ifndef EMULATOR_DEVICE_H
#define EMULATOR_DEVICE_H

#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <cstring>

#include "emulator/engine.h"
#include "emulator/vectors.h"

#define __global__
#ifdef EMULATOR_INLINES
/* The compiler does not tell where a call leaves the structure that it returns. */
#define __device__ __attribute__((always_inline))
#else
#define __device__
#endif
#define __host__
#define __constant__
/* One block runs at a time. Thread-local, because that gathers the variables of all files, of
 * templates and of inline functions in one segment, which is poisoned before each block. */
#define __shared__      static thread_local
#define __align__(n)    __attribute__((aligned(n)))
#define __launch_bounds__(...)
/* Of functions of the emulator whose accesses of memory are not the kernel's. */
#define EMULATOR_UNTOLD __attribute__((noinline, no_sanitize("thread")))
#define __grid_constant__

extern uint3 threadIdx, blockIdx;
extern dim3 blockDim, gridDim;
static const int warpSize = emulator::WARP_LANES;

/* --- barriers; the place of a call is part of it, so that threads at two different ones show ---
 */
#define EMULATOR_SITE const char *file = __builtin_FILE(), int line = __builtin_LINE()

static inline void __syncthreads(EMULATOR_SITE)
{
    emulator::block_barrier({"__syncthreads", file, line});
}

static inline void emulator_full(unsigned mask, const char *what)
{
    if (mask != 0xffffffffu)
        emulator::die("%s with mask %x: the project's rule is all lanes", what, mask);
}

static inline void __syncwarp(unsigned mask = 0xffffffffu, EMULATOR_SITE)
{
    emulator_full(mask, "__syncwarp");
    emulator::collective({"__syncwarp", file, line}, nullptr, nullptr);
}

/* Predicates of a whole block: the number of threads for which it holds. */
static inline int __syncthreads_count(int predicate, EMULATOR_SITE)
{
    return emulator::block_count({"__syncthreads_count", file, line}, predicate != 0);
}
static inline int __syncthreads_or(int predicate, EMULATOR_SITE)
{
    return emulator::block_count({"__syncthreads_or", file, line}, predicate != 0) > 0;
}
static inline int __syncthreads_and(int predicate, EMULATOR_SITE)
{
    return emulator::block_count({"__syncthreads_and", file, line}, predicate == 0) == 0;
}

/* --- exchanges within a warp --- */
template <typename T> struct EmulatedShuffle {
    T value, result;
    int from; /* lane, or -1: keeps its own */
};

template <typename T>
static inline T emulated_shuffle(emulator::Site site, unsigned mask, T value, int from)
{
    static_assert(sizeof(T) == 4 || sizeof(T) == 8, "shuffles move 4 or 8 bytes");
    emulator_full(mask, site.what);
    EmulatedShuffle<T> mine = {value, value, from};
    emulator::collective(site, &mine, [](void *const *lanes) {
        for (int i = 0; i < emulator::WARP_LANES; i++) {
            auto *to = static_cast<EmulatedShuffle<T> *>(lanes[i]);
            if (to->from >= 0)
                to->result = static_cast<EmulatedShuffle<T> *>(lanes[to->from])->value;
        }
    });
    return mine.result;
}

static inline int emulated_lane()
{
    return emulator::lane();
}

template <typename T>
static inline T __shfl_sync(unsigned mask, T value, int from, int width = 32, EMULATOR_SITE)
{
    int base = emulated_lane() & -width;
    return emulated_shuffle({"__shfl_sync", file, line}, mask, value, base + (from & (width - 1)));
}
template <typename T>
static inline T __shfl_xor_sync(unsigned mask, T value, int bits, int width = 32, EMULATOR_SITE)
{
    int lane = emulated_lane(), from = lane ^ bits;
    if (from >= (lane & -width) + width) from = -1;
    return emulated_shuffle({"__shfl_xor_sync", file, line}, mask, value, from);
}
template <typename T>
static inline T __shfl_down_sync(unsigned mask, T value, unsigned by, int width = 32, EMULATOR_SITE)
{
    int lane = emulated_lane(), from = lane + (int)by;
    if (from >= (lane & -width) + width) from = -1;
    return emulated_shuffle({"__shfl_down_sync", file, line}, mask, value, from);
}
template <typename T>
static inline T __shfl_up_sync(unsigned mask, T value, unsigned by, int width = 32, EMULATOR_SITE)
{
    int lane = emulated_lane(), from = lane - (int)by;
    if (from < (lane & -width)) from = -1;
    return emulated_shuffle({"__shfl_up_sync", file, line}, mask, value, from);
}

static inline unsigned emulated_ballot(emulator::Site site, unsigned mask, bool predicate)
{
    emulator_full(mask, site.what);
    unsigned mine = predicate;
    emulator::collective(site, &mine, [](void *const *lanes) {
        unsigned bits = 0;
        for (int i = 0; i < emulator::WARP_LANES; i++)
            bits |= *static_cast<unsigned *>(lanes[i]) << i;
        for (int i = 0; i < emulator::WARP_LANES; i++) *static_cast<unsigned *>(lanes[i]) = bits;
    });
    return mine;
}
static inline unsigned __ballot_sync(unsigned mask, int predicate, EMULATOR_SITE)
{
    return emulated_ballot({"__ballot_sync", file, line}, mask, predicate != 0);
}
static inline int __any_sync(unsigned mask, int predicate, EMULATOR_SITE)
{
    return emulated_ballot({"__any_sync", file, line}, mask, predicate != 0) != 0;
}
static inline int __all_sync(unsigned mask, int predicate, EMULATOR_SITE)
{
    return emulated_ballot({"__all_sync", file, line}, mask, predicate == 0) == 0;
}

/* --- memory --- */
template <typename T> static inline T __ldg(const T *p)
{
    return *p;
}
template <typename T> static inline T __ldcs(const T *p)
{
    return *p;
}
template <typename T> static inline T __ldcg(const T *p)
{
    return *p;
}
template <typename T> static inline void __stcs(T *p, T value)
{
    *p = value;
}
template <typename T> static inline void __stcg(T *p, T value)
{
    *p = value;
}
static inline void __threadfence()
{
    emulator::fence();
}
static inline void __threadfence_block() {}

/* Threads take turns only at barriers, so that plain statements are atomic. What they do is told as
 * one access, and not by the compiler. */
template <typename T, typename F> EMULATOR_UNTOLD static T emulated_atomic(T *p, F next)
{
    emulator::atomic_access(p, sizeof *p);
    T old = *p;
    *p = next(old);
    return old;
}
#define EMULATED_ATOMIC(name, T, result)                                                           \
    static inline T name(T *p, T by)                                                               \
    {                                                                                              \
        return emulated_atomic(p, [by](T old) { return result; });                                 \
    }
EMULATED_ATOMIC(atomicAdd, int, old + by)
EMULATED_ATOMIC(atomicAdd, unsigned, old + by)
EMULATED_ATOMIC(atomicAdd, unsigned long long, old + by)
EMULATED_ATOMIC(atomicInc, unsigned, old >= by ? 0u : old + 1)
EMULATED_ATOMIC(atomicMax, int, old > by ? old : by)
EMULATED_ATOMIC(atomicExch, int, ((void)old, by))
EMULATED_ATOMIC(atomicOr, int, old | by)
EMULATED_ATOMIC(atomicOr, unsigned, old | by)

/* --- mathematics --- */
using std::isfinite;
using std::isinf;
using std::isnan;
using std::signbit;

#define EMULATOR_MIN_MAX(T)                                                                        \
    static inline constexpr T min(T a, T b)                                                        \
    {                                                                                              \
        return a < b ? a : b;                                                                      \
    }                                                                                              \
    static inline constexpr T max(T a, T b)                                                        \
    {                                                                                              \
        return a > b ? a : b;                                                                      \
    }
EMULATOR_MIN_MAX(int)
EMULATOR_MIN_MAX(unsigned)
EMULATOR_MIN_MAX(long)
EMULATOR_MIN_MAX(unsigned long)
EMULATOR_MIN_MAX(long long)
EMULATOR_MIN_MAX(unsigned long long)
static inline float min(float a, float b)
{
    return std::fmin(a, b);
}
static inline float max(float a, float b)
{
    return std::fmax(a, b);
}
static inline double min(double a, double b)
{
    return std::fmin(a, b);
}
static inline double max(double a, double b)
{
    return std::fmax(a, b);
}

static inline float rsqrtf(float x)
{
    return 1 / std::sqrt(x);
}
static inline double rsqrt(double x)
{
    return 1 / std::sqrt(x);
}
static inline float rsqrt(float x)
{
    return rsqrtf(x);
}
/* libm has these three names for itself. */
#define __expf(x)  std::exp((float)(x))
#define __logf(x)  std::log((float)(x))
#define __log2f(x) std::log2((float)(x))
static inline float __fdividef(float a, float b)
{
    return a / b;
}
static inline float __frcp_rn(float x)
{
    return 1 / x;
}
static inline float __fsqrt_rn(float x)
{
    return std::sqrt(x);
}
static inline float __fmaf_rn(float a, float b, float c)
{
    return std::fma(a, b, c);
}
static inline float __saturatef(float x)
{
    return x > 0 ? x < 1 ? x : 1 : 0;
}
static inline void sincospi(double x, double *sine, double *cosine)
{
    sincos(x * M_PI, sine, cosine);
}

static inline int __float_as_int(float x)
{
    int bits;
    memcpy(&bits, &x, sizeof bits);
    return bits;
}
static inline unsigned __float_as_uint(float x)
{
    return (unsigned)__float_as_int(x);
}
static inline float __uint_as_float(unsigned bits)
{
    float x;
    memcpy(&x, &bits, sizeof x);
    return x;
}
static inline float __int_as_float(int bits)
{
    return __uint_as_float((unsigned)bits);
}
static inline long long __double_as_longlong(double x)
{
    long long bits;
    memcpy(&bits, &x, sizeof bits);
    return bits;
}
static inline double __longlong_as_double(long long bits)
{
    double x;
    memcpy(&x, &bits, sizeof x);
    return x;
}
static inline int __popc(unsigned x)
{
    return __builtin_popcount(x);
}
static inline int __ffs(int x)
{
    return __builtin_ffs(x);
}
static inline int __clz(int x)
{
    return x ? __builtin_clz((unsigned)x) : 32;
}
static inline unsigned __umulhi(unsigned a, unsigned b)
{
    return (unsigned)((unsigned long long)a * b >> 32);
}

#endif
