/* y = x W or x W^T (+ y) for a few rows of x, as generation has them: bound by reading W, which is
 * streamed from memory once. Where the backend keeps a bfloat16 copy of W, that is read instead,
 * half the bytes; sums stay in `real`. A vector of W, once loaded and widened, serves several rows
 * of x from registers. Threads wake up once for all products of a call.
 *
 * Memory is fast in one sequential stream and slow in several short ones. Each thread therefore
 * takes a range of stored rows, SIDE rows at a time, and asks for the next SIDE of them in the
 * order of their addresses, so that only the first cache sees the rows side by side. For x W the
 * threads' sums are added in their order: the same bits for the same number of threads, whatever
 * else is in the call. */
#include <omp.h>
#include <stdint.h>
#include <string.h>

#include "backend/bf16_copy.h" // defines: bf16_copy_find
#include "ops/kernel.h"
#include "ops/vec.h" // defines: Vec, LANES, vec_load, vec_store, vec_sum

enum { SIDE = 4 }; /* stored rows, and rows of x, that meet in registers */

/* Elements of y that stay in the first cache; elements of W that are not worth sharing out. */
enum { COLUMNS = 2048, SHARED_ELEMENTS = 1 << 15 };

/* W as stored has rows of `width`. */
typedef struct Product {
    real *y;
    const real *x, *w;
    const uint16_t *half; /* W in bfloat16, or NULL */
    int R, K, N, width;
    bool add, shared; /* by all threads */
    real *sums;       /* (threads - 1, R, N), where they take rows of W; or NULL */
} Product;

static size_t at_of(int row, int width, int column)
{
    return (size_t)row * (size_t)width + (size_t)column;
}

/* Element and vector of W; `half` is a constant wherever these are inlined. */
static inline real weight_at(const Product *p, size_t at, bool half)
{
    return half ? widen_one(p->half[at]) : p->w[at];
}

static inline Vec weights_at(const Product *p, size_t at, bool half)
{
    return half ? vec_widen(p->half + at) : vec_load(p->w + at);
}

/* Elements from SIDE rows to those asked for meanwhile; 0, nothing new, where each row is a long
 * enough stream by itself. */
static size_t ahead_of(const Product *p)
{
    return p->width <= COLUMNS ? (size_t)SIDE * (size_t)p->width : 0;
}

static inline void ask_for(const Product *p, size_t at, bool half)
{
    if (half)
        __builtin_prefetch(p->half + at);
    else
        __builtin_prefetch(p->w + at);
}

/* ------------------------------------------------------------------------------ W (K, N) */

/* y (R, N), columns [at, at + n), += rows [k, k + SIDE) of W. */
static inline __attribute__((always_inline)) void add_side(const Product *p, real *y, int k, int at,
                                                           int n, bool half)
{
    size_t from = at_of(k, p->width, at), width = (size_t)p->width, ahead = ahead_of(p);
    int j = 0;
    for (; j + LANES <= n; j += LANES) {
        size_t c = from + (size_t)j;
        for (int i = 0; i < SIDE; i++)
            ask_for(p, from + ahead + (size_t)(SIDE * j + i * LANES), half);
        Vec w0 = weights_at(p, c, half), w1 = weights_at(p, c + width, half);
        Vec w2 = weights_at(p, c + 2 * width, half), w3 = weights_at(p, c + 3 * width, half);
        for (int r = 0; r < p->R; r++) {
            const real *x = p->x + at_of(r, p->K, k);
            real *to = y + at_of(r, p->N, at + j);
            vec_store(to, vec_load(to) + x[0] * w0 + x[1] * w1 + x[2] * w2 + x[3] * w3);
        }
    }
    for (; j < n; j++)
        for (int r = 0; r < p->R; r++) {
            const real *x = p->x + at_of(r, p->K, k);
            real sum = 0;
            for (int i = 0; i < SIDE; i++)
                sum += x[i] * weight_at(p, from + (size_t)j + (size_t)i * width, half);
            y[at_of(r, p->N, at + j)] += sum;
        }
}

static inline __attribute__((always_inline)) void add_one(const Product *p, real *y, int k, int at,
                                                          int n, bool half)
{
    size_t from = at_of(k, p->width, at);
    for (int r = 0; r < p->R; r++) {
        real x = p->x[at_of(r, p->K, k)], *to = y + at_of(r, p->N, at);
        int j = 0;
        for (; j + LANES <= n; j += LANES)
            vec_store(to + j, vec_load(to + j) + x * weights_at(p, from + (size_t)j, half));
        for (; j < n; j++) to[j] += x * weight_at(p, from + (size_t)j, half);
    }
}

