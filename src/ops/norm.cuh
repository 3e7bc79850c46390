/* Weights of norms as kernels get them: shifts of Param, a host array, by value. */
#ifndef TTT_OPS_NORM_CUH
#define TTT_OPS_NORM_CUH

#include "ops/pack.cuh" // defines: whole_packs

enum { MOST_SHIFTS = 32 }; /* sequences of one launch that have places of their own */

struct Weight {
    const real *v, *t;
    size_t step;
    bool shifted;
    ptrdiff_t shift[MOST_SHIFTS];

    __device__ const real *value(size_t b) const
    {
        return v + (shifted ? shift[b] : (ptrdiff_t)(b * step));
    }
};

/* Sets the shifts of the next MOST_SHIFTS of `left` sequences; returns whether packs are whole. */
static inline bool weight_shift(Weight *w, const ptrdiff_t *shift, int left)
{
    bool packs = true;
    w->shifted = true;
    for (int i = 0; i < min_int(MOST_SHIFTS, left); i++) {
        w->shift[i] = shift[i];
        packs = packs && whole_packs(shift[i]);
    }
    return packs;
}

#endif
