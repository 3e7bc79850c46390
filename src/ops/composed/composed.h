/* Operations made of products and primitives: written once for every backend. Conventions as in
 * ops/ops.h. */
#ifndef TTT_OPS_COMPOSED_H
#define TTT_OPS_COMPOSED_H

#include "ops/ops.h"

enum { FEW_ROWS = 8 }; /* bound by reading the weight; from 16 on the library is as fast */

/* product.c: y = x w (+ y), w (K, N), or (N, K) when transposed: read once where x has few rows. */
void weight_product(Backend *be, real *y, const real *x, const real *w, bool transposed, int R,
                    int K, int N, bool add);

/* What the next kernel writes into x, n elements, is for products of R rows and more in this group,
 * and nothing else: see gemm_operand. Kernels of few rows read `real`. */
void product_operand(Backend *be, Dual x, int R, size_t n);

/* ends.c: what rows x of a product become. x: (B, R, C) of a residual; heads have x.t where y has
 * one. */
void heads_forward(Backend *be, const HeadRows *h, Dual x);
void residual_forward(Backend *be, const Residual *s, Dual x, int B, int R, int C, double eps);

/* linear.c: y = x w, y.t only where x or w has a tangent.
 * x: (B, R, K)  w: (K, N)  y: (B, R, N) */
typedef struct Linear {
    Dual y;
    Param w;
    int N;
    const HeadRows *heads; /* that y becomes, or NULL */
    const Residual *sum;   /* likewise */
} Linear;
enum { MOST_LINEARS = 4 };

/* What a sub-layer's products are of: x, or its norm. */
typedef struct Input {
    Dual x;
    Param norm;  /* v NULL: x as it is */
    Dual normed; /* (B, R, K): room for it; t only where x or the norm's weight has a tangent */
    double eps;  /* of whole rows' norms, before and behind */
} Input;

/* n products of one input, which is read, or rounded, once for all of them. gated: silu(y) of the
 * first times y of the second; v NULL: not wanted. What `normed` holds then is undefined. */
void linears_forward(Backend *be, const Linear *l, int n, const Input *in, Dual gated, int B, int R,
                     int K);

typedef struct LinearGrad {
    Dual dy;
    Param w, dw;
    int N;
} LinearGrad;
/* dx, the sum of what each of them brings, is written, or added to. */
void linears_backward(Backend *be, Dual dx, bool add, const LinearGrad *l, int n, Dual x, int B,
                      int R, int K);

/* Any Dual: y = a + b, with absent tangents as zeros (y.t NULL: not wanted). n elements. */
void dual_add(Backend *be, Dual y, Dual a, Dual b, size_t n);

/* head.c: logits z = x W, cross entropy, and the gradient in the same pass over blocks of rows. */
typedef struct Head {
    int B, M, C, V;
    bool tied; /* W is (V, C), the embedding; else (C, V) */
    Dual x;    /* (B, M, C) */
    Param w;
    const int32_t *target; /* (B, M) */
    real *nll;             /* (B, M), written */
    Dual seed;             /* (B, M): weights of the rows in the loss; both NULL: no gradient */
    Dual dx;               /* (B, M, C), written */
    Param dw;              /* added */
    int rows;              /* that a block takes; half of them where the logits have tangents */
    real *logits;          /* scratch: (rows, V) */
    real *stack;           /* scratch: (3 rows / 2, C); only where x has a tangent */
} Head;

void head_loss(Backend *be, const Head *h);
/* z (N, V) = x W for sequence b's weights. */
void head_logits(Backend *be, const Head *h, int b, real *z, const real *x, int N);

#endif
