/* Attention on tensor cores, for models that compute in bfloat16: operands rounded, sums in
 * float32, all four passes, heads of 64 and 128. The rest goes to attention.cu's kernels in `real`.
 *
 * A call rounds its operands into scratch, runs one kernel (forward) or two (backward, see
 * attention_backward.cuh for why), and, where there are too few tiles of queries for the GPU,
 * splits their keys into parts whose sums a last kernel adds in their order.
 *
 * What nvcc 13.0 makes of them for sm_90 (no spills), and what they should take of an H100 for 1024
 * queries over a window of 8192 keys with as many rows of past, 12 heads of 64: a product of tiles
 * for all of them is 12.9 GFLOP; expected at 350 TFLOP/s, which FlashAttention-2, of the same
 * instructions, is published with on this GPU (arXiv 2407.08608). Not yet run.
 *
 *                         registers  shared KB  blocks/SM  products         GFLOP  us
 *   forward      D 64       234        48         2        2                 26     74
 *     tangents              242        80         2        4, own keys 6     53    152
 *   forward      D 128      254        64         2
 *     tangents              254        96         2
 *   queries      D 64       239        64         2        3                 39    110
 *     dual                  234        96         2        6, own keys 9     80    228
 *   queries      D 128      248        96         2
 *     dual                  255       128         1
 *   keys         D 64       246        66         2        4                 52    147
 *     dual, past            246        98         2        8                 97    276
 *     dual, own             244        98         2        12                10     28
 *   keys         D 128      239        65         2
 *     dual, past            240        97         2
 *     dual, own             223       129         1        18, scores of each half of the columns
 *
 * A block of queries does 128 operations for every byte of its tiles of keys: what L2 gives an
 * H100, about 5.5 TB/s, feeds 700 TFLOP/s. Device memory: keys and values are read once and written
 * rounded, 90 MB, 30 us at 3 TB/s; their gradients are read and written once, 113 MB, 38 us. */
#include "ops/attention_gpu.cuh"

#ifdef TTT_FP64 /* the exactness build has no bfloat16 */

bool attention_tc_forward(Backend *be, const AttentionPass &a)
{
    (void)be, (void)a;
    return false;
}
bool attention_tc_backward(Backend *be, const AttentionPass &a)
{
    (void)be, (void)a;
    return false;
}

#else

#include "ops/attention_tc_forward.cuh"
#include "ops/attention_tc_keys.cuh"
#include "ops/attention_tc_queries.cuh"

#include "backend/operands_cuda.cuh" // defines: Matrices, cuda_operands_round

/* ------------------------------------------------------------------------------ operands */

/* What each query brings from the forward pass; a warp for each row of each head. */
static __global__ void tc_known_kernel(TcPass c)
{
    const AttentionPass &a = c.a;
    size_t row = walk_start() / WARP, H = (size_t)a.H, M = (size_t)a.M;
    bool there = row < (size_t)a.B * M * H;
    size_t h = row % H, i = row / H % M, b = row / H / M;
    size_t at = there ? own_row(a, (int)b, (int)i, (int)h) : 0, to = (b * H + h) * M + i;
    const float *d_o = a.d_o.v ? a.d_o.v : a.d_o.t;
    bool dual = pass_is_dual(a);
    float sum = 0, sum_t = 0;
    for (int d = lane_id(); d < a.D && there; d += WARP) {
        size_t x = at + (size_t)d;
        sum += d_o[x] * a.o.v[x];
        if (dual) sum_t += a.d_o.t[x] * a.o.v[x];
        if (dual && a.o.t) sum_t += a.d_o.v[x] * a.o.t[x];
    }
    sum = warp_sum(sum);
    sum_t = warp_sum(sum_t);
    if (!there || lane_id() > 0) return;
    float lse_t = dual && a.lse.t ? a.lse.t[to] : 0;
    c.known[to] = make_float4(a.lse.v[to] * LOG2_E, lse_t, sum, sum_t);
}

/* ------------------------------------------------------------------------------ scratch */

/* `bytes` of scratch; with base NULL they are only counted. */
static void *carve(char *base, size_t *used, size_t bytes)
{
    char *at = base ? base + *used : NULL;
    *used += (bytes + 255) / 256 * 256;
    return at;
}

/* Places of everything that a call keeps in scratch; returns its bytes. partial: floats. */
static size_t tc_layout(TcPass *c, char *base, bool backward, size_t partial)
{
    size_t used = 0, rows = (size_t)c->a.B * (size_t)c->a.M * (size_t)c->a.H;
    if (backward) c->known = (float4 *)carve(base, &used, rows * sizeof(float4));
    if (partial) c->partial = (float *)carve(base, &used, partial * sizeof(float));
    return used;
}

