/* Attention of few queries over many keys, as generation has them: bound by reading keys and values
 * once (125m, window 8192: 50 MB a sequence and block, 17 us at 3.0 TB/s; half of both where the
 * window is kept in bfloat16 too). The keys of a query are
 * split into parts, so that all multiprocessors read; a block has one part of one head of one
 * query, and whichever is done last merges the parts in their order by the rule of attention_row.c:
 * the same bits, and no launch that would wait for all.
 *
 * Within a block, `lanes` neighbouring threads share a row of D: 16-byte loads of 256 contiguous
 * bytes for D 64 in float32, of 128 in bfloat16. Each such group takes every n-th batch of rows,
 * asks for all of them before it uses the first, and keeps a running maximum and sums of its own
 * until the end of the part. */
#include "ops/attention_gpu.cuh"

enum { ROW_BLOCK = 128 };
enum { WIDEST = 256, WIDE = 16 / (int)sizeof(real) };

/* Where the queries have their rows: as Window and Places, whose arrays only kernels can read. */
struct RowSpan {
    Places places; /* shift NULL: none */
    size_t step;
    int first;
    int64_t position, window, local;
};

struct RowPass {
    const real *q, *k, *v; /* q: (queries, C) */
    const uint16_t *k16, *v16;
    real *partial; /* (parts, queries, H, 2 + D): top, sum, weighed values */
    real *o, *lse;
    unsigned *done; /* (grid's queries, H): blocks of a head */
    int M, H, D, parts, queries, lanes;
    int from; /* the grid's first query */
    size_t C;
    real scale;
};

__device__ inline real *partial_at(const RowPass &p, int part, int query, int h)
{
    size_t row = ((size_t)part * (size_t)p.queries + (size_t)query) * (size_t)p.H + (size_t)h;
    return p.partial + row * (size_t)(p.D + 2);
}

/* VEC neighbours of a row as one load brings them: of `real`, or of bfloat16. */
template <typename Key, int VEC> struct alignas(VEC * sizeof(Key)) Chunk {
    Key x[VEC];
    __device__ real at(int i) const { return x[i]; }
};
template <> struct alignas(uint16_t) Chunk<uint16_t, 1> {
    uint16_t x;
    __device__ real at(int) const { return __uint_as_float((unsigned)x << 16); }
};
template <> struct alignas(16) Chunk<uint16_t, 8> {
    unsigned x[4]; /* pairs, the first of each in its lower half */
    __device__ real at(int i) const
    {
        return __uint_as_float(i % 2 ? x[i / 2] & 0xffff0000U : x[i / 2] << 16);
    }
};

/* A row's elements of this lane: N chunks, `lanes` chunks apart; zeros beyond D. */
template <typename Key, int VEC, int N> struct RowLoad {
    static constexpr int each = (int)sizeof(Chunk<Key, VEC>);
    static constexpr int bytes = N * (each < 4 ? 4 : each);             /* of registers */
    static constexpr int batch = bytes <= 16 ? 8 : bytes <= 32 ? 4 : 2; /* rows at a time */
    Chunk<Key, VEC> x[N];

    __device__ inline void load(const Key *row, const RowPass &p, bool there)
    {
        int lane = (int)threadIdx.x % p.lanes;
        for (int n = 0; n < N; n++) {
            int d = (lane + n * p.lanes) * VEC;
            x[n] = {};
            if (there && d < p.D) x[n] = *reinterpret_cast<const Chunk<Key, VEC> *>(row + d);
        }
    }
};

/* The same elements, to compute with. */
template <int VEC, int N> struct RowPart {
    real x[N][VEC];
};

/* Loads of no more than 16 bytes, whatever a lane has of a row. */
template <int VEC, int N>
__device__ inline void load_query(RowPart<VEC, N> *q, const real *row, const RowPass &p)
{
    constexpr int W = VEC < WIDE ? VEC : WIDE;
    int lane = (int)threadIdx.x % p.lanes;
    for (int n = 0; n < N; n++)
        for (int i = 0; i < VEC; i += W) {
            int d = (lane + n * p.lanes) * VEC;
            Chunk<real, W> c = {};
            if (d < p.D) c = *reinterpret_cast<const Chunk<real, W> *>(row + d + i);
            for (int j = 0; j < W; j++) q->x[n][i + j] = p.scale * c.x[j];
        }
}

