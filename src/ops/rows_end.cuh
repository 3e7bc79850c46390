/* What becomes of the outputs of few rows, by whichever block of their product is done last: heads
 * normed, turned and put where they belong, or the residual's sum, as rope.cu and rmsnorm.cu do
 * with many rows. Some KB, which were just written and lie in the second cache: what it saves is a
 * launch, and that all wait for it. */
#ifndef TTT_OPS_ROWS_END_CUH
#define TTT_OPS_ROWS_END_CUH

#include "ops/pack.cuh"

struct RowsEnd {
    real *to; /* NULL: nothing */
    uint16_t *half;
    const real *plus; /* of a sum; NULL: of heads */
    const real *norm, *table;
    size_t step, table_step; /* of heads, as in Strided and Rope */
    const ptrdiff_t *shift;  /* as in Places, or NULL */
    const int *first;
    int M, H, D;
    real eps;
};

static inline RowsEnd rows_end(const RowsProduct &p, real eps)
{
    RowsEnd e = {};
    e.eps = eps;
    if (const HeadRows *h = p.heads) {
        CHECK(h->B == 1 || !h->norm.step, "sequences have norms of their own");
        e.to = h->y.v, e.half = h->y.half, e.step = h->y.v_step;
        e.norm = h->norm.v ? param_of(h->norm, 0) : NULL;
        e.table = h->rope.table, e.table_step = h->rope.step, e.eps = (real)h->rope.eps;
        if (h->y.places) e.shift = h->y.places->shift, e.first = h->y.places->first;
        e.M = h->M, e.H = h->H, e.D = h->D;
    }
    if (const Residual *s = p.sum) {
        CHECK(!p.heads, "a product has one end");
        e.to = s->y.v, e.plus = s->plus.v;
        e.norm = s->norm.v ? param_of(s->norm, 0) : NULL;
    }
    return e;
}

/* ------------------------------------------------------------------------------ heads */

/* Where a row of heads goes: in e.to, and as far in e.half. */
struct EndPlace {
    ptrdiff_t at, half;
    __device__ EndPlace(const RowsEnd &e, int b, int m)
    {
        ptrdiff_t width = (ptrdiff_t)e.H * e.D;
        at = half = e.shift ? e.first[b] * width : (ptrdiff_t)((size_t)b * e.step) + m * width;
        if (e.shift) at += e.shift[b], half += e.shift[b] * HALVES;
    }
};

/* A pair of a head's elements, with what it is multiplied by and turned by. */
struct EndPair {
    real x[2], w[2], turn[2];

    /* x, cs: the head's and its row of the table, or NULL; d: the pair's place in them */
    __device__ EndPair(const RowsEnd &e, const real *head, const real *cs, int d)
    {
        for (int j = 0; j < 2; j++) {
            x[j] = d < e.D ? head[d + j] : 0;
            w[j] = d < e.D && e.norm ? e.norm[d + j] : 1;
            turn[j] = d < e.D && cs ? cs[d + j] : 1 - j;
        }
    }
    __device__ void put(const RowsEnd &e, const EndPlace &to, int at, real scale) const
    {
        real a = x[0] * scale * w[0], b = x[1] * scale * w[1];
        Pack<1> turned[2] = {{a * turn[0] - b * turn[1]}, {a * turn[1] + b * turn[0]}};
        for (int j = 0; j < 2; j++) {
            e.to[to.at + at + j] = turned[j].at[0];
            if (e.half) store(Out{NULL, e.half}, (size_t)(to.half + at + j), turned[j]);
        }
    }
};

/* Head h of row r, by a warp, whose lanes hold their first pair and read others twice. x: (D) */
__device__ inline void end_head(const RowsEnd &e, const real *x, int r, int h)
{
    int b = r / e.M, m = r % e.M, first = (int)threadIdx.x % WARP * 2;
    EndPlace to(e, b, m);
    const real *cs = e.table;
    if (cs) cs += (size_t)b * e.table_step + (size_t)m * (size_t)e.D;
    EndPair own(e, x, cs, first);
    real squares = own.x[0] * own.x[0] + own.x[1] * own.x[1];
    for (int d = first + 2 * WARP; d < e.D; d += 2 * WARP)
        squares += x[d] * x[d] + x[d + 1] * x[d + 1];
    squares = warp_sum(squares);
    real scale = e.norm ? 1 / sqrt_of(squares / (real)e.D + e.eps) : 1;
    if (first < e.D) own.put(e, to, h * e.D + first, scale);
    for (int d = first + 2 * WARP; d < e.D; d += 2 * WARP)
        EndPair(e, x, cs, d).put(e, to, h * e.D + d, scale);
}

/* y: (rows, H D), of which the first is row `from` of all. */
__device__ inline void end_heads(const RowsEnd &e, const real *y, int from, int rows)
{
    int warps = (int)blockDim.x / WARP;
    for (int n = (int)threadIdx.x / WARP; n < rows * e.H; n += warps)
        end_head(e, y + (size_t)n * (size_t)e.D, from + n / e.H, n % e.H);
}

/* ------------------------------------------------------------------------------ sums */

/* Elements of a row that a thread holds from the norm's sum to the result; others are read twice.
 */
enum { END_HELD = 2 };

/* to = plus + norm(y), rows of N, as many at once as there are warps. squares: (warps), shared */
__device__ inline void end_sum(const RowsEnd &e, const real *y, int from, int rows, int N,
                               real *squares)
{
    int warps = (int)blockDim.x / WARP, warp = (int)threadIdx.x / WARP;
    int groups = min(rows, warps), each = warps / groups; /* of a row: warps */
    int group = warp / each, step = each * WARP, first = (int)threadIdx.x - group * step;
    for (int row = group; row - group < rows; row += groups) {
        bool there = group < groups && row < rows;
        const real *x = y + (size_t)row * (size_t)N;
        const real *plus = e.plus + ((size_t)from + (size_t)row) * (size_t)N;
        real *to = e.to + ((size_t)from + (size_t)row) * (size_t)N;
        real held[END_HELD], old[END_HELD], w[END_HELD], sum = 0;
        for (int i = 0; i < END_HELD; i++) {
            int c = first + i * step;
            bool in = there && c < N;
            held[i] = in ? x[c] : 0;
            old[i] = in ? plus[c] : 0;
            w[i] = in && e.norm ? e.norm[c] : 1;
            sum += held[i] * held[i];
        }
        for (int c = first + END_HELD * step; there && c < N; c += step) sum += x[c] * x[c];
        sum = warp_sum(sum);
        if ((int)threadIdx.x % WARP == 0) squares[warp] = sum;
        __syncthreads();
        real scale = 1, whole = 0;
        for (int i = 0; there && i < each; i++) whole += squares[group * each + i];
        if (e.norm) scale = 1 / sqrt_of(whole / (real)N + e.eps);
        for (int i = 0; i < END_HELD; i++) {
            int c = first + i * step;
            if (there && c < N) to[c] = old[i] + held[i] * scale * w[i];
        }
        for (int c = first + END_HELD * step; there && c < N; c += step)
            to[c] = plus[c] + x[c] * scale * (e.norm ? e.norm[c] : 1);
        __syncthreads(); /* before squares are written again */
    }
}

#endif
