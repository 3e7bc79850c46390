/* Elements in packs of 16 bytes, one load or store of a thread, and walks over whole arrays by all
 * threads of a grid. Every kernel that uses them is compiled twice: for packs, and for single
 * elements where a pointer or a row's length is no multiple of 16 bytes. */
#ifndef TTT_OPS_PACK_CUH
#define TTT_OPS_PACK_CUH

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
