/* One Transformer block over a span of a stream, forward and backward; the only place that knows
 * the wiring:   x += post(attention(pre(x)));  [x += post(prime(pre(x)));]  x += post(mlp(pre(x)))
 *
 * Everything is Dual (ops/ops.h): plain training, the inner step and the meta-gradient are the same
 * lines with other pointers NULL. */
#ifndef TTT_MODEL_BLOCK_H
#define TTT_MODEL_BLOCK_H

#include "model/model.h"
#include "ops/composed/composed.h"

/* The order of sub-layers of the tail: 3 per block, then ln_f and head. */
enum { PART_ATTENTION, PART_PRIME, PART_MLP, PARTS };

/* What a block keeps from forward to backward; each (B, M, width). */
typedef enum Act {
    A_X, /* input                                   C */
    A_Q_RAW,
    A_K_RAW, /* projections before the norm             C */
    A_Q,     /* normed and rotated                      C */
    A_K,
    A_V,         /* of the span's own keys and values       C */
    A_ATTENDED,  /* heads' outputs                          C */
    A_PROJECTED, /* times wo                                C */
    A_MID,       /* after attention                         C */
    A_PRIME_H1,
    A_PRIME_H3, /* prime MLP                               F */
    A_PRIME_OUT,
    A_POST_PRIME, /* its output, the sum after it            C */
    A_H1,
    A_H3,
    A_F,   /* MLP; its output                     F F C */
    A_OUT, /*                                         C */
    N_ACTS
} Act;

typedef unsigned ActSet; /* a bit for each */
static inline ActSet act_bit(Act i)
{
    return 1U << i;
}

typedef struct BlockActs {
    Dual room[N_ACTS]; /* storage; absent parts NULL */
    Dual act[N_ACTS];  /* as the last forward left them: t NULL where there is no tangent */
    Dual lse;          /* (B, H, M), of attention */
    ActSet again;      /* their rooms are shared: block_again fills them before a backward pass */
} BlockActs;

/* Between the lines of one block's pass: (B, M, C) and (B, M, F). */
typedef struct BlockScratch {
    Dual c[6], f[3];
} BlockScratch;

/* Keys and values of one block for a whole stream or its last rows. */
typedef struct KvRows {
    real *k, *v;         /* (B, rows, C) */
    uint16_t *k16, *v16; /* the same in bfloat16, written with them; or NULL: not kept */
    size_t step;         /* rows * C */
    real *dk, *dv;       /* their tangent-slot gradients, (B, grad_step / C, C), or NULL */
    size_t grad_step;
    int grad_shift;
} KvRows;

/* The rows that a pass is over. */
typedef struct Span {
    int B, M;
    int64_t position;      /* of the first row in the stream */
    int first;             /* its row in KvRows */
    int64_t window, local; /* as in Window */
    const real *rope;      /* (M, D/2, 2); of places: (B, D/2, 2) */
    const Places *places;  /* as in Window */
} Span;

/* Which weights: the model's, or a sequence's adapted ones with their tangents. */
typedef struct Weights {
    const Model *m;
    real *fast;             /* (B, P) or NULL: the model's own everywhere */
    real *tangent;          /* (B, P) or NULL */
    const ptrdiff_t *shift; /* as in Param, of `fast` */
} Weights;

/* Where gradients go; NULL: not wanted. */
typedef struct Grads {
    const Model *m;
    real *inner;    /* (B, P) value slot: gradient of the inner loss */
    real *inner_t;  /* (B, P) tangent slot of inner weights */
    real *outer;    /* (table.size) tangent slot of all others */
    bool use_inner; /* the weights are adapted ones: inner parameters have their own slots */
} Grads;

Param weight_of(const Weights *w, ParamId id, int layer);
Param grad_of(const Grads *g, ParamId id, int layer);

/* Storage with its tangent in use, or without one. */
static inline Dual dual_when(Dual storage, bool tangent)
{
    return (Dual){storage.v, tangent ? storage.t : NULL};
}

/* Bump allocation over backend memory: the same layout code first with base NULL, to learn the
 * size, then for real. */
typedef struct Arena {
    real *base;
    size_t used;
} Arena;
real *arena_take(Arena *a, size_t n);
int32_t *arena_take_ids(Arena *a, size_t n);
double *arena_take_doubles(Arena *a, size_t n);
Dual arena_take_dual(Arena *a, size_t n, bool tangent);

/* Whether a block has a prime MLP. */
bool block_has_prime(const Model *m, int layer);
/* tangents: room for them too. */
void block_acts_layout(BlockActs *acts, Arena *a, const Model *m, int layer, int B, int M,
                       bool tangents);
/* Of a block without tangents whose window (KvRows) others write to as well: its values are kept
 * besides, and what is in `again` lies where `shared` has it. */
void block_acts_layout_again(BlockActs *acts, Arena *a, const Model *m, int layer, int B, int M,
                             const BlockActs *shared, ActSet again);
/* What needs no product, or nothing at all, to be made again; and the rooms that blocks up to
 * `layer` share for a set of them. */
ActSet block_again_freely(const ModelConfig *c);
void block_shared_layout(BlockActs *shared, Arena *a, const Model *m, int layer, int B, int M,
                         ActSet again);
void block_scratch_layout(BlockScratch *s, Arena *a, const Model *m, int B, int M, bool tangents);

typedef struct BlockPass {
    const Weights *w;
    const Grads *g; /* backward only */
    const KvRows *kv;
    const Span *span;
    BlockScratch *scratch;
    int layer;
} BlockPass;

/* x: input; returns the output, which lives in acts. */
Dual block_forward(const BlockPass *p, BlockActs *acts, Dual x);

/* The span's rows of keys and values of the window, as the forward pass put them there. */
void block_window_again(const BlockPass *p, BlockActs *acts);
/* What acts->again names, for the backward pass; x: the input, the output is as the forward pass
 * left it. The same operations on the same operands: the same bits. */
void block_again(const BlockPass *p, BlockActs *acts, Dual x);

/* dx: gradient of the output on entry, of the input on return, in the same storage. stop: the
 * sub-layer (PART_*) below whose input the value slot is not wanted; from there down dx.v is left
 * NULL
 * (-1: wanted everywhere, PARTS or more: nowhere tracked). Returns dx as it is below the block. */
Dual block_backward(const BlockPass *p, BlockActs *acts, Dual dx, int stop);

#endif