static TcPass tc_pass(Backend *be, const AttentionPass &a, bool backward, int parts, size_t partial)
{
    TcPass c = {};
    c.a = a;
    c.row0 = seen_from(a.seen, a.seen.first);
    c.parts = parts;
    c.to_log2 = a.scale * LOG2_E;
    if (parts == 1) partial = 0;
    size_t bytes = tc_layout(&c, NULL, backward, partial);
    tc_layout(&c, bytes ? (char *)cuda_scratch(be, bytes) : NULL, backward, partial);
    return c;
}

/* Rows of keys, or of values: as the window has them rounded, or yet to be. */
static Matrices window_rows(const TcPass &c, const real *x, const uint16_t *half)
{
    const AttentionPass &a = c.a;
    int64_t C = (int64_t)a.C, rows = a.seen.end - c.row0, row0 = c.row0 * C;
    const void *from = half ? (const void *)(half + row0) : (const void *)(x + row0);
    return {from, rows, C, C, (int64_t)a.step, half ? 0 : a.B};
}

/* Sets c's operands, for as long as the caller's group of products lasts. */
static void tc_operands(Backend *be, TcPass *c, bool backward, bool dual)
{
    enum { Q, D_O, K, V, TANGENT };
    const AttentionPass &a = c->a;
    int64_t C = (int64_t)a.C, own = a.M * C;
    Matrices x[2 * TANGENT] = {
        {a.q.v, a.M, C, C, own, a.B}, {a.d_o.v ? a.d_o.v : a.d_o.t, a.M, C, C, own, a.B},
        window_rows(*c, a.k, a.k16),  window_rows(*c, a.v, a.v16),
        {a.q.t, a.M, C, C, own, a.B}, {a.d_o.t, a.M, C, C, own, a.B},
        {a.kt, a.M, C, C, own, a.B},  {a.vt, a.M, C, C, own, a.B}};
    for (int slot = 0; slot <= dual; slot++)
        if (!backward) x[slot * TANGENT + D_O].count = 0;
    cuda_operands_round(be, cuda_operands(be), x, (dual ? 2 : 1) * TANGENT);
    for (int slot = 0; slot <= dual; slot++) {
        const Matrices *of = x + slot * TANGENT;
        c->q[slot] = (const Bits *)of[Q].data;
        c->d_o[slot] = (const Bits *)of[D_O].data;
        c->k[slot] = (const Bits *)of[K].data;
        c->v[slot] = (const Bits *)of[V].data;
    }
    c->k_step = (size_t)x[K].step;
    c->v_step = (size_t)x[V].step;
}

/* ------------------------------------------------------------------------------ shape of a launch
 */

/* Parts of the keys: the number of rounds of two blocks on every multiprocessor, over the parts, is
 * the time; each part costs its sums' way through memory, taken as 3 %. None has less than LEAST
 * tiles. */
static int parts_for(const Backend *be, size_t blocks, int tiles)
{
    enum { MOST = 16, LEAST = 4 };
    size_t places = 2 * (size_t)cuda_processors(be);
    int best = 1;
    double least = 1e30;
    for (int parts = 1; parts <= MOST && (parts == 1 || parts * LEAST <= tiles); parts++) {
        size_t rounds = (blocks * (size_t)parts + places - 1) / places;
        double time = (double)rounds / parts * (1 + 0.03 * (parts - 1));
        if (time >= least) continue;
        least = time;
        best = parts;
    }
    return best;
}

template <class P> static int parts_of(const Backend *be, const AttentionPass &a)
{
    size_t blocks = (size_t)blocks_for((size_t)a.M, P::T) * (size_t)a.H * (size_t)a.B;
    int longest = a.seen.window < a.seen.end ? a.seen.window + P::T : a.seen.end;
    return parts_for(be, blocks, longest / P::KEYS);
}

static dim3 tc_grid(const AttentionPass &a, unsigned x)
{
    return dim3(x, (unsigned)a.H, (unsigned)a.B);
}

/* ------------------------------------------------------------------------------ forward */

template <class P> static void tc_forward(Backend *be, const AttentionPass &a)
{
    constexpr size_t shared = (size_t)(P::ROWS * P::D + 2 * P::STAGE) * sizeof(Bits);
    size_t rows = (size_t)a.B * (size_t)a.H * (size_t)a.M;
    int parts = parts_of<P>(be, a);
    TcPass c = tc_pass(be, a, false, parts, (size_t)parts * rows * PARTIAL<P>);
    tc_operands(be, &c, false, P::DUAL);
    unsigned tiles = blocks_for((size_t)a.M, P::T) * (unsigned)parts;
    launch(be, tc_forward_kernel<P>, tc_grid(a, tiles), TC_BLOCK, shared, c);
    if (parts == 1) return;
    launch(be, tc_merge_kernel<P>, blocks_for(rows * WARP, BLOCK), BLOCK, 0, c);
}

/* ------------------------------------------------------------------------------ backward */

