/* CUDA kernels against the CPU's: heads normed and turned; as test_cuda_ops.c. */
#include "cuda_peer.h"

enum { MOST_B = 5, ROOM = 9 }; /* sequences; rows of each one's window at places */

typedef struct RopeCase {
    Array x, xt, y, yt, dy, dyt, w, wt, dw, dwt, table, dx, dxt, first, shift;
    int B, M, H, D;
    size_t y_step, yt_step, w_step, dw_step, table_step;
    bool norm, in_place, shifted, places, unturned;
} RopeCase;

static const ptrdiff_t shifts[MOST_B] = {8, 0, 4, 8, 12};

static Rope rope_in(const RopeCase *c, int i)
{
    machine[i]->ops->rope_table(machine[i], c->table.p[i], 20000001, c->B * c->M, c->D, 10000);
    return (Rope){c->unturned ? NULL : c->table.p[i], c->table_step, 1e-5};
}

static Param weight_in(const RopeCase *c, int i)
{
    if (!c->norm) return (Param){0};
    if (c->shifted) return (Param){.v = c->w.p[i], .shift = shifts};
    return (Param){.v = c->w.p[i], .t = c->wt.p[i], .step = c->w_step};
}

static void forward_call(int i, const void *arguments)
{
    const RopeCase *c = arguments;
    Rope rope = rope_in(c, i);
    Strided y = {c->y.p[i], c->yt.p[i], c->y_step, c->yt_step, NULL, NULL};
    Places places = {(const ptrdiff_t *)(void *)c->shift.p[i], ids(&c->first, i), NULL};
    if (c->places) y.places = &places;
    machine[i]->ops->rope_forward(machine[i], &y, dual(&c->x, &c->xt, i), weight_in(c, i), &rope,
                                  c->B, c->M, c->H, c->D);
}

static void backward_call(int i, const void *arguments)
{
    const RopeCase *c = arguments;
    Rope rope = rope_in(c, i);
    Dual dx = dual(&c->dx, &c->dxt, i);
    Strided dy = {c->dy.p[i], c->dyt.p[i], c->y_step, c->yt_step, NULL, NULL};
    size_t dense = (size_t)(c->M * c->H * c->D);
    if (c->in_place) dy = (Strided){dx.v, dx.t, dense, dense, NULL, NULL};
    Param dw = {.v = c->dw.p[i], .t = c->dwt.p[i], .step = c->dw_step};
    machine[i]->ops->rope_backward(machine[i], dx, c->norm ? dw : (Param){0}, &dy,
                                   dual(&c->x, &c->xt, i), weight_in(c, i), &rope, c->B, c->M, c->H,
                                   c->D);
}

static RopeCase rope_case(int *offset)
{
    const int sizes[] = {2, 4, 6, 16, 20, 32, 64, 66, 128, 130, 132, 250, 256};
    RopeCase c = {.B = 1 + drawn(MOST_B), .M = 1 + drawn(9), .H = 1 + drawn(7)};
    c.D = sizes[drawn(ARRAY_LEN(sizes))];
    c.norm = drawn(4) > 0;
    *offset = coin() ? 0 : drawn(4);
    size_t dense = (size_t)(c.M * c.H * c.D), n = (size_t)c.B * dense;
    c.y_step = dense + (coin() ? 0 : (size_t)drawn(9));
    c.yt_step = dense + (coin() ? 4 : (size_t)drawn(9));
    c.w_step = coin() ? (size_t)c.D + 4 : 0;
    c.table_step = coin() ? (size_t)(c.M * c.D) : 0;
    c.x = array(n, *offset);
    c.xt = maybe(coin(), n, *offset);
    c.w = array((size_t)c.B * (size_t)(c.D + 4) + 16, *offset);
    c.wt = maybe(c.norm && coin(), (size_t)c.B * (size_t)(c.D + 4), *offset);
    c.table = array((size_t)(c.B * c.M * c.D), *offset);
    return c;
}