template <typename Key, int VEC, int N>
__device__ inline real dot_parts(const RowPart<VEC, N> &a, const RowLoad<Key, VEC, N> &b, int lanes)
{
    real sum = 0;
    for (int n = 0; n < N; n++)
        for (int i = 0; i < VEC; i++) sum += a.x[n][i] * b.x[n].at(i);
    for (int lane = lanes / 2; lane > 0; lane /= 2) sum += __shfl_xor_sync(FULL_WARP, sum, lane);
    return sum;
}

/* What a group of lanes, or a block, knows of its keys. */
template <int VEC, int N> struct RowSums {
    real top, sum;
    RowPart<VEC, N> o;
};

/* A batch of rows from `from` on; those from `to` on are not there. */
template <typename Key, int VEC, int N>
__device__ inline void add_keys(RowSums<VEC, N> *r, const RowPass &p, const RowPart<VEC, N> &q,
                                const Key *k, const Key *v, int from, int to)
{
    constexpr int KEYS = RowLoad<Key, VEC, N>::batch;
    RowLoad<Key, VEC, N> rows[KEYS];
    real s[KEYS], top = r->top;
    for (int j = 0; j < KEYS; j++) rows[j].load(k + (size_t)(from + j) * p.C, p, from + j < to);
    for (int j = 0; j < KEYS; j++) {
        s[j] = dot_parts(q, rows[j], p.lanes);
        if (from + j < to && s[j] > top) top = s[j];
    }
    for (int j = 0; j < KEYS; j++) rows[j].load(v + (size_t)(from + j) * p.C, p, from + j < to);
    real before = exp(r->top - top);
    r->top = top;
    r->sum *= before;
    for (int n = 0; n < N; n++)
        for (int i = 0; i < VEC; i++) r->o.x[n][i] *= before;
    for (int j = 0; j < KEYS; j++) {
        real e = from + j < to ? exp(s[j] - top) : (real)0;
        r->sum += e;
        for (int n = 0; n < N; n++)
            for (int i = 0; i < VEC; i++) r->o.x[n][i] += e * rows[j].x[n].at(i);
    }
}

/* Sums of the block's groups (in shared memory, as partials) to those of the part. */
__device__ inline void merge_partials(real *to, const real *from, int count, size_t step, int D)
{
    for (int d = (int)threadIdx.x; d < D; d += (int)blockDim.x) {
        real top = from[0], sum = 0, o = 0;
        for (int i = 1; i < count; i++) {
            real other = from[(size_t)i * step];
            top = other > top ? other : top;
        }
        for (int i = 0; i < count; i++) {
            const real *x = from + (size_t)i * step;
            real by = exp(x[0] - top);
            sum += by * x[1];
            o += by * x[2 + d];
        }
        if (d == 0) to[0] = top;
        if (d == 0) to[1] = sum;
        to[2 + d] = o;
    }
}

/* What one query sees: rows [from, to) of the arrays `shift` elements behind the first sequence's.
 */
struct RowRange {
    ptrdiff_t shift;
    int from, to;
};

/* halves: elements of these arrays that lie in the room of a `real`. */
__device__ inline RowRange row_range(const RowSpan &s, int b, int m, int halves)
{
    RowRange r = {(ptrdiff_t)((size_t)b * s.step), 0, 0};
    int first = s.first;
    int64_t position = s.position;
    if (s.places.shift) {
        r.shift = s.places.shift[b] * halves;
        first = s.places.first[b];
        position = s.places.position[b];
    }
    int64_t seen = first + m + 1;
    if (s.window > 0 && seen > s.window) seen = s.window;
    if (s.local > 0 && seen > (position + m) % s.local + 1) seen = (position + m) % s.local + 1;
    r.to = first + m + 1;
    r.from = r.to - (int)seen;
    return r;
}

/* Over the block, in a fixed order; each thread is given it. */
template <typename F> __device__ inline real over_block(real x, F both)
{
    __shared__ real of_warp[ROW_BLOCK / WARP];
    for (int lane = WARP / 2; lane > 0; lane /= 2) x = both(x, __shfl_xor_sync(FULL_WARP, x, lane));
    __syncthreads();
    if (threadIdx.x % WARP == 0) of_warp[threadIdx.x / WARP] = x;
    __syncthreads();
    x = of_warp[0];
    for (int i = 1; i < ROW_BLOCK / WARP; i++) x = both(x, of_warp[i]);
    return x;
}

