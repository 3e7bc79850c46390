/* What the kernels of attention are handed, by value: arrays, sizes, and who sees whom. */
#ifndef TTT_OPS_ATTENTION_PASS_CUH
#define TTT_OPS_ATTENTION_PASS_CUH

#include "ops/attention_seen.cuh"

typedef struct AttentionPass {
    Dual q;                    /* (B, M, C) */
    const real *k, *v;         /* (B, step / C, C) */
    const uint16_t *k16, *v16; /* rounded, or NULL */
    const real *kt, *vt;       /* (B, M, C) or NULL */
    size_t step;
    int B, M, H, D;
    size_t C;
    real scale; /* 1 / sqrt(D) */
    Seen seen;
    Dual o, lse;                 /* (B, M, C), (B, H, M): written by the forward pass */
    Dual d_o, dq;                /* (B, M, C) */
    const real *delta, *delta_t; /* (B, H, M): sum of d_o o, and its tangent */
    WindowGrad grad;
} AttentionPass;

/* Head h of row i of sequence b in an array (B, M, C). */
__device__ inline size_t own_row(const AttentionPass &a, int b, int i, int h)
{
    return ((size_t)b * (size_t)a.M + (size_t)i) * a.C + (size_t)h * (size_t)a.D;
}

/* The same of a row of the window. */
__device__ inline size_t window_row(const AttentionPass &a, int b, int row, int h)
{
    return (size_t)b * a.step + (size_t)row * a.C + (size_t)h * (size_t)a.D;
}

/* The same of the tangent-slot gradients of keys and values. */
__device__ inline size_t grad_row(const AttentionPass &a, int b, int row, int h)
{
    return (size_t)b * a.grad.step + (size_t)(row - a.grad.shift) * a.C + (size_t)h * (size_t)a.D;
}

/* Query 0 of a head in an array (B, H, M). */
__device__ inline size_t head_row(const AttentionPass &a, int b, int h)
{
    return ((size_t)b * (size_t)a.H + (size_t)h) * (size_t)a.M;
}

/* Gradients in both slots; and what then has a tangent. */
__host__ __device__ inline bool pass_is_dual(const AttentionPass &a)
{
    return a.d_o.v && a.d_o.t;
}

#endif
