/* Where a NaN or an infinity first shows, and what to lower. All return -1 with the line in err. */
#ifndef TTT_RUN_TRAIN_FAULT_H
#define TTT_RUN_TRAIN_FAULT_H

#include <stdint.h>

#include "base/err.h"
#include "model/model.h"

/* chunk_loss: (B, chunks). step: the number of the update that does not happen, from 1. */
int train_fault_loss(const Model *m, const double *chunk_loss, int64_t B, int64_t chunks,
                     int64_t step, Err *err);
/* gradient: the flat block; host: room for table.size. */
int train_fault_gradient(const Model *m, const real *gradient, real *host, double norm,
                         int64_t step, Err *err);

#endif