template <class P> static void tc_queries(Backend *be, TcPass c)
{
    constexpr size_t shared = (size_t)(2 * P::ROWS * P::D + 2 * P::STAGE) * sizeof(Bits);
    unsigned tiles = blocks_for((size_t)c.a.M, P::T) * (unsigned)c.parts;
    size_t n = (size_t)c.a.B * (size_t)c.a.M * c.a.C, slots = P::DUAL ? 2 : 1;
    launch(be, tc_queries_kernel<P>, tc_grid(c.a, tiles), TC_BLOCK, shared, c);
    if (c.parts == 1) return;
    for (size_t slot = 0; slot < slots; slot++) {
        float *to = slot || !(P::DUAL || c.a.dq.v) ? c.a.dq.t : c.a.dq.v;
        if (to)
            launch(be, tc_sum_kernel, blocks_for(n, BLOCK), BLOCK, 0, to, c.partial + slot * n,
                   c.parts, slots * n, n);
    }
}

/* Tiles from the `skip`th to the `end`th. */
template <class P> static void tc_keys(Backend *be, const TcPass &c, int skip, int end)
{
    unsigned x = (unsigned)((end - skip) * (P::D / P::COLS));
    launch(be, tc_keys_kernel<P>, tc_grid(c.a, x), TC_BLOCK, P::shared, c, skip);
}

template <int D> static void tc_keys_plain(Backend *be, const TcPass &c)
{
    using P = KeyPlan<D, false, false>;
    int skip = c.a.d_o.v ? past_tiles(c.a.seen, P::KEYS) : 0;
    tc_keys<P>(be, c, skip, key_tiles(c.a.seen, P::KEYS));
}

template <int D> static void tc_keys_dual(Backend *be, const TcPass &c)
{
    using Past = KeyPlan<D, true, false>;
    using Own = KeyPlan<D, true, true>;
    tc_keys<Past>(be, c, 0, past_tiles(c.a.seen, Past::KEYS));
    tc_keys<Own>(be, c, past_tiles(c.a.seen, Own::KEYS), key_tiles(c.a.seen, Own::KEYS));
}

template <int D, bool DUAL> static void tc_backward(Backend *be, const AttentionPass &a)
{
    using P = QueryPlan<D, DUAL>;
    size_t n = (size_t)a.B * (size_t)a.M * a.C;
    int parts = parts_of<P>(be, a);
    TcPass c = tc_pass(be, a, true, parts, (size_t)parts * (DUAL ? 2 : 1) * n);
    tc_operands(be, &c, true, DUAL);
    launch(be, tc_known_kernel, blocks_for(n / (size_t)D * WARP, BLOCK), BLOCK, 0, c);
    tc_queries<P>(be, c);
    if (DUAL)
        tc_keys_dual<D>(be, c);
    else
        tc_keys_plain<D>(be, c);
}

/* ------------------------------------------------------------------------------ which calls */

/* 16-byte loads of rows; rows of a head are multiples of that. Heads of 128 with tangents take more
 * shared memory than GPUs for graphics have (99 KB a block). */
static bool tc_suits(const Backend *be, const AttentionPass &a)
{
    constexpr size_t most = KeyPlan<128, true, true>::shared;
    const WindowGrad &g = a.grad;
    const void *rows[] = {a.q.v,   a.q.t, a.k,   a.v,    a.k16,  a.v16, a.kt, a.vt,     a.d_o.v,
                          a.d_o.t, a.o.v, a.o.t, a.dq.v, a.dq.t, g.dk,  g.dv, g.own_dk, g.own_dv};
    bool suits =
        be->bf16 && (a.D == 64 || a.D == 128) && a.step % (a.k16 ? 8 : 4) == 0 && g.step % 4 == 0;
    for (const void *p : rows) suits = suits && (uintptr_t)p % 16 == 0;
    return suits && (a.D == 64 || cuda_shared_most(be) >= most);
}

bool attention_tc_forward(Backend *be, const AttentionPass &a)
{
    if (!tc_suits(be, a)) return false;
    cuda_operands_group(be, cuda_operands(be), true);
    if (a.D == 64 && a.o.t)
        tc_forward<QueryPlan<64, true>>(be, a);
    else if (a.D == 64)
        tc_forward<QueryPlan<64, false>>(be, a);
    else if (a.o.t)
        tc_forward<QueryPlan<128, true>>(be, a);
    else
        tc_forward<QueryPlan<128, false>>(be, a);
    cuda_operands_group(be, cuda_operands(be), false);
    return true;
}

bool attention_tc_backward(Backend *be, const AttentionPass &a)
{
    if (!tc_suits(be, a)) return false;
    cuda_operands_group(be, cuda_operands(be), true);
    if (a.D == 64 && pass_is_dual(a))
        tc_backward<64, true>(be, a);
    else if (a.D == 64)
        tc_backward<64, false>(be, a);
    else if (pass_is_dual(a))
        tc_backward<128, true>(be, a);
    else
        tc_backward<128, false>(be, a);
    cuda_operands_group(be, cuda_operands(be), false);
    return true;
}

#endif
