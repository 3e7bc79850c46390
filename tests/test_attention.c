/* Attention as models in bfloat16 and in float32 compute it, on the device that TTT_TEST_DEVICE
 * names or else on the CPU, against the CPU's float32: all four passes with and without past,
 * windows, chunks and tangents, at the head sizes that have kernels on tensor cores and at others.
 * Keys that no query sees are NaN: none of them may be touched. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/rng.h"
#include "case_step.h"
#include "ops/ops.h"

enum { Q = 1, K = 2, V = 4, ALL = Q | K | V };

typedef struct Case {
    int B, M, H, D, past;
    int64_t window, local, position;
    unsigned tangents; /* of the dual pass: Q, K, V */
} Case;

static const Case table[] = {
    {.B = 1, .M = 16, .H = 1, .D = 64, .tangents = ALL},
    {.B = 2, .M = 5, .H = 2, .D = 64, .tangents = ALL},
    {.B = 1, .M = 150, .H = 1, .D = 64, .past = 75, .window = 130, .position = 75, .tangents = ALL},
    {.B = 2,
     .M = 70,
     .H = 2,
     .D = 64,
     .past = 140,
     .window = 100,
     .position = 300,
     .tangents = ALL},
    {.B = 1, .M = 128, .H = 1, .D = 64, .past = 128, .position = 128, .tangents = ALL},
    {.B = 1,
     .M = 64,
     .H = 1,
     .D = 64,
     .past = 500,
     .window = 513,
     .position = 700,
     .tangents = ALL},
    {.B = 1, .M = 90, .H = 1, .D = 64, .past = 40, .local = 50, .position = 40, .tangents = ALL},
    {.B = 1, .M = 40, .H = 2, .D = 64, .past = 30, .window = 33, .position = 30, .tangents = Q},
    {.B = 1, .M = 40, .H = 1, .D = 64, .past = 30, .position = 30, .tangents = K},
    {.B = 1, .M = 40, .H = 1, .D = 64, .past = 30, .position = 30, .tangents = V},
    {.B = 1, .M = 33, .H = 1, .D = 64, .past = 20, .position = 20, .tangents = 0},
    {.B = 1,
     .M = 140,
     .H = 1,
     .D = 128,
     .past = 60,
     .window = 100,
     .position = 60,
     .tangents = ALL},
    {.B = 2,
     .M = 70,
     .H = 1,
     .D = 128,
     .past = 300,
     .window = 280,
     .position = 300,
     .tangents = ALL},
    {.B = 1, .M = 64, .H = 2, .D = 128, .tangents = ALL},
    /* Early queries see fewer tiles than their keys have parts on a GPU. */
    {.B = 1, .M = 530, .H = 1, .D = 64, .tangents = ALL},
    {.B = 1, .M = 270, .H = 1, .D = 128, .past = 1, .position = 1, .tangents = ALL},
    {.B = 1, .M = 30, .H = 1, .D = 80, .past = 20, .window = 25, .position = 20, .tangents = ALL},
    {.B = 1, .M = 20, .H = 1, .D = 200, .past = 20, .window = 30, .position = 20, .tangents = ALL},
    {.B = 2, .M = 1, .H = 2, .D = 64, .past = 1000, .window = 900, .position = 1000},
    {.B = 1, .M = 3, .H = 2, .D = 128, .past = 700, .position = 700},
};

static size_t own_size(const Case *c)
{
    return (size_t)c->B * (size_t)c->M * (size_t)(c->H * c->D);
}
static int key_rows(const Case *c)
{
    return c->past + c->M + 1;
}
static size_t key_size(const Case *c)
{
    return (size_t)c->B * (size_t)key_rows(c) * (size_t)(c->H * c->D);
}
static size_t query_size(const Case *c)
{
    return (size_t)c->B * (size_t)c->H * (size_t)c->M;
}

static int first_seen(const Case *c)
{
    int64_t low = c->window > 0 ? c->past - c->window + 1 : 0;
    if (c->local > 0 && c->past - c->position % c->local > low)
        low = c->past - c->position % c->local;
    return low > 0 ? (int)low : 0;
}

/* What goes in, and what a machine makes of it; the host and the machine reach all of it. */
enum { IN_Q, IN_QT, IN_KT, IN_VT, IN_DO, IN_DOT, IN_K, IN_V, N_IN };
enum {
    OUT_O,
    OUT_OT,
    OUT_DQ,
    OUT_DQT,
    OUT_OWN_DK,
    OUT_OWN_DV,
    OUT_DK,
    OUT_DV,
    OUT_LSE,
    OUT_LSET,
    N_OUT
};
static const char *const out_names[N_OUT] = {"o",      "o.t", "dq", "dq.t", "own dk",
                                             "own dv", "dk",  "dv", "lse",  "lse.t"};

