/* Tensors of files in the build's own number type. */
#ifndef TTT_BASE_ST_REAL_H
#define TTT_BASE_ST_REAL_H

#include "base/real.h"
#include "base/safetensors.h"

static const StType ST_REAL = sizeof(real) == sizeof(double) ? ST_F64 : ST_F32;

/* out: t->n_elements */
static inline void st_to_real(const StTensor *t, real *out)
{
#ifdef TTT_FP64
    st_to_f64(t, out);
#else
    st_to_f32(t, out);
#endif
}

#endif
