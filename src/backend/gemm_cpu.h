/* The CPU's products and roundings, as machine.h has them. */
#ifndef TTT_BACKEND_GEMM_CPU_H
#define TTT_BACKEND_GEMM_CPU_H

#include <stdint.h>

#include "backend/backend.h"

/* Makes the library generate its code for products, which crashes where there is no memory for it:
 * to be done while there is. */
void gemm_cpu_start(void);

void gemm_cpu(Backend *be, const Gemm *g);
void round_bf16_cpu(Backend *be, uint16_t *to, const real *x, size_t n);

#endif
