/* CUDA kernels against the CPU's: products of few rows with what comes behind them, heads and
 * residuals; as test_cuda_rows.c. */
#include "cuda_peer.h"

enum { MOST_PRODUCTS_HERE = 4, ROOM = 5 }; /* ROOM: rows of a window, at places */

typedef enum End { END_NONE, END_HEADS, END_SUM, ENDS } End;

/* What a product's rows become. to: heads, or a sum; plus: may be `to`. */
typedef struct EndCase {
    End end;
    Array y, w, to, plus, norm, half;
    size_t step;
    bool turned, placed;
} EndCase;

typedef struct EndsCase {
    EndCase p[MOST_PRODUCTS_HERE];
    Array x, pre, normed, table, shift, first;
    size_t table_step;
    int n, B, M, H, D, K;
} EndsCase;

static int rows_of(const EndsCase *c)
{
    return c->B * c->M;
}

static HeadRows heads_of(const EndsCase *c, const EndCase *e, const Places *places, int i)
{
    return (HeadRows){.y = {.v = e->to.p[i],
                            .v_step = e->step,
                            .places = e->placed ? places : NULL,
                            .half = i == GPU ? (uint16_t *)(void *)e->half.p[i] : NULL},
                      .norm = {.v = e->norm.p[i]},
                      .rope = {e->turned ? c->table.p[i] : NULL, c->table_step, 1e-5},
                      .B = c->B,
                      .M = c->M,
                      .H = c->H,
                      .D = c->D};
}

static void ends_call(int i, const void *arguments)
{
    const EndsCase *c = arguments;
    RowsProduct p[MOST_PRODUCTS_HERE];
    HeadRows heads[MOST_PRODUCTS_HERE];
    Residual sum[MOST_PRODUCTS_HERE];
    Places places = {(const ptrdiff_t *)(void *)c->shift.p[i], ids(&c->first, i), NULL};
    for (int k = 0; k < c->n; k++) {
        const EndCase *e = &c->p[k];
        p[k] = (RowsProduct){.y = e->y.p[i],
                             .x = c->x.p[i],
                             .w = e->w.p[i],
                             .N = c->H * c->D,
                             .norm = c->pre.p[i],
                             .normed = c->normed.p[i]};
        heads[k] = heads_of(c, e, &places, i);
        sum[k] = (Residual){{.v = e->to.p[i]}, {.v = e->plus.p[i]}, {.v = e->norm.p[i]}};
        if (e->end == END_HEADS) p[k].heads = &heads[k];
        if (e->end == END_SUM) p[k].sum = &sum[k];
    }
    machine[i]->ops->rows_products(machine[i], p, c->n, false, rows_of(c), c->K, false, 0.01);
}

/* A window of `ROOM` rows each, in another order than the sequences; the last one's rows are first.
 */
static void place(EndsCase *c, size_t window)
{
    c->shift = array(reals_for((size_t)c->B * sizeof(ptrdiff_t)), 0);
    c->first = array_of_ids((size_t)c->B, ROOM);
    for (int i = 0; i < MACHINES; i++)
        for (int b = 0; b < c->B; b++)
            ((ptrdiff_t *)(void *)c->shift.p[i])[b] = (ptrdiff_t)((size_t)(c->B - 1 - b) * window);
}

static EndCase end_case(const EndsCase *c, int o)
{
    size_t width = (size_t)(c->H * c->D), rows = (size_t)rows_of(c);
    EndCase e = {.end = (End)drawn(ENDS), .step = (size_t)c->M * width};
    e.y = array(rows * width, coin() ? o : 0);
    e.w = array((size_t)c->K * width, o);
    if (e.end == END_NONE) return e;
    e.norm = maybe(coin(), e.end == END_HEADS ? (size_t)c->D : width, coin() ? o : 0);
    if (e.end == END_SUM) {
        e.to = array(rows * width, coin() ? o : 0);
        e.plus = coin() ? e.to : array(rows * width, 0);
        return e;
    }
    e.turned = coin();
    e.placed = c->M == 1 && coin();
    if (e.placed)
        e.step = ROOM * width;
    else
        e.step += (size_t)drawn(5);
    e.to = array((size_t)c->B * e.step, o);
    if (sizeof(real) == sizeof(float) && coin())
        e.half = array(reals_for(HALVES * e.to.n * sizeof(uint16_t)), 0);
    return e;
}

