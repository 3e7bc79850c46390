/* Inside of a sweep: shared by sweep_plan.c (sizes and layout), sweep.c (the passes) and
 * sweep_lead.c (those of the leading half). */
#ifndef TTT_MODEL_SWEEP_STATE_H
#define TTT_MODEL_SWEEP_STATE_H

#include "model/sweep.h"
#include "model/tail.h"

static inline int64_t min64(int64_t a, int64_t b)
{
    return a < b ? a : b;
}

/* A run's passes, kept: see sweep_record.c. */
enum { SWEEP_RECORDS = 2 };
typedef struct SweepRecord {
    const real *gradient; /* what the passes depend on beside the sweep itself */
    double chunk_weight;
    bool norms;
    int runs; /* so far; 0: the place is free */
    BackendRecord *record;
} SweepRecord;

struct Sweep {
    Model *m;
    SweepOptions o;
    SweepPlan plan;
    bool learn;           /* inner steps are taken: asked for, and there are inner weights */
    int chunk;            /* tokens of a chunk, b (the whole sequence when it is shorter) */
    int span;             /* tokens of a lead span; a segment is cut into these */
    int64_t segment;      /* tokens of a segment */
    double forward_flops; /* multiply-adds x 2 per token of running a segment once more */
    int64_t history;      /* rows kept before a segment; all when kv_full */
    bool kv_full;         /* keys and values of the whole sequence stay in place */
    int64_t kv_base;      /* position of row 0 of kv */
    const real *head;     /* the head's weight, of which a bf16 copy is kept; NULL: of none */
    size_t head_size;
    bool copies; /* bf16 copies are kept of all weights that products read, adapted ones too */

    size_t elements; /* of memory */
    real *memory;
    KvCache kv;
    Lead lead;        /* without gradient; with it: */
    BlockActs *acts;  /* (spans of a segment, leading blocks) */
    int spans;        /* of a segment */
    int remake;       /* how much is made again instead of kept, see sweep_plan.c */
    BlockActs shared; /* what is made again, for the span at hand */
    real *embedded;   /* (B, span, C) */
    KvRows window;    /* of the leading block at hand: a segment and the rows before it */
    real *past;       /* keys and values before each segment: (leads, 2, B, past_rows, C) */
    int64_t past_rows;
    real *owed; /* gradients for those before the segment: (leads, 2, B, owed_rows, C) */
    int64_t owed_rows;
    Tail tail;
    BlockScratch scratch;
    real *rope;         /* (segment, D/2, 2) */
    int64_t rope_start; /* position that the table begins at; -1: not made yet */
    real *head_dx;      /* value slot behind the head, kept for the reverse; laid out as x */
    real *x;            /* tail's input, then its gradient, chunk after chunk: (B, chunk, C) each */
    real *fast;         /* (slots, B, P), see fast_at; 1 without gradient */
    size_t fast_size;   /* slots * B * P */
    int64_t stride;     /* of chunks whose weights are kept */
    real *inner_g;      /* (segment_chunks, B, P); 1 without gradient */
    size_t inner_g_size;
    real *inner_norm;  /* (chunks, B) */
    double *inner_lr;  /* (1) of this run's steps */
    real *v;           /* (B, P): dL/dW after a chunk */
    real **state_fast; /* per segment but the last: adapted weights at its start, (B, P) */
    real **state_kv;   /* and its past rows: (layers, 2, B, past, C); NULL when kv_full */
    int32_t *inputs;   /* span after span: (B, span) each */
    int32_t *targets;  /* chunk after chunk: (B, chunk) each */
    real *nll;         /* laid out as targets */

    SweepRecord record[SWEEP_RECORDS];

    /* Host memory: */
    int32_t *staged;    /* inputs, then targets, as above */
    real *reported;     /* (B, T): the run's nll or norms */
    double *losses;     /* (B) of the chunk at hand */
    double *chunk_loss; /* (B, chunks) */
};

/* One run's arguments. */
typedef struct SweepRun {
    real *gradient;
    double chunk_weight; /* of one chunk of one sequence in the outer loss */
    SweepReport *report;
} SweepRun;

/* Of the span that begins at `at`. */
static inline const int32_t *sweep_inputs(const Sweep *s, int64_t at)
{
    return s->inputs + s->o.batch * at;
}
/* Rows [at, at + M) as a span (B, M, C), to or from s->x. */
void sweep_exchange_x(const Sweep *s, real *span_rows, int64_t at, int M, int64_t segment_start,
                      bool to_chunks);
/* Rows [start, start + M) of a window whose row 0 is position `base`. */
Span sweep_span(const Sweep *s, int64_t start, int M, int64_t segment_start, int64_t base,
                Reach reach);
/* With a gradient: a segment through the leading blocks into s->x, and back from there. */
void sweep_lead_forward(Sweep *s, const SweepRun *r, int64_t index);
void sweep_lead_backward(Sweep *s, const SweepRun *r, int64_t index);

/* All passes of a run, from the tokens in backend memory to the losses there. */
void sweep_passes(Sweep *s, const SweepRun *r);
/* Those, or a record of them. */
void sweep_play(Sweep *s, const SweepRun *r);
void sweep_records_free(Sweep *s);

/* Layers below this one have no KvRows of their own. */
static inline int first_window(const Sweep *s)
{
    return s->o.gradient ? lead_layers(s->m) : 0;
}

/* Past rows that segment `index` starts with. */
int64_t sweep_past(const Sweep *s, int64_t index);
/* Sizes of everything for this many chunks per segment; with memory set, pointers too. */
void sweep_layout(Sweep *s, SweepPlan *plan);

#endif