static inline __attribute__((always_inline)) void add_rows(const Product *p, real *y, int from,
                                                           int to, int at, int n, bool half)
{
    int k = from;
    for (; k + SIDE <= to; k += SIDE) add_side(p, y, k, at, n, half);
    for (; k < to; k++) add_one(p, y, k, at, n, half);
}

/* y (R, N), columns [at, at + n), = or += rows [from, to) of W. */
static void rows_add(const Product *p, real *y, bool add, int from, int to, int at, int n)
{
    for (int r = 0; r < p->R && !add; r++) memset(y + at_of(r, p->N, at), 0, (size_t)n * sizeof *y);
    if (p->half)
        add_rows(p, y, from, to, at, n, true);
    else
        add_rows(p, y, from, to, at, n, false);
}

static int share(int n, int part, int parts)
{
    return (int)((int64_t)n * part / parts);
}

/* Threads take rows of W; the first sums in y, the others in arrays of their own. */
static void some_rows(const Product *p, int i, int parts)
{
    size_t size = (size_t)p->R * (size_t)p->N;
    rows_add(p, i ? p->sums + (size_t)(i - 1) * size : p->y, i == 0 && p->add,
             share(p->K, i, parts), share(p->K, i + 1, parts), 0, p->N);
}

static void merge_rows(const Product *p, int parts)
{
    size_t size = (size_t)p->R * (size_t)p->N;
    for (int i = 0; i < parts - 1; i++)
        for (size_t j = 0; j < size; j++) p->y[j] += p->sums[(size_t)i * size + j];
}

/* Rows too long for that: threads take blocks of columns. */
static void some_columns(const Product *p, int i, int parts)
{
    int blocks = (p->N + COLUMNS - 1) / COLUMNS;
    for (int b = share(blocks, i, parts); b < share(blocks, i + 1, parts); b++)
        rows_add(p, p->y, p->add, 0, p->K, b * COLUMNS, min_int(COLUMNS, p->N - b * COLUMNS));
}

/* ------------------------------------------------------------------------------ W^T, W (N, K) */

/* Outputs [n, n + side) of rows [r, r + rows) of y; side and rows are constants where inlined. */
static inline __attribute__((always_inline)) void dots(const Product *p, int n, int side, int r,
                                                       int rows, bool half)
{
    Vec sum[SIDE][SIDE] = {{{0}}};
    size_t from = at_of(n, p->width, 0), width = (size_t)p->width, ahead = ahead_of(p);
    const real *x = p->x + at_of(r, p->K, 0);
    int k = 0;
    for (; k + LANES <= p->K; k += LANES)
        for (int i = 0; i < side; i++) {
            ask_for(p, from + ahead + (size_t)(side * k + i * LANES), half);
            Vec w = weights_at(p, from + (size_t)k + (size_t)i * width, half);
            for (int m = 0; m < rows; m++) sum[m][i] += w * vec_load(x + at_of(m, p->K, k));
        }
    for (int m = 0; m < rows; m++)
        for (int i = 0; i < side; i++) {
            real *y = p->y + at_of(r + m, p->N, n + i), s = vec_sum(sum[m][i]);
            for (int j = k; j < p->K; j++)
                s +=
                    x[at_of(m, p->K, j)] * weight_at(p, from + (size_t)i * width + (size_t)j, half);
            *y = p->add ? *y + s : s;
        }
}

/* Outputs [n, n + side) of all rows. */
static inline __attribute__((always_inline)) void side_dots(const Product *p, int n, int side,
                                                            bool half)
{
    int r = 0;
    for (; r + SIDE <= p->R; r += SIDE) dots(p, n, side, r, SIDE, half);
    for (; r < p->R; r++) dots(p, n, side, r, 1, half);
}

static inline __attribute__((always_inline)) void outputs(const Product *p, int from, int to,
                                                          bool half)
{
    int n = from;
    for (; n + SIDE <= to; n += SIDE) side_dots(p, n, SIDE, half);
    for (; n < to; n++) side_dots(p, n, 1, half);
}

static void some_outputs(const Product *p, int i, int parts)
{
    int from = share(p->N, i, parts), to = share(p->N, i + 1, parts);
    if (p->half)
        outputs(p, from, to, true);
    else
        outputs(p, from, to, false);
}

