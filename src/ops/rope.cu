/* Rotary positions, as in rope.c. The table is made in double, one thread a pair.
 *
 * Heads are normed and turned in registers: a team of 4 to 32 lanes takes a head's row, each lane
 * the same columns, whole pairs, of all its rows. Device memory moves 8 bytes an element in float
 * forward, with tangents 16; backward 12, with tangents 24, or 10 and 20 where products alone read
 * the result; without a norm 8 and 16. The table's rows are shared by all heads. Each lane adds up
 * the weight's gradient in registers; a block leaves a part of it, see part_sums.cuh. */
#include "backend/part_sums.cuh"
#include "ops/norm.cuh" // defines: Weight, weight_shift
#include "ops/pack.cuh" // defines: Pack, load, store, aligned, whole_packs

/* positions: of each row, or NULL: they follow `position`. */
static __global__ void rope_table_kernel(real *table, int64_t position, const int64_t *positions,
                                         size_t n, int half, double theta)
{
    for (size_t at = walk_start(); at < n; at += walk_step()) {
        size_t m = at / (size_t)half, i = at % (size_t)half;
        double frequency = pow(theta, -(double)i / half);
        double angle = (double)(positions ? positions[m] : position + (int64_t)m) * frequency;
        table[2 * at] = (real)cos(angle);
        table[2 * at + 1] = (real)sin(angle);
    }
}

void KERNEL(rope_table)(Backend *be, real *table, int64_t position, int M, int D, double theta)
{
    int half = D / 2;
    size_t n = (size_t)M * (size_t)half;
    launch(be, rope_table_kernel, blocks_walking(be, n), BLOCK, 0, table, position,
           (const int64_t *)NULL, n, half, theta);
}

void KERNEL(rope_table_at)(Backend *be, real *table, const int64_t *positions, int n, int D,
                           double theta)
{
    int half = D / 2;
    size_t pairs = (size_t)n * (size_t)half;
    launch(be, rope_table_kernel, blocks_walking(be, pairs), BLOCK, 0, table, (int64_t)0, positions,
           pairs, half, theta);
}

/* Whole pairs: a pack, or two single elements where W is 1. */
template <int W> struct Pairs {
    enum { n = W > 1 ? W : 2 };
    real at[n];
};

template <int W> __device__ inline Pairs<W> load_pairs(const real *p, size_t i)
{
    Pairs<W> x;
    for (int j = 0; j < x.n; j += W) {
        Pack<W> part = load<W>(p, i + (size_t)j);
        for (int l = 0; l < W; l++) x.at[j + l] = part.at[l];
    }
    return x;
}
template <int W, typename To> __device__ inline void store_pairs(To p, size_t i, Pairs<W> x)
{
    for (int j = 0; j < x.n; j += W) {
        Pack<W> part;
        for (int l = 0; l < W; l++) part.at[l] = x.at[j + l];
        store(p, i + (size_t)j, part);
    }
}

/* ------------------------------------------------------------------------------ teams */

enum { MOST_D = 256 }; /* as attention.cu */

/* How rows of heads are dealt out. */
struct Heads {
    const real *table;
    size_t table_step;
    int M, H, D, lanes; /* of a team, a power of 2 */
    real eps;
};

/* Packs that a lane has of a row: 1, or what the longest row takes. */
template <int W> struct MostPacks {
    enum { n = MOST_D / (WARP * Pairs<W>::n) };
};

static int lanes_of(int D, int n)
{
    int lanes = 4;
    while (lanes < WARP && lanes * n < D) lanes *= 2;
    return lanes;
}

/* Where a row of x (B, M, H, D) is. */
struct HeadPlace {
    int b, m, h;
    size_t at; /* in a dense array */

