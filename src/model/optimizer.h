/* Outer optimizer: global-norm clipping and AdamW on the flat parameter block. */
#ifndef TTT_MODEL_OPTIMIZER_H
#define TTT_MODEL_OPTIMIZER_H

#include "model/model.h"

typedef struct Optimizer {
    real *mu, *nu; /* (table.size), backend memory */
    double *sums;  /* (N_PARAMS), then clipping's scale and the norm; backend memory */
    int64_t count; /* updates done */
} Optimizer;

int optimizer_create(Optimizer **out, Model *m, Err *err);
void optimizer_free(Model *m, Optimizer *o);

/* Learning rate of update i = 0, 1, ...: linear warmup, then cosine to end_lr; rounded to float32
 * as the reference does. */
double optimizer_lr(const OptimizerConfig *c, int64_t i);

/* One update of the parameters that spec_outer selects. Returns the gradient's global norm before
 * clipping; when that is not finite nothing is changed. */
double optimizer_step(Model *m, Optimizer *o, const real *gradient);

#endif