/* ------------------------------------------------------------------------------ a call */

typedef struct Call {
    Product p[MOST_PRODUCTS];
    int n, parts;
    bool transposed;
} Call;

/* Thread i's part of a product; one that is not shared is one thread's. */
static void some_of(const Call *c, int product, int i)
{
    const Product *p = &c->p[product];
    int parts = p->shared ? c->parts : 1;
    if (!p->shared && product % c->parts != i) return;
    if (!p->shared) i = 0;
    if (c->transposed)
        some_outputs(p, i, parts);
    else if (p->N > COLUMNS)
        some_columns(p, i, parts);
    else
        some_rows(p, i, parts);
}

static void run(const Call *c)
{
#pragma omp parallel num_threads(c->parts) if (c->parts > 1)
    {
        int i = omp_get_thread_num() % c->parts;
        for (int k = 0; k < c->n; k++) some_of(c, k, i);
    }
    for (int k = 0; k < c->n; k++)
        if (c->p[k].sums) merge_rows(&c->p[k], c->parts);
}

/* Room for what threads sum besides the first. */
static void place_sums(Backend *be, Call *c)
{
    size_t at[MOST_PRODUCTS], used = 0;
    bool split[MOST_PRODUCTS];
    for (int k = 0; k < c->n; k++) {
        const Product *p = &c->p[k];
        split[k] = p->shared && !c->transposed && p->N <= COLUMNS;
        at[k] = used;
        if (split[k]) used += (size_t)(c->parts - 1) * (size_t)p->R * (size_t)p->N;
    }
    real *sums = used ? backend_work(be, 0, WORK_KERNEL, used) : NULL;
    for (int k = 0; k < c->n; k++)
        if (split[k]) c->p[k].sums = sums + at[k];
}

/* The rows that a product is of: x, or its norm, which products of one x share. */
static const real *input_of(Backend *be, const RowsProduct *p, int k, int R, int K, double eps)
{
    const RowsProduct *one = &p[k], *last = k > 0 ? one - 1 : NULL;
    if (!one->norm) return one->x;
    if (last && last->x == one->x && last->norm == one->norm && last->normed == one->normed)
        return one->normed;
    KERNEL(rmsnorm_forward)
    (be, (Dual){.v = one->normed}, (Dual){0}, (Dual){.v = (real *)one->x},
     (Param){.v = (real *)one->norm}, 1, R, K, eps);
    return one->normed;
}

/* What comes behind the products. */
static void finish(Backend *be, const RowsProduct *p, int R, double eps)
{
    size_t n = (size_t)R * (size_t)p->N;
    const HeadRows *h = p->heads;
    const Residual *s = p->sum;
    Dual y = {.v = p->y};
    if (p->gated) KERNEL(swiglu_forward)(be, (Dual){.v = p->gated}, y, (Dual){.v = p[1].y}, n);
    if (h) KERNEL(rope_forward)(be, &h->y, y, h->norm, &h->rope, h->B, h->M, h->H, h->D);
    if (s && s->norm.v)
        KERNEL(rmsnorm_forward)(be, s->y, s->plus, y, s->norm, 1, R, p->N, eps);
    else if (s)
        KERNEL(add)(be, s->y.v, s->plus.v, p->y, n);
}

void KERNEL(rows_products)(Backend *be, const RowsProduct *p, int n, bool transposed, int R, int K,
                           bool add, double eps)
{
    CHECK(n <= MOST_PRODUCTS, "%d products at once", n);
    Call c = {.n = n, .transposed = transposed};
    size_t all = 0;
    for (int k = 0; k < n; k++) all += (size_t)K * (size_t)p[k].N;
    c.parts = all < SHARED_ELEMENTS || omp_in_parallel() ? 1 : be->threads;
    for (int k = 0; k < n; k++) {
        size_t size = (size_t)K * (size_t)p[k].N;
        c.p[k] = (Product){.y = p[k].y,
                           .x = input_of(be, p, k, R, K, eps),
                           .w = p[k].w,
                           .half = bf16_copy_find(be, p[k].w, size),
                           .R = R,
                           .K = K,
                           .N = p[k].N,
                           .width = transposed ? K : p[k].N,
                           .add = add,
                           .shared = c.parts > 1 && size >= SHARED_ELEMENTS};
    }
    place_sums(be, &c);
    run(&c);
    for (int k = 0; k < n; k++) finish(be, &p[k], R, eps);
}