    __device__ HeadPlace(const Heads &k, size_t n)
        : b((int)(n / (size_t)k.H / (size_t)k.M)), m((int)(n / (size_t)k.H % (size_t)k.M)),
          h((int)(n % (size_t)k.H)), at(n * (size_t)k.D)
    {
    }
    __device__ size_t in(const Heads &k, size_t step) const
    {
        return (size_t)b * step + ((size_t)m * (size_t)k.H + (size_t)h) * (size_t)k.D;
    }
    __device__ const real *turns(const Heads &k) const
    {
        if (!k.table) return NULL;
        return k.table + (size_t)b * k.table_step + (size_t)m * (size_t)k.D;
    }
};

/* A lane's columns of a row. */
template <int W, int EACH> struct HeadPart {
    enum { N = Pairs<W>::n };
    Pairs<W> at[EACH];

    __device__ static int column(const Heads &k, int e)
    {
        return ((int)threadIdx.x % k.lanes + e * k.lanes) * N;
    }
    /* p: the row, or NULL for zeros */
    __device__ static HeadPart read(const Heads &k, const real *p)
    {
        HeadPart x;
        for (int e = 0; e < EACH; e++) {
            int c = column(k, e);
            if (p && c < k.D)
                x.at[e] = load_pairs<W>(p, (size_t)c);
            else
                for (int j = 0; j < N; j++) x.at[e].at[j] = 0;
        }
        return x;
    }
    /* to: an array, or Out; row: where in it */
    template <typename To> __device__ void write(const Heads &k, To to, size_t row) const
    {
        for (int e = 0; e < EACH; e++)
            if (column(k, e) < k.D) store_pairs(to, row + (size_t)column(k, e), at[e]);
    }
    __device__ void turn(const HeadPart &cs, real sign)
    {
        for (int e = 0; e < EACH; e++)
            for (int j = 0; j < N; j += 2) {
                real x0 = at[e].at[j], x1 = at[e].at[j + 1];
                real c = cs.at[e].at[j], s = sign * cs.at[e].at[j + 1];
                at[e].at[j] = x0 * c - x1 * s;
                at[e].at[j + 1] = x0 * s + x1 * c;
            }
    }
    /* f(element of this, the same element of another ...) */
    template <typename F, typename... Others> __device__ void each(F f, Others &...others)
    {
        for (int e = 0; e < EACH; e++)
            for (int j = 0; j < N; j++) f(at[e].at[j], others.at[e].at[j]...);
    }
};

/* The team's sum; all teams of the warp at once. */
__device__ inline real team_sum(const Heads &k, real x)
{
    for (int lane = k.lanes / 2; lane > 0; lane /= 2) x += __shfl_xor_sync(FULL_WARP, x, lane);
    return x;
}

/* ------------------------------------------------------------------------------ forward */

struct RopeForward {
    Heads heads;
    Strided y;
    Places places; /* shift NULL: none */
    Dual x;
    Weight w;
    size_t rows;
};

/* A block takes a row for each of its teams. */
template <int W, int EACH>
static __global__ void __launch_bounds__(BLOCK) rope_kernel(const __grid_constant__ RopeForward f)
{
    using Row = HeadPart<W, EACH>;
    const Heads &k = f.heads;
    size_t n = ((size_t)blockIdx.x * BLOCK + threadIdx.x) / (unsigned)k.lanes;
    bool there = n < f.rows;
    HeadPlace p(k, there ? n : f.rows - 1);
    Row x = Row::read(k, f.x.v + p.at), xt = Row::read(k, f.x.t ? f.x.t + p.at : NULL);
    Row cs = Row::read(k, p.turns(k));
    if (f.w.v) {
        const real *wt_row = f.w.t ? f.w.t + (size_t)p.b * f.w.step : NULL;
        Row w = Row::read(k, f.w.value((size_t)p.b)), wt = Row::read(k, wt_row);
        real xx = 0, xxt = 0, C = (real)k.D;
        x.each([&](real a, real t) { xx += a * a, xxt += a * t; }, xt);
        xx = team_sum(k, xx);
        xxt = team_sum(k, xxt);
        real r = 1 / sqrt_of(xx / C + k.eps), rt = -r * r * r * xxt / C;
        x.each(
            [&](real &a, real &t, real v, real vt) {
                real h = a * r, ht = t * r + a * rt;
                a = h * v;
                t = ht * v + h * vt;
            },
            xt, w, wt);
    }
    if (!there) return;
    if (k.table) x.turn(cs, 1);
    ptrdiff_t to = (ptrdiff_t)p.in(k, f.y.v_step), apart = 0;
    if (f.places.shift) {
        to = (f.places.first[p.b] * (ptrdiff_t)k.H + p.h) * k.D;
        apart = f.places.shift[p.b];
    }
    x.write(k, f.y.v + apart + to, 0);
    if (f.y.half) x.write(k, Out{NULL, f.y.half + apart * HALVES + to}, 0);
    if (!f.y.t) return;
    if (k.table) xt.turn(cs, 1);
    xt.write(k, f.y.t, p.in(k, f.y.t_step));
}