/* Where rows went, they are rounded in `half` too; elsewhere it stays as it was, which the CPU's
 * array shows. At places, a window's halves lie as far apart as its rows. */
static void expect_half(const EndsCase *c, const EndCase *e)
{
    if (!e->half.n) return;
    size_t width = (size_t)(c->H * c->D), n = (size_t)c->M * width;
    uint16_t *want = (uint16_t *)(void *)e->half.p[CPU];
    const uint16_t *got = (const uint16_t *)(const void *)e->half.p[GPU];
    for (size_t b = 0; b < (size_t)c->B; b++) {
        size_t at = b * e->step, in = at;
        if (e->placed) {
            size_t shift = (size_t)((const ptrdiff_t *)(const void *)c->shift.p[CPU])[b];
            size_t row = (size_t)ids(&c->first, CPU)[b] * width;
            at = shift + row;
            in = HALVES * shift + row;
        }
        backend_round(machine[CPU], want + in, e->to.p[GPU] + at, n, 1, 0);
    }
    assert_memory_equal(want, got, e->half.n * sizeof(real));
    memset(e->half.p[CPU], 0, e->half.n * sizeof(real)); /* no reals to compare */
    memset(e->half.p[GPU], 0, e->half.n * sizeof(real));
}

static void test_ends(void **state)
{
    (void)state;
    const int heads[] = {2, 6, 16, 20, 64, 66, 130, 256}, widths[] = {1, 3, 16, 130, 513};
    for (int round = 0; round < 60; round += case_step()) {
        int o = coin() ? 0 : drawn(4);
        EndsCase c = {.n = 1 + drawn(MOST_PRODUCTS_HERE), .B = 1 + drawn(4), .M = 1};
        if (coin()) c.M += drawn(4); /* up to 16 rows, more than one launch has */
        c.H = 1 + drawn(6);
        c.D = heads[drawn(ARRAY_LEN(heads))];
        c.K = widths[drawn(ARRAY_LEN(widths))];
        c.x = array((size_t)(rows_of(&c) * c.K), o);
        c.pre = maybe(coin(), (size_t)c.K, o);
        if (c.pre.n) c.normed = array((size_t)(rows_of(&c) * c.K), 0);
        c.table_step = coin() ? (size_t)(c.M * c.D) : 0;
        c.table = array((size_t)(c.B * c.M * c.D), o);
        place(&c, ROOM * (size_t)(c.H * c.D));
        for (int k = 0; k < c.n; k++) c.p[k] = end_case(&c, o);
        on_both(ends_call, &c);
        both_wait();
        for (int k = 0; k < c.n; k++) expect_half(&c, &c.p[k]);
        for (int i = 0; i < MACHINES; i++) memset(c.shift.p[i], 0, c.shift.n * sizeof(real));
        if (c.normed.n) memcpy(c.normed.p[GPU], c.normed.p[CPU], c.normed.n * sizeof(real));
        expect_same("rows_products and their ends", 10 * CLOSE);
    }
}

/* The last block leaves its counter as it found it: the same call again gives the same bits. */
static void test_again(void **state)
{
    (void)state;
    enum { H = 3, D = 64, C = H * D, TIMES = 3 };
    Array x = array(C, 0), w = array((size_t)C * C, 0), y = array(C, 0), norm = array(C, 0);
    Array plus = array(C, 0), to = array(C, 0);
    real first[C];
    for (int time = 0; time < TIMES; time++) {
        Residual sum = {{.v = to.p[GPU]}, {.v = plus.p[GPU]}, {.v = norm.p[GPU]}};
        RowsProduct p = {.y = y.p[GPU], .x = x.p[GPU], .w = w.p[GPU], .N = C, .sum = &sum};
        machine[GPU]->ops->rows_products(machine[GPU], &p, 1, false, 1, C, false, 0.01);
        both_wait();
        if (time == 0) memcpy(first, to.p[GPU], sizeof first);
        assert_memory_equal(first, to.p[GPU], sizeof first);
        backend_zero(machine[GPU], to.p[GPU], C);
    }
    free_arrays();
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_ends), cmocka_unit_test(test_again)};
    open_machines();
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    for (int i = 0; i < MACHINES; i++) backend_close(machine[i]);
    return failed;
}
