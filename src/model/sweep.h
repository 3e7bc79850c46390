/* Training and evaluation of whole sequences: the one place that knows chunks in time.
 *
 * Forward: leading blocks over the sequence, then chunk by chunk the tail blocks, the loss, and
 * (when learning) the inner step. Reverse, when a gradient is wanted: the exact meta-gradient, one
 * dual forward and backward per chunk (docs/math.md). The sequence is cut into segments; only one
 * segment's activations exist at a time, earlier ones are run again from the state saved at their
 * start. */
#ifndef TTT_MODEL_SWEEP_H
#define TTT_MODEL_SWEEP_H

#include "model/model.h"

typedef struct SweepPlan {
    int64_t chunks, segments, segment_chunks;     /* per sequence */
    size_t activations, windows, adapted, states; /* bytes of each family */
    size_t copies;  /* of weights in bfloat16, where the machine's memory is for it alone */
    size_t total;   /* bytes of all of them */
    size_t scratch; /* and what operations take beside, on a machine that can tell; of sweep_plan */
    int remake, remake_most;
    double again; /* multiply-adds x 2 per token that are done once more, to save memory */
} SweepPlan;

typedef struct SweepOptions {
    int batch;              /* sequences in lockstep, B */
    int64_t length;         /* tokens per sequence, T */
    bool gradient;          /* keep what the reverse needs */
    bool learn;             /* take inner steps; false scores with the initial weights */
    int64_t segment_chunks; /* 0: they and `remake` are chosen as memory allows */
    int remake;             /* how much is made again instead of kept: 0 to plan.remake_most */
} SweepOptions;

/* What one run reports; NULL: not wanted. Host memory, double whatever `real` is. */
typedef struct SweepReport {
    double *token_nll;   /* (B, T) */
    double *chunk_loss;  /* (B, chunks) */
    double *inner_gnorm; /* (B, chunks), before clipping; only when learning */
    /* Called after each chunk's inner step with sequence 0's inner gradient and adapted weights
     * (host, P each). */
    void (*on_inner_step)(void *context, int64_t chunk, const real *gradient, const real *weights);
    void *context;
} SweepReport;

typedef struct Sweep Sweep;

/* Bytes of the head's weight, rounded for its products. */
size_t sweep_head_bf16(const ModelConfig *c);
/* Memory that a sweep will take, before it is made. */
SweepPlan sweep_plan(const Model *m, const SweepOptions *o);
int sweep_create(Sweep **out, Model *m, const SweepOptions *o, Err *err);
void sweep_free(Sweep *s); /* NULL is fine */

/* tokens: (B, T+1) host. inner_lr: of this step. gradient: NULL, or the flat block (table.size,
 * backend memory) to which weight * d(mean over sequences of sequence loss)/d(parameters) is added.
 * Returns the mean over sequences of the sequence loss (not weighted). */
double sweep_run(Sweep *s, const int32_t *tokens, double inner_lr, real *gradient, double weight,
                 SweepReport *report);

/* Multiply-adds x 2 per token that cannot be avoided (the floor, docs/speed.md). */
double sweep_floor_flops(const Model *m, int64_t length, bool gradient, bool learn);

#endif
