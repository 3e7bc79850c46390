/* Every instruction set that is built in and that this machine has computes what the portable
 * kernels do: op by op, and a whole meta-gradient; and the same work gives the same bits each time.
 * Float32. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include <cmocka.h>

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "backend/bf16_copy.h"
#include "backend/cores.h"
#include "base/file.h"
#include "base/rng.h"
#include "model/sweep.h"
#include "ops/ops.h"
#include "paths.h"

enum { B = 3, R = 37, H = 2, D = 18, C = H * D, V = 1003, N = B * R * C, POOL = 12 };

/* Each writes what it computes into out, one array of N after the other, and returns how many. */
typedef struct IsaRow {
    const char *name;
    int (*run)(Backend *be, real *out, real *const *x);
} IsaRow;

static const char *const isas[] = {"portable", "avx2", "avx512"};

static Backend *open_backend(const char *isa, int threads)
{
    Backend *be = NULL;
    Err err;
    BackendOptions options = {.threads = threads, .isa = isa};
    return backend_open(&be, &options, &err) == 0 ? be : NULL;
}

static real *reals(size_t n)
{
    real *p = calloc(n, sizeof *p);
    CHECK(p, "out of memory");
    return p;
}

static int run_rmsnorm(Backend *be, real *out, real *const *x)
{
    Param w = {.v = x[2], .t = x[3], .step = C};
    Param dw = {.v = out + 4 * N, .t = out + 5 * N, .step = C};
    be->ops->rmsnorm_forward(be, (Dual){out, out + N}, (Dual){x[6], x[7]}, (Dual){x[0], x[1]}, w, B,
                             R, C, 1e-6);
    be->ops->rmsnorm_backward(be, (Dual){out + 2 * N, out + 3 * N}, false, dw, (Dual){x[4], x[5]},
                              (Dual){x[0], x[1]}, w, B, R, C, 1e-6);
    return 6;
}

static int run_swiglu(Backend *be, real *out, real *const *x)
{
    Dual a = {x[0], x[1]}, b = {x[2], x[3]};
    be->ops->swiglu_forward(be, (Dual){out, out + N}, a, b, N);
    be->ops->swiglu_backward(be, (Dual){out + 2 * N, out + 3 * N}, (Dual){out + 4 * N, out + 5 * N},
                             (Dual){x[4], x[5]}, a, b, N);
    return 6;
}

static int run_rope(Backend *be, real *out, real *const *x)
{
    be->ops->rope_table(be, out, 12345678, R, D, 10000);
    const size_t step = (size_t)R * C;
    Param w = {.v = x[2], .t = x[3], .step = D}, dw = {out + 6 * N, out + 7 * N, D, NULL};
    Strided y = {out + N, out + 2 * N, step, step, NULL, NULL},
            plain = {out + 3 * N, NULL, step, 0, NULL, NULL};
    Strided dy = {x[4], x[5], step, step, NULL, NULL};
    Rope rope = {.table = out, .eps = 1e-6};
    Dual in = {x[0], x[1]};
    be->ops->rope_forward(be, &y, in, w, &rope, B, R, H, D);
    be->ops->rope_forward(be, &plain, (Dual){.v = x[0]}, (Param){0}, &rope, B, R, H, D);
    be->ops->rope_backward(be, (Dual){out + 4 * N, out + 5 * N}, dw, &dy, in, w, &rope, B, R, H, D);
    return 8;
}

static int run_attention(Backend *be, real *out, real *const *x)
{
    size_t step = (size_t)R * C;
    Dual lse = {out + 7 * N, out + 7 * N + N / 2};
    Window w = {.k = x[2], .v = x[3], .step = step, .kt = x[4], .vt = x[5], .window = 13};
    WindowGrad g = {out + 3 * N, out + 4 * N, step, 0, out + 5 * N, out + 6 * N};
    Dual q = {x[0], x[1]}, o = {out, out + N};
    be->ops->attention_forward(be, o, lse, q, &w, B, R, H, D);
    be->ops->attention_backward(be, (Dual){out + 2 * N, out + 8 * N}, &g, (Dual){x[6], x[7]}, o,
                                lse, q, &w, B, R, H, D);
    return 9;
}

static int run_cross_entropy(Backend *be, real *out, real *const *x)
{
    enum { ROWS = N / V };
    int32_t target[ROWS];
    for (int i = 0; i < ROWS; i++) target[i] = 97 * i % V;
    memcpy(out + N, x[0], N * sizeof *out);
    memcpy(out + 2 * N, x[1], N * sizeof *out);
    be->ops->cross_entropy(be, out, (Dual){out + N, out + 2 * N}, (Dual){x[2], x[3]}, target, ROWS,
                           V);
    return 3;
}