/* Weights of a head's parts into shared memory, (parts); top and sum of all keys. */
__device__ inline void weigh_parts(real *weight, const real *part, size_t step, int parts,
                                   real *top, real *sum)
{
    real mine = (real)-1e30, own = 0;
    for (int i = (int)threadIdx.x; i < parts; i += ROW_BLOCK)
        mine = max(mine, part[(size_t)i * step]);
    *top = over_block(mine, [](real a, real b) { return a > b ? a : b; });
    for (int i = (int)threadIdx.x; i < parts; i += ROW_BLOCK) {
        const real *x = part + (size_t)i * step;
        weight[i] = exp(x[0] - *top);
        own += weight[i] * x[1];
    }
    *sum = over_block(own, [](real a, real b) { return a + b; });
}

/* The parts of a head to its output; several threads share a column, as loads of parts take their
 * time. shared: (parts + the larger of D and ROW_BLOCK) */
__device__ inline void put_row(const RowPass &p, real *shared, int query, int h)
{
    const real *part = partial_at(p, 0, query, h);
    size_t step = (size_t)p.queries * (size_t)p.H * (size_t)(p.D + 2);
    int width = min(p.D, (int)ROW_BLOCK), sides = ROW_BLOCK / width;
    int side = (int)threadIdx.x / width;
    real top, sum, *weight = shared, *sums = shared + p.parts;
    weigh_parts(weight, part, step, p.parts, &top, &sum);
    for (int d = (int)threadIdx.x % width; d < p.D && side < sides; d += width) {
        real o = 0;
#pragma unroll 8
        for (int i = side; i < p.parts; i += sides) o += weight[i] * part[(size_t)i * step + 2 + d];
        sums[side * p.D + d] = o;
    }
    __syncthreads();
    real *to = p.o + (size_t)query * p.C + (size_t)h * (size_t)p.D;
    for (int d = (int)threadIdx.x; d < p.D; d += ROW_BLOCK) {
        real o = sums[d];
        for (int i = 1; i < sides; i++) o += sums[i * p.D + d];
        to[d] = o / sum;
    }
    int b = query / p.M, m = query % p.M;
    if (threadIdx.x == 0)
        p.lse[((size_t)b * (size_t)p.H + (size_t)h) * (size_t)p.M + (size_t)m] = top + log(sum);
}

template <typename Key> struct RowKeys;
template <> struct RowKeys<real> {
    const real *k, *v;
    __host__ __device__ explicit RowKeys(const RowPass &p) : k(p.k), v(p.v) {}
};
template <> struct RowKeys<uint16_t> {
    const uint16_t *k, *v;
    __host__ __device__ explicit RowKeys(const RowPass &p) : k(p.k16), v(p.v16) {}
};

/* grid: (parts, H, queries) */
template <typename Key, int VEC, int N>
__global__ void __launch_bounds__(ROW_BLOCK, N > 4 ? 3 : 4) row_kernel(RowPass p, RowSpan span)
{
    real *shared = dynamic_shared<real>(); /* (groups, 2 + D) */
    int part = (int)blockIdx.x, h = (int)blockIdx.y, query = p.from + (int)blockIdx.z;
    int group = (int)threadIdx.x / p.lanes, groups = ROW_BLOCK / p.lanes;
    wait_for_earlier();
    RowRange range = row_range(span, query / p.M, query % p.M, (int)(sizeof(real) / sizeof(Key)));
    int rows = range.to - range.from;
    int from = range.from + (int)((int64_t)rows * part / p.parts);
    int to = range.from + (int)((int64_t)rows * (part + 1) / p.parts);
    size_t head = (size_t)h * (size_t)p.D;
    RowKeys<Key> keys(p);
    const Key *k = keys.k + range.shift + head, *v = keys.v + range.shift + head;
    RowPart<VEC, N> q;
    RowSums<VEC, N> r;
    load_query(&q, p.q + (size_t)query * p.C + head, p);
    for (int n = 0; n < N; n++)
        for (int i = 0; i < VEC; i++) r.o.x[n][i] = 0;
    r.top = (real)-1e30;
    r.sum = 0;
    constexpr int batch = RowLoad<Key, VEC, N>::batch;
    for (int key = from; key < to; key += groups * batch)
        add_keys<Key>(&r, p, q, k, v, key + group * batch, to);
    real *mine = shared + group * (p.D + 2);
    int lane = (int)threadIdx.x % p.lanes;
    if (lane == 0) mine[0] = r.top, mine[1] = r.sum;
    for (int n = 0; n < N; n++)
        for (int i = 0; i < VEC; i++) {
            int d = (lane + n * p.lanes) * VEC + i;
            if (d < p.D) mine[2 + d] = r.o.x[n][i];
        }
    __syncthreads();
    merge_partials(partial_at(p, part, query, h), shared, groups, (size_t)(p.D + 2), p.D);
    if (last_block(p.done + (int)blockIdx.z * p.H + h, p.parts)) put_row(p, shared, query, h);
}

