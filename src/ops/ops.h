/* Primitive operations. Each row of ops.def is one kernel with a sibling per backend; on the CPU
 * each is compiled once per instruction set. Call them through be->ops.
 *
 * Letters: B sequences, M rows of a chunk or span, C hidden, H heads, D head size, F ffn, V vocab,
 * P inner weights of a sequence. All arrays row-major and dense unless a step is given, and all in
 * the backend's memory, ids and scalars too, except Param.shift and what is in AdamWStep.
 *
 * A Dual is a value and its tangent. On input a NULL tangent is zero; on output NULL means not
 * wanted. In a backward, the value slot of a gradient is the adjoint of the inner loss and the
 * tangent slot its derivative along the tangents; where nothing has a tangent and the incoming
 * value slot is NULL, the tangent slot is an ordinary gradient. Gradients of weights accumulate;
 * gradients of activations are written, unless a flag says that they are added. */
#ifndef TTT_OPS_OPS_H
#define TTT_OPS_OPS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "backend/backend.h"
#include "backend/profile.h"

typedef struct Dual {
    real *v, *t;
} Dual;

/* A weight or a weight's gradient: value, tangent, and the distance from one sequence's copy to the
 * next (0: all sequences share it). */
typedef struct Param {
    real *v, *t;
    size_t step;
    const ptrdiff_t *shift; /* (B) of a forward without tangents: sequence b's copy is v + shift[b];
                               NULL: v + b * step */
} Param;

static inline real *param_of(Param w, int b)
{
    return w.v + (w.shift ? w.shift[b] : (ptrdiff_t)((size_t)b * w.step));
}

/* Where sequences that go on each by itself, one query each, have their rows; (B) each, in the
 * backend's memory. */
typedef struct Places {
    const ptrdiff_t *shift; /* from the first sequence's arrays of keys and values to each one's, in
                               `real`, of bfloat16 arrays too: they lie as far apart */
    const int *first;       /* as in Window */
    const int64_t *position; /* as in Window */
} Places;

enum { HALVES = (int)(sizeof(real) / sizeof(uint16_t)) }; /* that fit one `real` */

/* Rows (B, M, C) whose sequences lie apart, in each slot as far as it says. */
typedef struct Strided {
    real *v, *t;
    size_t v_step, t_step; /* elements from one sequence to the next */
    const Places *places;  /* M = 1: where the rows of v lie instead, from v on; or NULL */
    uint16_t *half;        /* rope_forward: v in bfloat16, as in Window; or NULL */
} Strided;

/* How heads are turned, and normed before. */
typedef struct Rope {
    const real *table; /* (M, D/2, 2) cosines and sines of the rows' positions; NULL: not turned */
    size_t step;       /* from one sequence's table to the next; 0: they share it */
    double eps;        /* of the norm */
} Rope;

/* Keys and values of one block for a span of a stream: rows in order of position. */
typedef struct Window {
    const real *k, *v;         /* (B, step / C, C): rotated keys, values; row 0 of each sequence */
    const uint16_t *k16, *v16; /* k and v rounded to bfloat16, which may be read instead; or NULL:
                                  not kept (backend_half_windows) */
    size_t step;               /* elements from one sequence to the next */
    const real *kt, *vt;       /* (B, M, C): tangents of the span's own rows, or NULL */
    int first;                 /* row of the span's first query; rows before it are its past */
    int64_t position;          /* absolute position of the span's first query */
    int64_t window;            /* a query sees this many keys, itself included; 0: all before it */
    int64_t local; /* queries see keys of their own chunk of this length only; 0: no such limit */
    const Places *places; /* M = 1, no tangents: instead of step, first and position; or NULL */
} Window;

typedef struct WindowGrad {
    real *dk, *dv; /* (B, step / C, C) tangent slot: all rows seen, added */
    size_t step;
    int shift;             /* the Window's row r is row r - shift here */
    real *own_dk, *own_dv; /* (B, M, C) value slot: the span's own rows, written; or NULL */
} WindowGrad;

/* What rows of heads (B, M, H*D) become: normed, turned, and put where they belong. */
typedef struct HeadRows {
    Strided y;
    Param norm; /* (D); v NULL: none */
    Rope rope;
    int B, M, H, D;
} HeadRows;

/* What a sub-layer's output x becomes: y = plus + x, or plus + norm(x); y may be plus. */
typedef struct Residual {
    Dual y, plus;
    Param norm; /* v NULL: none */
} Residual;

/* One of the products that rows_products makes at once. */
typedef struct RowsProduct {
    real *y;           /* (R, N) */
    const real *x, *w; /* (R, K), and (K, N), or (N, K) when transposed */
    int N;
    const real *norm;      /* (K): x is normed with it first, as in rmsnorm.c; or NULL */
    real *normed;          /* (R, K): a room for that */
    real *gated;           /* (R, N): silu(y) times the next product's y, as in swiglu.c; or NULL */
    const HeadRows *heads; /* that y becomes: R = B * M rows that share a norm; or NULL */
    const Residual *sum;   /* that y becomes, (R, N) likewise; or NULL */
} RowsProduct;
enum { MOST_PRODUCTS = 24 }; /* at once */

typedef struct AdamWStep {
    double lr, b1, b2, eps, weight_decay;
    double correction1, correction2; /* 1 - b^t */
    const double *scale;             /* (1) of the gradient, from clip_scale */
} AdamWStep;

/* A step that is only taken, in place, where all of these are finite, and the gradient's norm. */
typedef struct StepGuard {
    const real *nll, *seed; /* (rows): losses, of rows whose seed is not 0 */
    int rows;
    const real *before; /* (1): norm that the step before has left */
} StepGuard;

/* Sum of b; a = b; a = b + c / 2. Each thread takes a part of PEAK_ALIGN times some elements. */
typedef enum PeakMemory { PEAK_READ, PEAK_COPY, PEAK_TRIAD } PeakMemory;
enum { PEAK_ALIGN = 1024 };

typedef struct Ops {
#define OP(name, args, names) void(*name) args;
#include "ops/ops.def"
#undef OP
} Ops;

/* Rows of a profile (backend/profile.h): products, then the kernels as they stand in the table. */
enum { N_OPS = PROFILE_GEMM + 1 + (int)(sizeof(Ops) / sizeof(void (*)(void))) };
const char *op_name(int row); /* composed/timed.c */

#endif
