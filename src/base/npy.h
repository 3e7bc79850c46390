/* NumPy array files (.npy, version 1.0), written atomically: row-major, little-endian float32. */
#ifndef TTT_BASE_NPY_H
#define TTT_BASE_NPY_H

#include <stdint.h>

#include "base/err.h"
#include "base/file.h"

/* data has shape[0] x ... x shape[n_dims-1] elements; 0 <= n_dims <= 8. */
int npy_write_f32(const char *path, const float *data, const int64_t *shape, int n_dims, Err *err);

/* For an array that comes in parts: the header, and room on the disk for all elements. Then
 * atomic_write the elements, float32 in row-major order, and atomic_commit. */
int npy_begin_f32(AtomicFile *file, const char *path, const int64_t *shape, int n_dims, Err *err);

#endif