static void test_forward(void **state)
{
    (void)state;
    for (int round = 0; round < 70; round++) {
        int o;
        RopeCase c = rope_case(&o);
        c.y = array((size_t)c.B * c.y_step, o);
        c.yt = maybe(coin(), (size_t)c.B * c.yt_step, coin() ? o : 0);
        c.shifted = c.norm && !c.yt.n && !c.wt.n && coin();
        c.unturned = drawn(4) == 0;
        on_both(forward_call, &c);
        expect_same("rope_forward", CLOSE);
    }
}

/* One row of each sequence into a window of its own. */
static void test_places(void **state)
{
    (void)state;
    for (int round = 0; round < 20; round++) {
        int o;
        RopeCase c = rope_case(&o);
        size_t width = (size_t)(c.H * c.D), window = ROOM * width;
        c.M = 1;
        c.table_step = (size_t)c.D;
        c.places = true;
        c.unturned = coin();
        c.shifted = c.norm && !c.wt.n && coin();
        c.y = array((size_t)c.B * window, o);
        c.first = array_of_ids((size_t)c.B, ROOM);
        c.shift = array(reals_for((size_t)c.B * sizeof(ptrdiff_t)), 0);
        for (int i = 0; i < MACHINES; i++)
            for (int b = 0; b < c.B; b++)
                ((ptrdiff_t *)(void *)c.shift.p[i])[b] =
                    (ptrdiff_t)((size_t)(c.B - 1 - b) * window);
        c.xt.p[CPU] = c.xt.p[GPU] = NULL;
        c.wt.p[CPU] = c.wt.p[GPU] = NULL;
        on_both(forward_call, &c);
        both_wait(); /* shifts are not to be compared as reals */
        for (int i = 0; i < MACHINES; i++) memset(c.shift.p[i], 0, c.shift.n * sizeof(real));
        expect_same("rope_forward, places", CLOSE);
    }
}

/* More sequences than one launch has shifts for. */
static void test_many_shifts(void **state)
{
    (void)state;
    enum { B = 71, H = 3, D = 12, WEIGHTS = 100 };
    ptrdiff_t shift[B];
    Array x = array(B * H * D, 0), y = array(B * H * D, 0), w = array(WEIGHTS * D, 0);
    Array table = array(B * D, 0);
    for (int b = 0; b < B; b++) shift[b] = drawn(WEIGHTS - 1) * D;
    for (int i = 0; i < MACHINES; i++) {
        Strided to = {.v = y.p[i], .v_step = H * D};
        Rope rope = {table.p[i], D, 1e-5};
        machine[i]->ops->rope_forward(machine[i], &to, (Dual){.v = x.p[i]},
                                      (Param){.v = w.p[i], .shift = shift}, &rope, B, 1, H, D);
    }
    expect_same("rope_forward, shifts", CLOSE);
}

static void test_backward(void **state)
{
    (void)state;
    for (int round = 0; round < 100; round++) {
        int o;
        RopeCase c = rope_case(&o);
        size_t n = c.x.n;
        if (round % 10 == 0) c.xt.p[CPU] = c.xt.p[GPU] = c.wt.p[CPU] = c.wt.p[GPU] = NULL;
        bool value = coin(), tangent = !value || coin();
        c.dw_step = coin() ? 0 : (size_t)c.D;
        c.in_place = coin();
        c.dy = maybe(value, (size_t)c.B * c.y_step, o);
        c.dyt = maybe(tangent, (size_t)c.B * c.yt_step, coin() ? o : 0);
        c.dx = maybe(value, n, o);
        c.dxt = maybe(tangent, n, o);
        c.dw = maybe(value && coin(), (size_t)(c.B * c.D), o);
        c.dwt = maybe(tangent && coin(), (size_t)(c.B * c.D), o);
        on_both(backward_call, &c);
        expect_same("rope_backward", 10 * CLOSE);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_forward),
        cmocka_unit_test(test_places),
        cmocka_unit_test(test_many_shifts),
        cmocka_unit_test(test_backward),
    };
    open_machines();
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    for (int i = 0; i < MACHINES; i++) backend_close(machine[i]);
    return failed;
}