static Heads heads_of(const Rope *rope, int M, int H, int D, bool packs)
{
    CHECK(D <= MOST_D, "heads of %d: kernels are made for up to %d", D, MOST_D);
    int lanes = lanes_of(D, packs ? (int)Pairs<WIDE>::n : (int)Pairs<1>::n);
    return {rope->table, rope->step, M, H, D, lanes, (real)rope->eps};
}

/* Whether rows of all sequences begin with whole packs. */
static bool whole_rows(const Strided &y, int B)
{
    return aligned(y.v, y.t, y.half) &&
           (B == 1 || ((!y.v || whole_packs(y.v_step)) && (!y.t || whole_packs(y.t_step))));
}

template <int W> static void forward_rows(Backend *be, const RopeForward &f)
{
    bool one = f.heads.lanes * (int)Pairs<W>::n >= f.heads.D;
    launch(be, one ? rope_kernel<W, 1> : rope_kernel<W, MostPacks<W>::n>,
           blocks_for(f.rows, (size_t)(BLOCK / f.heads.lanes)), BLOCK, 0, f);
}

/* Sequences from b on, as many as there may be shifts. */
static void forward_from(Backend *be, RopeForward f, const ptrdiff_t *shift, const Rope *rope,
                         int b, int B, bool packs)
{
    int M = f.heads.M, H = f.heads.H, D = f.heads.D;
    size_t at = (size_t)b * (size_t)M * (size_t)H * (size_t)D;
    if (shift) packs = weight_shift(&f.w, shift + b, B - b) && packs;
    f.heads = heads_of(rope, M, H, D, packs);
    if (f.heads.table) f.heads.table += (size_t)b * rope->step;
    f.rows = (size_t)(shift ? min_int(MOST_SHIFTS, B - b) : B) * (size_t)M * (size_t)H;
    f.x.v += at;
    if (f.x.t) f.x.t += at;
    if (f.places.shift) {
        f.places.shift += b;
        f.places.first += b;
    } else {
        f.y.v += (size_t)b * f.y.v_step;
        if (f.y.half) f.y.half += (size_t)b * f.y.v_step;
    }
    if (f.y.t) f.y.t += (size_t)b * f.y.t_step;
    if (packs)
        forward_rows<WIDE>(be, f);
    else
        forward_rows<1>(be, f);
}

void KERNEL(rope_forward)(Backend *be, const Strided *y, Dual x, Param w, const Rope *rope, int B,
                          int M, int H, int D)
{
    RopeForward f = {};
    f.y = *y;
    f.x = x;
    f.w = {w.v, w.t, w.step, false, {0}};
    f.heads.M = M, f.heads.H = H, f.heads.D = D;
    if (y->places) f.places = *y->places; /* shifts are of whole rows of a window */
    bool packs = aligned(x.v, x.t, w.v, w.t, rope->table) && whole_rows(*y, y->places ? 1 : B) &&
                 whole_packs(D) && whole_packs(w.step);
    if (!y->t) f.x.t = NULL;
    for (int b = 0; b < B; b += w.shift ? MOST_SHIFTS : B)
        forward_from(be, f, w.shift, rope, b, B, packs);
}

/* ------------------------------------------------------------------------------ gradient */

