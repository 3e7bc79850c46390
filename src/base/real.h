/* The number type of all tensors: float, or double in the exactness build of the same sources. */
#ifndef TTT_BASE_REAL_H
#define TTT_BASE_REAL_H

#ifdef TTT_FP64
typedef double real;
#define REAL_NAME "fp64"
#else
typedef float real;
#define REAL_NAME "fp32"
#endif

#endif
