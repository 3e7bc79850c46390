/* Stored integers to token ids. */
#ifndef TTT_DATA_WIDEN_H
#define TTT_DATA_WIDEN_H

#include "data/zarr_meta.h"

/* Turns n integers of any type at src (any alignment) into ids. Returns the first position whose
 * value is not in 0 .. limit - 1, or -1 when all are; out is undefined from there on. */
int64_t widen(IntType type, const unsigned char *src, int64_t n, int32_t limit, int32_t *out);

/* The integer at p as 64 bits, signs kept. */
int64_t int_load(IntType type, const unsigned char *p);
void int_store(IntType type, int64_t value, unsigned char *p);

#endif