static int run_inner_sgd(Backend *be, real *out, real *const *x)
{
    const double lr = 0.5;
    real *norm = out + 2 * N;
    be->ops->inner_sgd_forward(be, out, norm, x[0], x[1], B, N / B, &lr, 1, NULL);
    be->ops->inner_sgd_backward(be, out + N, x[2], x[1], norm, B, N / B, &lr, 1);
    return 3;
}

static int run_adamw(Backend *be, real *out, real *const *x)
{
    const double scale = 0.7;
    AdamWStep s = {.lr = 0.01,
                   .b1 = 0.9,
                   .b2 = 0.95,
                   .eps = 1e-8,
                   .weight_decay = 0.1,
                   .correction1 = 0.1,
                   .correction2 = 0.05,
                   .scale = &scale};
    memcpy(out, x[0], N * sizeof *out);
    be->ops->adamw(be, out, out + N, out + 2 * N, x[1], N, &s);
    return 3;
}

static int run_sums(Backend *be, real *out, real *const *x)
{
    double sum;
    int32_t tokens[B * R];
    for (int i = 0; i < B * R; i++) tokens[i] = i * i % 29;
    be->ops->add(be, out, x[0], x[1], N);
    be->ops->embed_backward(be, out + N, tokens, x[2], B * R, C);
    be->ops->sum_squares(be, &sum, x[0], N);
    out[2 * N] = (real)sum;
    return 3;
}

/* Few rows times a weight, both ways round, and a bfloat16 copy of it where one is kept. */
static int run_rows_product(Backend *be, real *out, real *const *x)
{
    enum { K = 41, WIDTH = N / K, ROWS = 5 };
    _Static_assert(ROWS * K <= N && ROWS * WIDTH <= N, "operands have room");
    RowsProduct one[4];
    for (int i = 0; i < 4; i++)
        one[i] = (RowsProduct){.y = out + i * N, .x = x[0], .w = x[1], .N = WIDTH};
    be->ops->rows_products(be, one, 1, false, ROWS, K, false, 0);
    memcpy(out + N, x[2], N * sizeof *out);
    be->ops->rows_products(be, one + 1, 1, true, ROWS, K, true, 0);
    be->bf16 = true;
    bf16_copy_keep(be, x[1], N);
    assert_non_null(bf16_copy_find(be, x[1] + 5, N - 5));
    be->ops->rows_products(be, one + 2, 1, false, ROWS, K, false, 0);
    be->ops->rows_products(be, one + 3, 1, true, ROWS, K, false, 0);
    bf16_copy_drop(be, x[1]);
    assert_null(bf16_copy_find(be, x[1], N));
    be->bf16 = false;
    return 4;
}

static const IsaRow rows[] = {
    {"rows product", run_rows_product},
    {"rmsnorm", run_rmsnorm},
    {"swiglu", run_swiglu},
    {"rope", run_rope},
    {"attention", run_attention},
    {"cross entropy", run_cross_entropy},
    {"inner sgd", run_inner_sgd},
    {"adamw", run_adamw},
    {"sums", run_sums},
};

static double relative_error(const real *a, const real *b, size_t n)
{
    double worst = 0, scale = 1e-6;
    for (size_t i = 0; i < n; i++) {
        double d = fabs((double)a[i] - (double)b[i]);
        if (!(d <= worst)) worst = isfinite(d) ? d : INFINITY;
        scale = fmax(scale, fabs((double)b[i]));
    }
    return worst / scale;
}

static void check_row(Backend *be, Backend *portable, const IsaRow *row, real *const *x)
{
    real *have = reals(POOL * N), *want = reals(POOL * N);
    int n = row->run(portable, want, x);
    assert_int_equal(row->run(be, have, x), n);
    for (int i = 0; i < n; i++) {
        double error = relative_error(have + i * N, want + i * N, N);
        if (error > 1e-5) fail_msg("%s on %s, array %d: error %.3g", row->name, be->isa, i, error);
    }
    memset(want, 0, POOL * N * sizeof *want);
    row->run(be, want, x); /* again: the same bits */
    assert_memory_equal(have, want, (size_t)n * N * sizeof *want);
    free(have);
    free(want);
}

static void test_ops(void **state)
{
    (void)state;
    real *x[POOL];
    Rng rng;
    rng_seed(&rng, 1, 2);
    for (int i = 0; i < POOL; i++) {
        x[i] = reals(N);
        for (int j = 0; j < N; j++) x[i][j] = (real)rng_normal(&rng);
    }
    Backend *portable = open_backend("portable", 2);
    assert_non_null(portable);
    for (int i = 0; i < ARRAY_LEN(isas); i++) {
        Backend *be = open_backend(isas[i], 2);
        if (!be) continue; /* not built in, or not this machine's */
        assert_string_equal(be->isa, isas[i]);
        for (int k = 0; k < ARRAY_LEN(rows); k++) check_row(be, portable, &rows[k], x);
        backend_close(be);
    }
    backend_close(portable);
    for (int i = 0; i < POOL; i++) free(x[i]);
}