struct RopeBackward {
    Heads heads;
    OutDual dx;
    Strided dy;
    Dual x;
    const real *w, *wt;
    size_t w_step;
    real *parts; /* (groups, gridDim.x, 2, D), value and tangent of dw; or NULL */
    bool dual;   /* the tangent slots are wanted too */
    size_t rows; /* of a group */
};

template <int W, int EACH> struct HeadSlots {
    HeadPart<W, EACH> v, t;
};

/* One row for each team of the warp, and what it adds to dw. All lanes come here; rows that are not
 * there are read as zeros of dy. */
template <int W, int EACH, bool DUAL>
__device__ inline void back_row(const RopeBackward &f, size_t n, bool there, HeadSlots<W, EACH> &dw)
{
    using Row = HeadPart<W, EACH>;
    const Heads &k = f.heads;
    HeadPlace p(k, n);
    Row cs = Row::read(k, p.turns(k)), xt, dyt;
    Row dy = Row::read(k, there && f.dy.v ? f.dy.v + p.in(k, f.dy.v_step) : NULL);
    dy.turn(cs, -1);
    if (DUAL) {
        dyt = Row::read(k, there && f.dy.t ? f.dy.t + p.in(k, f.dy.t_step) : NULL);
        dyt.turn(cs, -1);
    }
    if (f.w) {
        Row x = Row::read(k, f.x.v + p.at), w = Row::read(k, f.w + (size_t)p.b * f.w_step), wt;
        real C = (real)k.D, xx = 0, gx = 0, xxt = 0, gtx = 0, gxt = 0;
        x.each([&](real a, real d, real v) { xx += a * a, gx += d * v * a; }, dy, w);
        real r = 1 / sqrt_of(team_sum(k, xx) / C + k.eps), a = r * (gx = team_sum(k, gx)) / C;
        if (DUAL) {
            xt = Row::read(k, f.x.t ? f.x.t + p.at : NULL);
            wt = Row::read(k, f.wt ? f.wt + (size_t)p.b * f.w_step : NULL);
            x.each(
                [&](real x0, real x1, real d, real d1, real v, real v1) {
                    xxt += x0 * x1;
                    gtx += (d1 * v + d * v1) * x0;
                    gxt += d * v * x1;
                },
                xt, dy, dyt, w, wt);
            real rt = -r * r * r * team_sum(k, xxt) / C;
            real at = (r * team_sum(k, gtx + gxt) + rt * gx) / C;
            dyt.each(
                [&](real &d1, real d, real x0, real x1, real v, real v1, real &sum) {
                    real h = x0 * r, ht = x1 * r + x0 * rt, g = d * v, gt = d1 * v + d * v1;
                    sum += d1 * h + d * ht;
                    d1 = rt * (g - h * a) + r * (gt - ht * a - h * at);
                },
                dy, x, xt, w, wt, dw.t);
        }
        dy.each(
            [&](real &d, real x0, real v, real &sum) {
                real h = x0 * r;
                sum += d * h;
                d = r * (d * v - h * a);
            },
            x, w, dw.v);
    }
    if (there && f.dx.v) dy.write(k, f.dx.v, p.at);
    if (DUAL && there && f.dx.t) dyt.write(k, f.dx.t, p.at);
}

/* The part of this block: its teams' sums, in shared memory (teams, 2, D), added in order. */
template <int W, int EACH>
__device__ inline void leave_part(const RopeBackward &f, HeadSlots<W, EACH> &dw)
{
    int D = f.heads.D, teams = BLOCK / f.heads.lanes, width = 2 * D;
    real *sums = dynamic_shared<real>();
    real *own = sums + (int)threadIdx.x / f.heads.lanes * width;
    real *part = f.parts + ((size_t)blockIdx.y * gridDim.x + blockIdx.x) * (size_t)width;
    dw.v.write(f.heads, own, 0);
    dw.t.write(f.heads, own, (size_t)D);
    __syncthreads();
    for (int c = (int)threadIdx.x; c < width; c += BLOCK) {
        real sum = 0;
        for (int i = 0; i < teams; i++) sum += sums[i * width + c];
        part[c] = sum;
    }
}

