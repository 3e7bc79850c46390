/* Elements in packs of 16 bytes, one load or store of a thread, and walks over whole arrays by all
 * threads of a grid. Every kernel that uses them is compiled twice: for packs, and for single
 * elements where a pointer or a row's length is no multiple of 16 bytes. */
#ifndef TTT_OPS_PACK_CUH
#define TTT_OPS_PACK_CUH

#include <cuda_bf16.h>

#include "ops/kernel.cuh"

enum { PACK_BYTES = 16, WIDE = PACK_BYTES / (int)sizeof(real) };

template <int W> struct alignas(W * sizeof(real)) Pack {
    real at[W];
};

/* Says how many elements at a time, where code is written once for several. */
template <int W> struct Width {
    enum { n = W };
};

template <int W> __device__ inline Pack<W> load(const real *p, size_t i)
{
    return *reinterpret_cast<const Pack<W> *>(p + i);
}
template <int W> __device__ inline void store(real *p, size_t i, Pack<W> x)
{
    *reinterpret_cast<Pack<W> *>(p + i) = x;
}

/* What a kernel writes, an element of which is read by no other thread of it: the array, or, where
 * that is an operand of products and nothing else, its bfloat16 form (gemm_operand). */
struct Out {
    real *full;
    uint16_t *half;
    __device__ explicit operator bool() const { return full || half; }
};

static inline Out out_of(const Backend *be, real *y, size_t n)
{
    uint16_t *half = y ? cuda_operand_to_write(be, y, n) : NULL;
    return {half ? NULL : y, half};
}

struct OutDual {
    Out v, t;
};

static inline OutDual out_of(const Backend *be, Dual y, size_t n)
{
    return {out_of(be, y.v, n), out_of(be, y.t, n)};
}

template <int W> struct alignas(W * sizeof(uint16_t)) HalfPack {
    __nv_bfloat16 at[W];
};

template <int W> __device__ inline void store(const Out &y, size_t i, Pack<W> x)
{
    if (y.full) {
        store(y.full, i, x);
        return;
    }
    HalfPack<W> h;
    for (int j = 0; j < W; j++) h.at[j] = __float2bfloat16_rn((float)x.at[j]);
    *reinterpret_cast<HalfPack<W> *>(y.half + i) = h;
}

template <int W> __device__ inline Pack<W> zeros()
{
    Pack<W> x;
    for (int j = 0; j < W; j++) x.at[j] = 0;
    return x;
}
/* An absent array reads as zeros. */
template <int W> __device__ inline Pack<W> load_or_zero(const real *p, size_t i)
{
    return p ? load<W>(p, i) : zeros<W>();
}

/* In the type of their argument, wherever this is compiled. */
__device__ inline float exp_of(float x)
{
    return expf(x);
}
__device__ inline double exp_of(double x)
{
    return exp(x);
}
__device__ inline float sqrt_of(float x)
{
    return sqrtf(x);
}
__device__ inline double sqrt_of(double x)
{
    return sqrt(x);
}

/* f(Width, i) for elements i, i + 1, ... of n: packs, then the few that are left. */
template <int W, typename F> __device__ inline void walk(size_t n, F f)
{
    size_t whole = n / W;
    for (size_t i = walk_start(); i < whole; i += walk_step()) f(Width<W>(), i * W);
    if (W > 1)
        for (size_t i = whole * W + walk_start(); i < n; i += walk_step()) f(Width<1>(), i);
}

/* Whether all of them begin at a multiple of 16 bytes; NULL does. */
template <typename... Pointers> bool aligned(const Pointers *...p)
{
    return ((reinterpret_cast<uintptr_t>(p) % PACK_BYTES == 0) && ...);
}
/* Whether rows of all these lengths keep that up. */
template <typename... Lengths> bool whole_packs(Lengths... n)
{
    return ((n % WIDE == 0) && ...);
}

/* One of two instances of a kernel that walks over n elements. */
template <typename... Parameters, typename... Arguments>
void launch_walk(Backend *be, bool packs, size_t n, void (*wide)(Parameters...),
                 void (*narrow)(Parameters...), Arguments... arguments)
{
    size_t each = packs ? WIDE : 1;
    launch(be, packs ? wide : narrow, blocks_walking(be, (n + each - 1) / each), BLOCK, 0,
           arguments...);
}

static inline unsigned between(size_t least, size_t n, size_t most)
{
    return (unsigned)(n < least ? least : n > most ? most : n);
}

/* Threads of a block that takes a row of n packs: a whole number of warps, BLOCK at most. */
static inline unsigned threads_for(size_t n)
{
    return between(1, (n + WARP - 1) / WARP, BLOCK / WARP) * WARP;
}

#endif