static void small_config(Config *c)
{
    config_defaults(c);
    c->model.hidden_size = 64;
    c->model.intermediate_size = 96;
    c->model.num_hidden_layers = 3;
    c->model.num_attention_heads = 2;
    c->model.vocab_size = c->model.output_size = 67;
    c->model.mini_batch_size = 24;
    c->model.sliding_window_size = 40;
    c->model.seq_modeling_block = SEQ_SWA;
    c->model.suffix_len = 2;
    c->model.prime = c->model.tie_word_embeddings = true;
    c->model.initializer_range = 0.1;
    c->training.train_mode = TRAIN_META;
    c->training.optimizer_inner.optimizer_type = OPT_SGD;
    c->training.optimizer_inner.clip_gradient = 0.3;
    c->training.activation_mb = 256;
    c->training.spec_inner.n = 1;
    snprintf(c->training.spec_inner.glob[0], CFG_TEXT, "%s",
             "language_model.**.suffix_blocks.feed_forward_prime.**");
}

/* The meta-gradient of one batch, to be freed; its size into *n. NULL without this instruction set.
 */
static real *meta_gradient(const char *isa, int threads, size_t *n)
{
    enum { BATCH = 2, T = 110 };
    Config c;
    Model *m = NULL;
    Sweep *s = NULL;
    Err err = {""};
    int32_t tokens[BATCH * (T + 1)];
    SweepOptions o = {.batch = BATCH, .length = T, .gradient = true, .learn = true};
    Backend *be = open_backend(isa, threads);
    if (!be) return NULL;
    small_config(&c);
    for (int i = 0; i < BATCH * (T + 1); i++) tokens[i] = (i * i + i / 7) % 67;
    if (model_create(&m, be, &c, &err) < 0 || sweep_create(&s, m, &o, &err) < 0)
        fail_msg("%s", err.text);
    real *gradient = reals(m->table.size);
    double loss = sweep_run(s, tokens, 0.5, gradient, 1, NULL);
    assert_true(isfinite(loss) && loss > 1);
    *n = m->table.size;
    sweep_free(s);
    model_free(m);
    backend_close(be);
    return gradient;
}

static void test_gradient(void **state)
{
    (void)state;
    size_t n;
    real *want = meta_gradient("portable", 1, &n);
    assert_non_null(want);
    for (int i = 0; i < ARRAY_LEN(isas); i++)
        for (int threads = 1; threads <= 2; threads++) {
            real *first = meta_gradient(isas[i], threads, &n);
            if (!first) continue;
            real *second = meta_gradient(isas[i], threads, &n);
            assert_memory_equal(first, second, n * sizeof *first);
            double error = relative_error(first, want, n);
            if (error > 2e-4) fail_msg("%s, %d threads: error %.3g", isas[i], threads, error);
            free(first);
            free(second);
        }
    free(want);
}

/* Attention of more than one strip and tile, with a past and ranges that begin and end at odd rows:
 * o, ot, dq, dqt, lse and lset, dk, dv, own dk, own dv, each (B, PAST + M, C). */
enum { BF_M = 201, BF_PAST = 77, BF_ROWS = BF_M + BF_PAST, BF_OUT = 9, BF_SIZE = 2 * BF_ROWS * C };

static real *attention_at_length(Backend *be, int window, real *const *x)
{
    size_t own = (size_t)BF_M * C, step = (size_t)BF_ROWS * C;
    real *out = reals((size_t)BF_OUT * BF_SIZE), *at[BF_OUT];
    for (int i = 0; i < BF_OUT; i++) at[i] = out + (size_t)i * BF_SIZE;
    Window w = {.k = x[2], .v = x[3], .step = step, .first = BF_PAST, .window = window};
    w.kt = x[4];
    w.vt = x[5];
    WindowGrad g = {at[5], at[6], step, 0, at[7], at[8]};
    Dual q = {x[0], x[1]}, o = {at[0], at[1]}, lse = {at[4], at[4] + own};
    be->ops->attention_forward(be, o, lse, q, &w, 2, BF_M, H, D);
    be->ops->attention_backward(be, (Dual){at[2], at[3]}, &g, (Dual){x[6], x[7]}, o, lse, q, &w, 2,
                                BF_M, H, D);
    return out;
}

