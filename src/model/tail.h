/* The model in two halves, each run over one span of B streams in lockstep.
 *
 *   lead: embedding and the blocks before the inner loop's, weights as they are
 *   tail: the suffix blocks, ln_f and the head with the loss, weights possibly adapted
 *
 * In pretrain mode every block is a leading one and the tail is the head alone. */
#ifndef TTT_MODEL_TAIL_H
#define TTT_MODEL_TAIL_H

#include "model/block.h"

/* Which rows of keys a half's attention sees. */
typedef struct Reach {
    int64_t window, local; /* as in Window */
    int64_t history;       /* rows before a span that it needs; -1: all */
} Reach;

int lead_layers(const Model *m);
Reach lead_reach(const Model *m);
Reach tail_reach(const Model *m);
/* Rows of keys and values to keep from one span to the next: the larger of both; -1: all. */
int64_t history_rows(const Model *m);

/* Keys and values of all blocks. */
typedef struct KvCache {
    int n_layers;
    KvRows *layer; /* (n_layers) */
    int64_t rows;
} KvCache;

void kv_rows_layout(KvRows *r, Arena *a, const Model *m, int B, int64_t rows, bool gradients);
void kv_cache_layout(KvCache *kv, Arena *a, const Model *m, int B, int64_t rows);
/* Room for copies in bfloat16 beside those of blocks from `first` on, where the machine wants any.
 */
void kv_halves_layout(KvCache *kv, Arena *a, const Model *m, int B, int first);

/* Where no gradient will be wanted (else sweep_lead.c): all blocks in the storage of one. */
typedef struct Lead {
    BlockActs *acts; /* (lead_layers) */
    real *embedded;  /* (B, M, C) */
} Lead;

void lead_layout_shared(Lead *l, Arena *a, const Model *m, int B, int M);
/* Returns the output (B, M, C), which lives in l. */
real *lead_forward(const Model *m, Lead *l, const KvCache *kv, const Span *s, BlockScratch *scratch,
                   const int32_t *tokens);

typedef struct Tail {
    BlockActs *acts; /* (suffix blocks in the loop) */
    Dual hidden;     /* (B, M, C) after ln_f */
    Dual dx;         /* (B, M, C) running gradient */
    Dual seed;       /* (B, M) */
    int rows;        /* of logits that a block of the head takes */
    real *logits;    /* (rows, V) */
    real *stack;     /* (3 rows / 2, C) */
    real *nll;       /* (B, M) */
} Tail;

void tail_layout(Tail *t, Arena *a, const Model *m, int B, int M, bool gradient);

/* The head's weight (n) where no inner step changes it, else NULL. */
const real *head_unadapted(const Model *m, size_t *n);

typedef struct TailPass {
    const Model *m;
    Tail *tail;
    const KvCache *kv;
    const Span *span;
    BlockScratch *scratch;
    Weights w;
    real *head_dx; /* (B, M, C) value slot of the gradient behind the head, or NULL: not kept */
    bool head_dx_known; /* an earlier pass with these weights left it there */
} TailPass;

/* x (B, M, C) to t->hidden, tangents following the weights'. */
void tail_forward(const TailPass *p, real *x);
/* As if that had just been done: nothing else has used the tail's activations since, but what was
 * played from a record. */
void tail_resume(const TailPass *p, real *x);
/* Loss of the rows in t->nll against target (B, M), and the backward pass where seeds say so:
 * inner_seed: value slot, each sequence's masked mean; outer_seed: the loss's weight in the outer
 * loss, tangent slot (0: none). Returns in dx_out (B, M, C), if not NULL, the tangent slot of the
 * gradient of x. */
void tail_loss(const TailPass *p, const int32_t *target, bool inner_seed, double outer_seed,
               const Grads *g, real *dx_out);

/* Per sequence: masked mean of nll over M (targets equal to bos are masked), 0 when all are. */
void chunk_losses(const Model *m, double *loss, const real *nll, const int32_t *target, int B,
                  int M);

#endif