/* A block takes some of a group's rows, its teams one each at a time. */
template <int W, int EACH, bool DUAL>
static __global__ void __launch_bounds__(BLOCK)
    rope_back_kernel(const __grid_constant__ RopeBackward f)
{
    size_t team = threadIdx.x / (unsigned)f.heads.lanes, group = blockIdx.y * f.rows;
    size_t from = f.rows * blockIdx.x / gridDim.x, to = f.rows * (blockIdx.x + 1) / gridDim.x;
    HeadSlots<W, EACH> dw = {HeadPart<W, EACH>::read(f.heads, NULL),
                             HeadPart<W, EACH>::read(f.heads, NULL)};
#pragma unroll 1
    for (size_t n = from; n < to; n += BLOCK / (unsigned)f.heads.lanes) {
        bool there = n + team < to;
        back_row<W, EACH, DUAL>(f, group + (there ? n + team : to - 1), there, dw);
    }
    if (f.parts) leave_part(f, dw);
}

template <int W, int EACH> static void backward_rows(Backend *be, const RopeBackward &f, dim3 grid)
{
    int teams = BLOCK / f.heads.lanes;
    size_t shared = f.parts ? (size_t)teams * 2 * (size_t)f.heads.D * sizeof(real) : 0;
    launch(be, f.dual ? rope_back_kernel<W, EACH, true> : rope_back_kernel<W, EACH, false>, grid,
           BLOCK, shared, f);
}

template <int W> static void backward_grid(Backend *be, const RopeBackward &f, dim3 grid)
{
    if (f.heads.lanes * (int)Pairs<W>::n >= f.heads.D)
        backward_rows<W, 1>(be, f, grid);
    else
        backward_rows<W, MostPacks<W>::n>(be, f, grid);
}

/* Blocks of one group: for dw few, each with as many rows as the others, as each leaves a part. */
static unsigned blocks_of_group(const Backend *be, const RopeBackward &f, bool dw, int groups)
{
    unsigned all = blocks_for(f.rows, (size_t)(BLOCK / f.heads.lanes));
    if (!dw) return all;
    unsigned most = between(1, (size_t)cuda_processors(be) * 4 / (size_t)groups, all);
    return blocks_for(all, blocks_for(all, most));
}

void KERNEL(rope_backward)(Backend *be, Dual dx, Param dw, const Strided *dy, Dual x, Param w,
                           const Rope *rope, int B, int M, int H, int D)
{
    Strided from = *dy;
    if (!from.v && !x.t && !w.t) { /* as plain_in_tangent_slot */
        from = {from.t, NULL, from.t_step, 0, NULL, NULL};
        dx = {dx.t, NULL};
        dw = {dw.t, NULL, dw.step, NULL};
    }
    bool copies = w.step || dw.step;
    bool packs = aligned(dx.v, dx.t, x.v, x.t, w.v, w.t, rope->table) && whole_rows(from, B) &&
                 whole_packs(D) && whole_packs(w.step);
    int groups = copies ? B : 1;
    RopeBackward f = {};
    f.heads = heads_of(rope, M, H, D, packs);
    f.dx = out_of(be, dx, (size_t)B * (size_t)M * (size_t)H * (size_t)D);
    f.dy = from;
    f.x = x;
    f.w = w.v;
    f.wt = w.t;
    f.w_step = w.step;
    f.dual = dx.t || dw.t;
    f.rows = (size_t)(copies ? 1 : B) * (size_t)M * (size_t)H;
    bool sums = w.v && (dw.v || dw.t);
    unsigned blocks = blocks_of_group(be, f, sums, groups);
    if (sums) f.parts = part_sums_room(be, {dw.v, dw.t, dw.step, NULL, groups, (int)blocks, D});
    if (packs)
        backward_grid<WIDE>(be, f, dim3(blocks, (unsigned)groups));
    else
        backward_grid<1>(be, f, dim3(blocks, (unsigned)groups));
    if (f.parts) part_sums_left(be);
}