/* As many queries at once as there are counters for. */
template <typename Key, int VEC, int N>
static void row_launch(Backend *be, RowPass p, const RowSpan &span)
{
    int sums = ROW_BLOCK / p.lanes * (p.D + 2), merged = p.parts + max_int(p.D, ROW_BLOCK);
    size_t shared = (size_t)max_int(sums, merged) * sizeof(real);
    int most = CUDA_COUNTERS / p.H;
    for (; p.from < p.queries; p.from += most) {
        dim3 grid((unsigned)p.parts, (unsigned)p.H, (unsigned)min_int(most, p.queries - p.from));
        launch_early(be, row_kernel<Key, VEC, N>, grid, ROW_BLOCK, shared, p, span);
    }
}

/* Smallest power of two of threads that hold n chunks, at most a warp. */
static int lanes_for(int n)
{
    int lanes = 1;
    while (lanes < n && lanes < WARP) lanes *= 2;
    return lanes;
}

static bool aligned(const void *x)
{
    return (uintptr_t)x % 16 == 0;
}

/* Whether every row of every head starts at a multiple of 16 bytes, of which `vec` elements take
 * as many. Places' shifts are distances between allocations, or multiples of rows. */
static bool rows_are_wide(const RowPass &p, const RowSpan &span, const void *k, const void *v,
                          int vec)
{
    return p.D % vec == 0 && aligned(p.q) && aligned(k) && aligned(v) &&
           span.step % (size_t)vec == 0;
}

/* VEC: elements of 16 bytes. */
template <typename Key, int VEC> static void row_run(Backend *be, RowPass p, const RowSpan &span)
{
    constexpr int most = WIDEST / WARP, wide_n = VEC < most ? most / VEC : 1;
    RowKeys<Key> keys(p);
    bool wide = rows_are_wide(p, span, keys.k, keys.v, VEC);
    p.lanes = lanes_for(wide ? p.D / VEC : p.D);
    if (wide && p.D <= WARP * VEC)
        row_launch<Key, VEC, 1>(be, p, span);
    else if (wide)
        row_launch<Key, VEC, wide_n>(be, p, span);
    else if (p.D <= WARP)
        row_launch<Key, 1, 1>(be, p, span);
    else
        row_launch<Key, 1, most>(be, p, span);
}

/* The exactness build has no windows in bfloat16. */
template <typename Real> static void row_window(Backend *be, const RowPass &p, const RowSpan &span)
{
    if constexpr (sizeof(Real) == sizeof(float)) {
        if (p.k16) {
            row_run<uint16_t, 8>(be, p, span);
            return;
        }
    }
    row_run<Real, WIDE>(be, p, span);
}

/* Parts: about four blocks for every multiprocessor, each of which has 16 KB of loads in flight;
 * more are only more to merge. None of fewer keys than fill a block once.
 * Where places are not for the host to read, of the most keys that a query may ever see. */
static int parts_for(Backend *be, const Window *w, int queries, int M, size_t C, int H)
{
    int wanted = (4 * cuda_processors(be) + queries * H - 1) / (queries * H);
    int64_t rows = w->places ? (int64_t)(w->step / C) : w->first + M;
    if (w->window > 0 && rows > w->window) rows = w->window;
    if (w->local > 0 && rows > w->local) rows = w->local;
    int most = (int)(rows / ROW_BLOCK);
    return min_int(wanted, most > 1 ? most : 1);
}

extern "C" void KERNEL(attention_row)(Backend *be, real *o, real *lse, const real *q,
                                      const Window *w, int B, int M, int H, int D)
{
    RowPass p = {};
    p.q = q, p.k = w->k, p.v = w->v, p.k16 = w->k16, p.v16 = w->v16, p.o = o, p.lse = lse;
    p.M = M, p.H = H, p.D = D, p.C = (size_t)H * (size_t)D, p.queries = B * M;
    p.scale = (real)(1 / sqrt((double)D));
    p.parts = parts_for(be, w, p.queries, M, p.C, H);
    p.done = cuda_counters(be);
    CHECK(H <= CUDA_COUNTERS, "%d heads", H);
    RowSpan span = {
        w->places ? *w->places : Places{}, w->step, w->first, w->position, w->window, w->local};
    size_t partials = (size_t)p.parts * (size_t)p.queries * (size_t)H * (size_t)(D + 2);
    p.partial = (real *)cuda_scratch(be, partials * sizeof *p.partial);
    row_window<real>(be, p, span);
}
