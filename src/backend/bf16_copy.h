/* Copies in bfloat16 of weights that stay as they are for a while: half the bytes to read where one
 * row is multiplied, and no rounding in each product of many.
 *
 * The float32 array remains the truth. A copy is made by bf16_copy_keep and is the weights' again
 * after bf16_copy_refresh: whoever changes the weights calls it (or drops the copy) before the next
 * product. */
#ifndef TTT_BACKEND_BF16_COPY_H
#define TTT_BACKEND_BF16_COPY_H

#include <stdint.h>

#include "backend/backend.h"

/* Bytes that a copy of n elements takes; 0 where this backend keeps none (no bf16, or double). */
size_t bf16_copy_bytes(const Backend *be, size_t n);

/* Keeps a copy of x (n) and fills it; keeping the same array again counts its keepers. Does nothing
 * where the backend computes in `real`. */
void bf16_copy_keep(Backend *be, const real *x, size_t n);
/* Rounds again what lies in [x, x + n) of copies kept. */
void bf16_copy_refresh(Backend *be, const real *x, size_t n);
/* The last keeper's call frees the copy. */
void bf16_copy_drop(Backend *be, const real *x);

/* The copy of x (n), dense, or NULL. */
const uint16_t *bf16_copy_find(const Backend *be, const real *x, size_t n);

void bf16_copies_free(Backend *be); /* all of them, as the backend closes */

#endif
