/* Inside of a sweep: shared by sweep_plan.c (sizes and layout) and sweep.c (the passes). */
#ifndef TTT_MODEL_SWEEP_STATE_H
#define TTT_MODEL_SWEEP_STATE_H

#include "model/sweep.h"
#include "model/tail.h"

struct Sweep {
    Model *m;
    SweepOptions o;
    SweepPlan plan;
    bool learn;      /* inner steps are taken: asked for, and there are inner weights */
    int chunk;       /* tokens of a chunk, b (the whole sequence when it is shorter) */
    int span;        /* tokens of a lead span; a segment is cut into these */
    int64_t segment; /* tokens of a segment */
    int64_t history; /* rows kept before a segment; all when kv_full */
    bool kv_full;    /* keys and values of the whole sequence stay in place */
    int64_t kv_base; /* position of row 0 of kv */

    size_t elements; /* of memory */
    real *memory;
    KvCache kv;
    Lead *lead; /* (spans of a segment), or 1 without gradient */
    int n_leads;
    Tail tail;
    BlockScratch scratch;
    real *rope;         /* (segment, D/2, 2) */
    int64_t rope_start; /* position that the table begins at; -1: not made yet */
    real *head_dx;      /* value slot behind the head, kept for the reverse; laid out as x */
    real *x, *dx;       /* tail's input and its gradient, chunk after chunk: (B, chunk, C) each */
    real *span_dx;      /* (B, span, C) */
    real *fast;         /* (segment_chunks + 1, B, P): before each chunk; 1 without gradient */
    real *inner_g;      /* (segment_chunks, B, P); 1 without gradient */
    real *inner_norm;   /* (segment_chunks, B) */
    real *v, *u;        /* (B, P): dL/dW after a chunk; the tangent made of it */
    real **state_fast;  /* per segment but the last: adapted weights at its start, (B, P) */
    real **state_kv;    /* and its past rows: (layers, 2, B, past, C); NULL when kv_full */
    int32_t *tokens, *targets; /* (B, span), host */
    double *losses;            /* (B) of the chunk at hand */
    double *chunk_loss;        /* (B, chunks) */
};

/* Past rows that segment `index` starts with. */
int64_t sweep_past(const Sweep *s, int64_t index);
/* Sizes of everything for this many chunks per segment; with memory set, pointers too. */
void sweep_layout(Sweep *s, SweepPlan *plan);

#endif
