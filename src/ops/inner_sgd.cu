/* The inner step and its transpose, as derived in inner_sgd.c, per sequence and with no word from
 * the host between norm and step: a first kernel leaves parts of the sum over g in scratch, and
 * every block of the second adds the same parts in the same order before it walks over its share.
 * What a guard finds makes the sum no number, and every block sees that.
 * Forward: g is read twice, w once, w' written, 16 bytes an element in float, and 2 more of a copy
 * in bfloat16. Backward: g and v twice where clipping was active, once where it was not. */
#include "ops/sums.cuh" // defines: dot_part, parts_of, parts_total

extern "C" {
#include "backend/bf16_copy.h"
}

enum { MOST_SEQUENCES = 1024 }; /* of a grid; it walks over more */

__device__ inline bool clipped(double n, double clip)
{
    return clip > 0 && !(n < clip);
}

/* 0, or NaN for a thread that meets something not finite. */
__device__ inline double refusal(const StepGuard &guard)
{
    double found = 0;
    for (size_t i = walk_start(); i < (size_t)guard.rows; i += walk_step())
        if (guard.seed[i] != 0 && !isfinite(guard.nll[i])) found = (double)NAN;
    if (guard.before && walk_start() == 0 && !isfinite(*guard.before)) found = (double)NAN;
    return found;
}

/* Part blockIdx.x of <a, b> for each sequence; with norms, only for those that were clipped. */
template <int W>
static __global__ void __launch_bounds__(BLOCK, 2)
    dots_kernel(double *part, const real *a, const real *b, const real *norm, int B, size_t P,
                double clip, StepGuard guard)
{
    for (size_t s = blockIdx.y; s < (size_t)B; s += gridDim.y) {
        double sum = 0;
        if (!norm || clipped((double)norm[s], clip))
            sum = dot_part<W>(a + s * P, b + s * P, P, refusal(guard));
        if (threadIdx.x == 0) part[s * gridDim.x + blockIdx.x] = sum;
    }
}

template <int W>
static __global__ void step_kernel(real *w_next, uint16_t *half, real *norm, const real *w,
                                   const real *g, const double *part, int parts, int B, size_t P,
                                   const double *lr, double clip, bool guarded)
{
    for (size_t s = blockIdx.y; s < (size_t)B; s += gridDim.y) {
        double n = sqrt(parts_total(part + s * (size_t)parts, parts));
        if (blockIdx.x == 0 && threadIdx.x == 0) norm[s] = (real)n;
        if (guarded && !isfinite((real)n)) continue;
        real rate = (real)(clipped(n, clip) ? *lr * clip / n : *lr);
        real *out = w_next + s * P;
        const real *from = w + s * P, *by = g + s * P;
        walk<W>(P, [=](auto width, size_t i) {
            auto x = load<width.n>(from, i), d = load<width.n>(by, i);
            for (int j = 0; j < width.n; j++) x.at[j] -= rate * d.at[j];
            store(out, i, x);
            if (half) store(Out{NULL, half + s * P}, i, x);
        });
    }
}

/* Blocks of one sequence in a kernel that walks over P elements of each of B. */
static dim3 grid_walking(const Backend *be, bool packs, int B, size_t P)
{
    size_t each = packs ? WIDE : 1;
    unsigned all = blocks_walking(be, (P + each - 1) / each * (size_t)B);
    unsigned sequences = (unsigned)min_int(B, MOST_SEQUENCES);
    return dim3((all + sequences - 1) / sequences, sequences);
}

void KERNEL(inner_sgd_forward)(Backend *be, real *w_next, real *norm, const real *w, const real *g,
                               int B, size_t P, const double *lr, double clip,
                               const StepGuard *guard)
{
    unsigned parts = parts_of(P), sequences = (unsigned)min_int(B, MOST_SEQUENCES);
    double *part = (double *)cuda_scratch(be, (size_t)B * parts * sizeof *part);
    uint16_t *half = (uint16_t *)bf16_copy_find(be, w_next, (size_t)B * P);
    bool packs = aligned(w_next, w, g) && (uintptr_t)half % alignof(HalfPack<WIDE>) == 0 &&
                 (B == 1 || whole_packs(P));
    const real *all = NULL;
    launch(be, packs ? dots_kernel<WIDE> : dots_kernel<1>, dim3(parts, sequences), BLOCK, 0, part,
           g, g, all, B, P, clip, guard ? *guard : StepGuard{});
    launch(be, packs ? step_kernel<WIDE> : step_kernel<1>, grid_walking(be, packs, B, P), BLOCK, 0,
           w_next, half, norm, w, g, part, (int)parts, B, P, lr, clip, guard != NULL);
}

template <int W>
static __global__ void step_back_kernel(real *u, const real *v, const real *g, const real *norm,
                                        const double *part, int parts, int B, size_t P,
                                        const double *lr, double clip)
{
    for (size_t s = blockIdx.y; s < (size_t)B; s += gridDim.y) {
        double n = (double)norm[s], along_g = parts_total(part + s * (size_t)parts, parts);
        bool active = clipped(n, clip);
        real along = (real)(active ? along_g / (n * n) : 0);
        real rate = (real)(active ? -*lr * clip / n : -*lr);
        real *out = u + s * P;
        const real *from = v + s * P, *by = active ? g + s * P : NULL;
        walk<W>(P, [=](auto width, size_t i) {
            auto x = load<width.n>(from, i), d = load_or_zero<width.n>(by, i);
            for (int j = 0; j < width.n; j++) x.at[j] = rate * (x.at[j] - along * d.at[j]);
            store(out, i, x);
        });
    }
}

void KERNEL(inner_sgd_backward)(Backend *be, real *u, const real *v, const real *g,
                                const real *norm, int B, size_t P, const double *lr, double clip)
{
    unsigned parts = parts_of(P), sequences = (unsigned)min_int(B, MOST_SEQUENCES);
    double *part = (double *)cuda_scratch(be, (size_t)B * parts * sizeof *part);
    bool packs = aligned(u, v, g) && (B == 1 || whole_packs(P));
    launch(be, packs ? dots_kernel<WIDE> : dots_kernel<1>, dim3(parts, sequences), BLOCK, 0, part,
           g, v, norm, B, P, clip, StepGuard{});
    launch(be, packs ? step_back_kernel<WIDE> : step_back_kernel<1>, grid_walking(be, packs, B, P),
           BLOCK, 0, u, v, g, norm, part, (int)parts, B, P, lr, clip);
}