typedef struct Arrays {
    Backend *be;
    real *in[N_IN], *out[N_OUT];
    uint16_t *half[N_IN]; /* of IN_K and IN_V in bfloat16, or NULL */
} Arrays;

static size_t in_size(const Case *c, int i)
{
    return i >= IN_K ? key_size(c) : own_size(c);
}
static size_t out_size(const Case *c, int i)
{
    return i >= OUT_LSE ? query_size(c) : i >= OUT_DK ? key_size(c) : own_size(c);
}

static real *shared(Backend *be, size_t n)
{
    return backend_alloc_shared(be, n);
}

/* Random, the same for the same seed; rows that no query sees are NaN. */
static void fill(const Case *c, real *x, int i)
{
    Rng rng;
    rng_seed(&rng, 5, (uint64_t)i);
    size_t width = (size_t)(c->H * c->D);
    for (size_t j = 0; j < in_size(c, i); j++) x[j] = (real)rng_normal(&rng);
    if (i < IN_K) return;
    for (size_t row = 0; row < key_size(c) / width; row++) {
        int r = (int)(row % (size_t)key_rows(c));
        if (r >= first_seen(c) && r < c->past + c->M) continue;
        for (size_t d = 0; d < width; d++) x[row * width + d] = (real)NAN;
    }
}

static Arrays arrays_make(Backend *be, const Case *c)
{
    Arrays a = {.be = be};
    for (int i = 0; i < N_IN; i++) {
        a.in[i] = shared(be, in_size(c, i));
        fill(c, a.in[i], i);
    }
    for (int i = 0; i < N_OUT; i++) a.out[i] = shared(be, out_size(c, i));
    return a;
}

static void arrays_free(Arrays *a, const Case *c)
{
    for (int i = 0; i < N_IN; i++) backend_free(a->be, a->in[i], in_size(c, i));
    for (int i = 0; i < N_OUT; i++) backend_free(a->be, a->out[i], out_size(c, i));
}

/* What is written starts as NaN, what is added to from one. */
static void clear(const Arrays *a, const Case *c)
{
    for (int i = 0; i < N_OUT; i++)
        for (size_t j = 0; j < out_size(c, i); j++)
            a->out[i][j] = i == OUT_DK || i == OUT_DV ? 1 : (real)NAN;
}

enum { VALUE = 1, TANGENT = 2 };

/* Forward, and backward in the slots of `slots`. Of what is added to, only what was added stays. */
static void run(const Arrays *a, const Case *c, unsigned slots)
{
    Backend *be = a->be;
    Err err;
    bool dual = slots == (VALUE | TANGENT), moves = dual && c->tangents;
    size_t row = (size_t)(c->H * c->D);
    Window w = {.k = a->in[IN_K],
                .v = a->in[IN_V],
                .k16 = a->half[IN_K],
                .v16 = a->half[IN_V],
                .step = (size_t)key_rows(c) * row,
                .kt = moves && c->tangents & K ? a->in[IN_KT] : NULL,
                .vt = moves && c->tangents & V ? a->in[IN_VT] : NULL,
                .first = c->past,
                .position = c->position,
                .window = c->window,
                .local = c->local};
    /* Gradients begin one row later, where that is seen by nobody. */
    int shift = first_seen(c) > 0 ? 1 : 0;
    WindowGrad g = {.dk = slots & TANGENT ? a->out[OUT_DK] : NULL,
                    .dv = slots & TANGENT ? a->out[OUT_DV] : NULL,
                    .step = w.step,
                    .shift = shift,
                    .own_dk = slots & VALUE ? a->out[OUT_OWN_DK] : NULL,
                    .own_dv = slots & VALUE ? a->out[OUT_OWN_DV] : NULL};
    Dual q = {a->in[IN_Q], moves && c->tangents & Q ? a->in[IN_QT] : NULL};
    Dual o = {a->out[OUT_O], moves ? a->out[OUT_OT] : NULL};
    Dual lse = {a->out[OUT_LSE], moves ? a->out[OUT_LSET] : NULL};
    Dual dq = {slots & VALUE ? a->out[OUT_DQ] : NULL, slots & TANGENT ? a->out[OUT_DQT] : NULL};
    Dual d_o = {slots & VALUE ? a->in[IN_DO] : NULL, slots & TANGENT ? a->in[IN_DOT] : NULL};
    clear(a, c);
    be->ops->attention_forward(be, o, lse, q, &w, c->B, c->M, c->H, c->D);
    be->ops->attention_backward(be, dq, &g, d_o, o, lse, q, &w, c->B, c->M, c->H, c->D);
    if (backend_wait(be, &err) < 0) fail_msg("%s", err.text);
    for (int i = OUT_DK; i <= OUT_DV; i++)
        for (size_t j = 0; j < out_size(c, i); j++) a->out[i][j] -= 1;
}