/* Models that compute in bf16 have attention of their own where the CPU has the instructions. */
static void test_attention_bf16(void **state)
{
    (void)state;
    Err err;
    Rng rng;
    Backend *exact = open_backend(NULL, 2), *be = NULL;
    BackendOptions options = {.threads = 2, .bf16 = true};
    real *x[8];
    assert_int_equal(backend_open(&be, &options, &err), 0);
    rng_seed(&rng, 12, 0);
    if (backend_bf16_emulated(be)) print_message("no bfloat16 instructions here: not tested\n");
    for (int i = 0; i < ARRAY_LEN(x); i++) {
        x[i] = reals(BF_SIZE);
        for (int j = 0; j < BF_SIZE; j++) x[i][j] = (real)rng_normal(&rng);
    }
    static const int windows[] = {2, 13, 64, 129, 1000};
    for (int i = 0; i < ARRAY_LEN(windows) && !backend_bf16_emulated(be); i++) {
        real *want = attention_at_length(exact, windows[i], x);
        real *have = attention_at_length(be, windows[i], x);
        for (int k = 0; k < BF_OUT; k++) {
            double error = relative_error(have + k * BF_SIZE, want + k * BF_SIZE, BF_SIZE);
            if (!(error < 0.02)) fail_msg("window %d, output %d: %.3g", windows[i], k, error);
            assert_true(error > 0);
        }
        free(want);
        free(have);
    }
    for (int i = 0; i < ARRAY_LEN(x); i++) free(x[i]);
    backend_close(exact);
    backend_close(be);
}

/* A folder laid out as the system describes its CPUs: two packages, two cores each, two threads
 * each. */
static void describe_cpu(const char *root, int cpu, const char *siblings)
{
    char path[256];
    Err err;
    snprintf(path, sizeof path, "%s/cpu%d/topology", root, cpu);
    assert_int_equal(dir_make(path, &err), 0);
    snprintf(path, sizeof path, "%s/cpu%d/topology/thread_siblings_list", root, cpu);
    assert_int_equal(file_write_atomic(path, siblings, strlen(siblings), &err), 0);
}

static cpu_set_t cpus(unsigned mask)
{
    cpu_set_t set;
    CPU_ZERO(&set);
    for (size_t i = 0; i < 32; i++)
        if (mask >> i & 1) CPU_SET(i, &set);
    return set;
}

static void test_cores(void **state)
{
    (void)state;
    Err err;
    char root[200];
    assert_int_equal(temp_folder(root, sizeof root), 0);
    const char *const siblings[] = {"0,4\n", "1,5\n", "2,6\n", "3,7\n"};
    for (int i = 0; i < 8; i++) describe_cpu(root, i, siblings[i % 4]);
    describe_cpu(root, 8, "8-9\n");
    describe_cpu(root, 9, "8-9\n");
    describe_cpu(root, 10, "nonsense\n");
    const struct {
        unsigned mask;
        int cores;
    } cases[] = {{0xff, 4}, {0x0f, 4},  {0x11, 1},  {0xf0, 4},
                 {0x33, 2}, {0x300, 1}, {0x7ff, 6}, {0x3800, 3} /* not described */,
                 {0, 1}};
    for (int i = 0; i < ARRAY_LEN(cases); i++) {
        cpu_set_t set = cpus(cases[i].mask);
        assert_int_equal(cores_of(&set, root), cases[i].cores);
    }
    assert_int_equal(dir_remove(root, &err), 0);
    assert_true(cores_usable() >= 1);
    Backend *be = NULL;
    BackendOptions options = {0};
    assert_int_equal(backend_open(&be, &options, &err), 0);
    assert_int_equal(be->threads, cores_usable());
    backend_close(be);
}

/* bfloat16 instructions belong to one instruction set; the others compute the same in float32. */
static void test_bf16_emulated(void **state)
{
    (void)state;
    Err err;
    for (int i = 0; i < ARRAY_LEN(isas); i++) {
        Backend *be = NULL;
        BackendOptions options = {.threads = 1, .isa = isas[i], .bf16 = true};
        if (backend_open(&be, &options, &err) < 0) continue;
        if (strcmp(be->isa, "avx512") != 0) assert_true(backend_bf16_emulated(be));
        backend_close(be);
    }
}

static void test_unknown(void **state)
{
    (void)state;
    Backend *be = NULL;
    Err err;
    BackendOptions options = {.isa = "abacus"};
    assert_int_equal(backend_open(&be, &options, &err), -1);
    assert_non_null(strstr(err.text, "abacus"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_ops),           cmocka_unit_test(test_gradient),
        cmocka_unit_test(test_unknown),       cmocka_unit_test(test_cores),
        cmocka_unit_test(test_bf16_emulated), cmocka_unit_test(test_attention_bf16),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
