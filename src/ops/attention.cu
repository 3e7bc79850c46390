/* attention.c on the GPU: the same formulas and the same tiles, see there. Kernels in `real` for
 * every head of up to 256 are in attention_forward.cuh and attention_backward.cuh; few queries over
 * many keys in attention_row.cu; bfloat16 on tensor cores in attention_tc.cu. Nothing of size M x M
 * or M x window is ever in memory; no atomics, so the same bits from run to run. */
#include "ops/attention_backward.cuh"
#include "ops/attention_gpu.cuh"

static AttentionPass pass_of(Dual o, Dual lse, Dual q, const Window *w, int B, int M, int H, int D)
{
    AttentionPass a = {};
    a.q = q;
    a.k = w->k, a.v = w->v, a.kt = w->kt, a.vt = w->vt;
    a.k16 = w->k16, a.v16 = w->v16;
    a.step = w->step;
    a.B = B, a.M = M, a.H = H, a.D = D, a.C = (size_t)H * (size_t)D;
    a.scale = (real)(1 / sqrt((double)D));
    a.seen = seen_of(w, w->first, w->position, M);
    a.o = o, a.lse = lse;
    return a;
}

/* ------------------------------------------------------------------------------ plain kernels */

static dim3 grid_of(const AttentionPass &a, int tiles)
{
    return dim3((unsigned)tiles, (unsigned)a.H, (unsigned)a.B);
}

template <class P, bool DUAL> static void forward_plain(Backend *be, const AttentionPass &a)
{
    dim3 grid = grid_of(a, (a.M + P::T - 1) / P::T);
    launch(be, forward_kernel<P, DUAL>, grid, SIDE * SIDE, P::shared, a);
}

/* The inner loss's gradient is one of own keys only. */
template <class P, bool DUAL> static void backward_plain(Backend *be, const AttentionPass &a)
{
    int skip = a.d_o.v && !DUAL ? past_tiles(a.seen, P::T) : 0;
    dim3 queries = grid_of(a, (a.M + P::T - 1) / P::T);
    dim3 keys = grid_of(a, key_tiles(a.seen, P::T) - skip);
    if (a.dq.v || a.dq.t) launch(be, queries_kernel<P, DUAL>, queries, SIDE * SIDE, P::shared, a);
    launch(be, keys_kernel<P, DUAL>, keys, SIDE * SIDE, P::shared, a, skip);
}

template <bool DUAL> static void forward_of_width(Backend *be, const AttentionPass &a)
{
    if (a.D <= 32)
        forward_plain<Plain<32>, DUAL>(be, a);
    else if (a.D <= 64)
        forward_plain<Plain<64>, DUAL>(be, a);
    else if (a.D <= 128)
        forward_plain<Plain<128>, DUAL>(be, a);
    else
        forward_plain<Plain<256>, DUAL>(be, a);
}

template <bool DUAL> static void backward_of_width(Backend *be, const AttentionPass &a)
{
    if (a.D <= 32)
        backward_plain<Plain<32>, DUAL>(be, a);
    else if (a.D <= 64)
        backward_plain<Plain<64>, DUAL>(be, a);
    else if (a.D <= 128)
        backward_plain<Plain<128>, DUAL>(be, a);
    else
        backward_plain<Plain<256>, DUAL>(be, a);
}

/* ------------------------------------------------------------------------------ the operation */

extern "C" void KERNEL(attention_forward)(Backend *be, Dual o, Dual lse, Dual q, const Window *w,
                                          int B, int M, int H, int D)
{
    CHECK(D <= 256, "heads of %d: kernels are made for up to 256", D);
    if (attention_row_suits(o, q, w, M)) {
        KERNEL(attention_row)(be, o.v, lse.v, q.v, w, B, M, H, D);
        return;
    }
    CHECK(!w->places, "sequences at places of their own have one query each");
    AttentionPass a = pass_of(o, lse, q, w, B, M, H, D);
    if (attention_tc_forward(be, a)) return;
    if (o.t)
        forward_of_width<true>(be, a);
    else
        forward_of_width<false>(be, a);
}

extern "C" void KERNEL(attention_backward)(Backend *be, Dual dq, const WindowGrad *g, Dual d_o,
                                           Dual o, Dual lse, Dual q, const Window *w, int B, int M,
                                           int H, int D)
{
    CHECK(D <= 256, "heads of %d: kernels are made for up to 256", D);
    AttentionPass a = pass_of(o, lse, q, w, B, M, H, D);
    a.d_o = d_o, a.dq = dq, a.grad = *g;
    if (attention_tc_backward(be, a)) return;
    bool dual = pass_is_dual(a);
    size_t rows = (size_t)B * (size_t)H * (size_t)M;
    real *delta = (real *)cuda_scratch(be, 2 * rows * sizeof *delta);
    a.delta = delta, a.delta_t = delta + rows;
    launch(be, delta_kernel, blocks_for(rows * WARP, BLOCK), BLOCK, 0, a, delta,
           dual ? delta + rows : (real *)NULL);
    if (dual)
        backward_of_width<true>(be, a);
    else
        backward_of_width<false>(be, a);
}