/* |got - want| over |want|; elements that neither has written do not count, NaN of one does. */
static double distance(const real *got, const real *want, size_t n)
{
    double error = 0, size = 0;
    for (size_t i = 0; i < n; i++) {
        if (isnan(got[i]) && isnan(want[i])) continue;
        error += pow((double)got[i] - (double)want[i], 2);
        size += pow((double)want[i], 2);
    }
    return error == 0 ? 0 : sqrt(error / size);
}

typedef struct Machines {
    Backend *cpu, *device[2]; /* in float32, in bfloat16 */
} Machines;

static const double limits[2] = {1e-4, 2e-2};

/* Number of arrays that are too far from the CPU's. */
static int check_case(const Machines *m, int bf16, int i, unsigned slots)
{
    const Case *c = &table[i];
    Arrays want = arrays_make(m->cpu, c), got = arrays_make(m->device[bf16], c);
    int failed = 0;
    run(&want, c, slots);
    run(&got, c, slots);
    for (int k = 0; k < N_OUT; k++) {
        double d = distance(got.out[k], want.out[k], out_size(c, k));
        if (d < limits[bf16]) continue;
        failed++;
        print_error("case %d, bf16 %d, slots %u: %s differs by %.3g\n", i, bf16, slots,
                    out_names[k], d);
    }
    arrays_free(&want, c);
    arrays_free(&got, c);
    return failed;
}

static void test_passes(void **state)
{
    int failed = 0;
    for (int i = 0; i < ARRAY_LEN(table); i += case_step())
        for (int device = 0; device < 2; device++)
            for (unsigned slots = VALUE; slots <= (VALUE | TANGENT); slots++)
                failed += check_case(*state, device, i, slots);
    assert_int_equal(failed, 0);
}

/* ------------------------------------------------------------------------------ in bfloat16 */

/* Few queries of heads that lanes and loads fit in different ways, beside the table's. */
static const Case few[] = {
    {.B = 2, .M = 1, .H = 3, .D = 64, .past = 1000, .window = 900, .position = 1000},
    {.B = 1, .M = 4, .H = 2, .D = 8, .past = 200, .position = 200},
    {.B = 1, .M = 2, .H = 2, .D = 20, .past = 150, .window = 140, .position = 150},
    {.B = 1, .M = 1, .H = 2, .D = 100, .past = 300, .position = 300},
    {.B = 1, .M = 1, .H = 1, .D = 200, .past = 300, .position = 300},
    {.B = 1, .M = 1, .H = 2, .D = 128, .past = 0},
};

/* n elements of bfloat16, and what they stand for put into x. */
static uint16_t *halves_of(Backend *be, real *x, size_t n)
{
    Err err;
    uint16_t *half = (void *)shared(be, reals_for(n * sizeof *half));
    backend_round(be, half, x, n, 1, 0);
    if (backend_wait(be, &err) < 0) fail_msg("%s", err.text);
    for (size_t i = 0; i < n; i++) {
        uint32_t bits = (uint32_t)half[i] << 16;
        float value;
        memcpy(&value, &bits, sizeof value);
        x[i] = (real)value;
    }
    return half;
}

/* As with the same values in float32. Where no GPU needs these, they are not there to be read; some
 * have too little shared memory for heads of 128 on tensor cores. */
static void check_halves(Backend *be, const Case *c, unsigned slots)
{
    bool dual = slots == (VALUE | TANGENT) && c->tangents;
    bool rows = c->M <= 4 && !dual;
    Arrays want = arrays_make(be, c), got = arrays_make(be, c);
    uint16_t *unused[2];
    for (int i = IN_K; i <= IN_V; i++) {
        unused[i - IN_K] = halves_of(be, want.in[i], in_size(c, i));
        got.half[i] = halves_of(be, got.in[i], in_size(c, i));
        if (c->D == 64) memset(got.in[i], 0xff, in_size(c, i) * sizeof(real));
    }
    run(&want, c, slots);
    run(&got, c, slots);
    for (int i = 0; i < N_OUT; i++) {
        double d = distance(got.out[i], want.out[i], out_size(c, i));
        if (!(d <= (rows ? 1e-3 : 0)))
            fail_msg("%d queries, D %d, slots %u: %s differs by %.3g", c->M, c->D, slots,
                     out_names[i], d);
        if (i == OUT_O || i == OUT_LSE) assert_true(d < 1e-6);
    }
    for (int i = IN_K; i <= IN_V; i++) {
        backend_free(be, (void *)unused[i - IN_K], reals_for(in_size(c, i) * sizeof(uint16_t)));
        backend_free(be, (void *)got.half[i], reals_for(in_size(c, i) * sizeof(uint16_t)));
    }
    arrays_free(&want, c);
    arrays_free(&got, c);
}

static void test_halves(void **state)
{
    const Machines *m = *state;
    Backend *be = m->device[1];
    if (!backend_half_windows(be)) skip();
    for (int i = 0; i < ARRAY_LEN(few); i++) check_halves(be, &few[i], VALUE);
    for (int i = 0; i < ARRAY_LEN(table); i += case_step())
        for (unsigned slots = VALUE; slots <= (VALUE | TANGENT); slots++)
            check_halves(be, &table[i], slots);
}

/* ------------------------------------------------------------------------------ places */

/* The rows of n sequences (shift) in bfloat16, as far from each other as those of `rows`. */
static void place_halves(Backend *be, uint16_t *half, real *rows, const ptrdiff_t *shift,
                         const int *first, int n, int C)
{
    for (int b = 0; b < n; b++) {
        size_t size = (size_t)(first[b] + 1) * (size_t)C;
        uint16_t *from = halves_of(be, rows + shift[b], size);
        memcpy(half + HALVES * shift[b], from, size * sizeof *half);
        backend_free(be, (void *)from, reals_for(size * sizeof *half));
    }
}

/* Sequences that go on each by itself: B queries, rows in one buffer at places of their own;
 * halves: rows that bfloat16 holds, read in it. */
static void places_run(Backend *be, bool halves, real *o, size_t n)
{
    enum { B = 3, H = 2, D = 64, C = H * D, ROWS = 700, ROOM = 16 };
    struct Rows { /* in memory of the machine */
        ptrdiff_t shift[B];
        int64_t position[B];
        int first[B];
    } *rows = (void *)shared(be, ROOM * sizeof(int64_t) / sizeof(real));
    *rows = (struct Rows){{400 * C, 0, 650 * C}, {1200, 399, 3}, {200, 399, 3}};
    Places places = {rows->shift, rows->first, rows->position};
    real *k = shared(be, ROWS * C), *v = shared(be, ROWS * C), *q = shared(be, B * C);
    real *out = shared(be, B * C), *lse = shared(be, B * H);
    real *const all[] = {k, v, q};
    Rng rng;
    Err err;
    rng_seed(&rng, 9, 0);
    assert_true(n == B * C);
    for (int a = 0; a < ARRAY_LEN(all); a++)
        for (int i = 0; i < (a < 2 ? ROWS : B) * C; i++) all[a][i] = (real)rng_normal(&rng);
    Window w = {.k = k, .v = v, .window = 390, .places = &places};
    real *k16 = shared(be, ROWS * C), *v16 = shared(be, ROWS * C);
    place_halves(be, (void *)k16, k, rows->shift, rows->first, B, C);
    place_halves(be, (void *)v16, v, rows->shift, rows->first, B, C);
    if (halves) {
        memset(k, 0xff, ROWS * C * sizeof *k);
        memset(v, 0xff, ROWS * C * sizeof *v);
        w.k16 = (void *)k16;
        w.v16 = (void *)v16;
    }
    be->ops->attention_forward(be, (Dual){out, NULL}, (Dual){lse, NULL}, (Dual){q, NULL}, &w, B, 1,
                               H, D);
    if (backend_wait(be, &err) < 0) fail_msg("%s", err.text);
    memcpy(o, out, n * sizeof *o);
    real *const taken[] = {k, v, k16, v16};
    for (int i = 0; i < ARRAY_LEN(taken); i++) backend_free(be, taken[i], ROWS * C);
    backend_free(be, q, B * C);
    backend_free(be, out, B * C);
    backend_free(be, lse, B * H);
    backend_free(be, (void *)rows, ROOM * sizeof(int64_t) / sizeof(real));
}

static void test_places(void **state)
{
    enum { N = 3 * 128 };
    const Machines *m = *state;
    real want[N], got[N];
    places_run(m->cpu, false, want, N);
    for (int halves = 0; halves <= (int)backend_half_windows(m->device[1]); halves++) {
        places_run(m->device[halves], halves == 1, got, N);
        assert_true(distance(got, want, N) < 1e-5);
    }
}

int main(void)
{
    Err err;
    Machines m = {NULL, {NULL, NULL}};
    BackendOptions cpu = {.threads = 1};
    if (backend_open(&m.cpu, &cpu, &err) < 0) fail_msg("%s", err.text);
    for (int i = 0; i < 2; i++) {
        BackendOptions o = {.threads = 1, .bf16 = i == 1, .device = getenv("TTT_TEST_DEVICE")};
        if (backend_open(&m.device[i], &o, &err) < 0) fail_msg("%s", err.text);
    }
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_prestate(test_passes, &m),
        cmocka_unit_test_prestate(test_halves, &m),
        cmocka_unit_test_prestate(test_places, &m),
    };
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    backend_close(m.cpu);
    for (int i = 0; i < 2; i++) backend_close(m.device[i]);
    return failed;
}
