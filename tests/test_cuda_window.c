/* The window that a reader keeps in bfloat16 beside its own on a GPU: what was written, moved,
 * loaded or placed is in both, and what is read from it scores as before. */
#include "backend/bf16_copy.h"
#include "backend/machine.h"
#include "cuda_reader.h"
#include "model/sweep_state.h"

/* To nearest, ties to even; of numbers. */
static uint16_t rounded(real x)
{
    float value = (float)x;
    uint32_t bits;
    memcpy(&bits, &value, sizeof bits);
    return (uint16_t)((bits + 0x7fffU + (bits >> 16 & 1)) >> 16);
}

static void expect_rounded(Backend *be, const char *when, const uint16_t *half, const real *rows,
                           size_t n)
{
    size_t room = reals_for(n * sizeof *half);
    real *wanted = malloc(n * sizeof *wanted), *got = malloc(room * sizeof *got);
    assert_non_null(wanted);
    assert_non_null(got);
    backend_download(be, wanted, rows, n);
    backend_download(be, got, (const real *)(const void *)half, room);
    for (size_t i = 0; i < n; i++) {
        uint16_t is;
        memcpy(&is, (char *)got + i * sizeof is, sizeof is);
        if (is != rounded(wanted[i]))
            fail_msg("%s: element %zu is %#x, of %.9g", when, i, (unsigned)is, (double)wanted[i]);
    }
    free(wanted);
    free(got);
}

/* The window in bfloat16 is the window, rounded; so are adapted weights. */
static void expect_halves(const Reader *r, const char *when)
{
    size_t P = r->m->inner.size;
    expect_rounded(r->m->be, when, bf16_copy_find(r->m->be, r->fast, P), r->fast, P);
    size_t n = (size_t)(r->kv.rows * r->m->cfg.model.hidden_size);
    for (int l = 0; l < r->kv.n_layers; l++) {
        const KvRows *kv = &r->kv.layer[l];
        assert_true(kv->k16 && kv->v16);
        expect_rounded(r->m->be, when, kv->k16, kv->k, n);
        expect_rounded(r->m->be, when, kv->v16, kv->v, n);
    }
}

/* The text in pieces, a look after each. */
static void read_looking(Reader *r, const int32_t *tokens, int from, int to, double *nll)
{
    static const int pieces[] = {33, 8, 2, 15, 1, 21, 16};
    for (int i = 0, at = from, n; at < to; at += n, i++) {
        n = pieces[i % ARRAY_LEN(pieces)] < to - at ? pieces[i % ARRAY_LEN(pieces)] : to - at;
        feed(r, tokens + at, (size_t)n, nll + at);
        expect_halves(r, "after a piece");
    }
}

/* Tokens one by one, for all readers side by side. */
static void step_looking(Reader **r, int n, const int32_t *tokens, int steps)
{
    int32_t next[2];
    Err err;
    for (int i = 0; i < steps; i++) {
        for (int b = 0; b < n; b++) next[b] = tokens[i + b];
        if (readers_feed(r, n, next, &err) < 0) fail_msg("%s", err.text);
        for (int b = 0; b < n; b++) expect_halves(r[b], "after a step");
    }
}

/* Pieces, moves of the window, records, a memory that is taken up again, readers side by side. */
static void check_halves(int64_t head)
{
    enum { HALF = 90, ALL = 160 };
    int32_t tokens[TEXT];
    double nll[TEXT], again[TEXT];
    ReaderSnapshot state;
    Err err;
    draw_text(tokens, TEXT, 10);
    Backend *be = open_test_gpu(true);
    Model *m = make_wide(be, SEQ_SWA, true, head);
    Reader *r[2] = {make_reader(m, true), make_reader(m, true)};
    size_t window = 4 * (size_t)(r[0]->kv.rows * m->cfg.model.hidden_size); /* of 2 layers */
    size_t least = window * (sizeof(real) + sizeof(uint16_t));
    assert_true(reader_state_bytes(r[0]) > least);
    assert_true(r[0]->elements * sizeof(real) > least);
    read_looking(r[0], tokens, 0, HALF, nll);
    assert_true(records_kept(m) > 0);
    if (reader_snapshot(r[0], &state, &err) < 0) fail_msg("%s", err.text);
    if (reader_restore(r[1], &state, &err) < 0) fail_msg("%s", err.text);
    expect_halves(r[1], "restored");
    for (int b = 0; b < 2; b++) read_looking(r[b], tokens, HALF, ALL, b ? again : nll);
    assert_memory_equal(again + HALF, nll + HALF, (ALL - HALF) * sizeof *nll);
    step_looking(r, 2, tokens + ALL, 2 * CHUNK + 3);
    step_looking(r, 1, tokens + ALL, CHUNK);
    reader_snapshot_free(&state);
    for (int b = 0; b < 2; b++) reader_free(r[b]);
    close_all(m, be);
}

static void test_windows_in_bfloat16(void **state)
{
    (void)state;
    check_halves(8);  /* chunks in float32, rows in bfloat16 */
    check_halves(64); /* tensor cores */
    Backend *be = open_test_gpu(false);
    Model *m = make_model(be, SEQ_SWA, false);
    Reader *r = make_reader(m, true);
    assert_null(r->kv.layer[0].k16);
    reader_free(r);
    close_all(m, be);
}

/* Chunk by chunk, and token by token, the same text. */
static void test_tokens_are_as_chunks(void **state)
{
    (void)state;
    enum { ALL = 72 };
    int32_t tokens[TEXT];
    double chunks[TEXT], ones[TEXT];
    draw_text(tokens, TEXT, 11);
    Backend *be = open_test_gpu(true);
    Model *m = make_wide(be, SEQ_SWA, true, 64);
    Reader *r[2] = {make_reader(m, true), make_reader(m, true)};
    feed(r[0], tokens, ALL, chunks);
    for (int i = 0; i < ALL; i++) feed(r[1], tokens + i, 1, ones + i);
    expect_near("token by token", ones, chunks, 0, ALL, 2e-2);
    for (int b = 0; b < 2; b++) reader_free(r[b]);
    close_all(m, be);
}

static void sweep_once(Sweep *s, const int32_t *tokens, double *nll)
{
    SweepReport report = {.token_nll = nll};
    double lr = 0.1;
    (void)sweep_run(s, tokens, lr, NULL, 1, &report);
}

/* A sweep and a reader of one model share the copies of its weights; either may go first. */
static void test_readers_beside_a_sweep(void **state)
{
    (void)state;
    enum { LENGTH = 40, RUNS = 3 };
    int32_t tokens[TEXT];
    double read[2][LENGTH + 1], swept[2][LENGTH];
    Err err;
    draw_text(tokens, TEXT, 13);
    for (int reader_first = 0; reader_first < 2; reader_first++) {
        Backend *be = open_test_gpu(true);
        Model *m = make_wide(be, SEQ_SWA, true, 64);
        const SweepOptions o = {.batch = 1, .length = LENGTH, .learn = true};
        Sweep *s;
        Reader *r = reader_first ? make_reader(m, true) : NULL;
        assert_int_equal(sweep_create(&s, m, &o, &err), 0);
        if (!r) r = make_reader(m, true);
        feed(r, tokens, LENGTH + 1, read[reader_first]);
        for (int i = 0; i < RUNS; i++) sweep_once(s, tokens, swept[reader_first]);
        if (reader_first) {
            reader_free(r);
            sweep_once(s, tokens, swept[reader_first]);
        }
        sweep_free(s);
        if (!reader_first) {
            feed(r, tokens, CHUNK, NULL);
            reader_free(r);
        }
        close_all(m, be);
    }
    assert_memory_equal(read[0], read[1], sizeof read[0]);
    assert_memory_equal(swept[0], swept[1], sizeof swept[0]);
    expect_near("swept", swept[0], read[0] + 1, 0, LENGTH, 2e-2);
}

/* Losses and gradient of two sequences in lockstep. halves: whether windows are kept in bfloat16.
 */
static void swept_gradient(bool halves, int64_t chunks, double *nll, real **gradient, size_t *n)
{
    enum { BATCH = 2, LENGTH = 24 };
    static Machine changed;
    int32_t tokens[BATCH * (LENGTH + 1)];
    Err err;
    Backend *be = open_test_gpu(true);
    changed = *be->machine;
    changed.half_windows = halves;
    be->machine = &changed;
    Model *m = make_wide(be, SEQ_SWA, true, 64);
    const SweepOptions o = {.batch = BATCH,
                            .length = LENGTH,
                            .learn = true,
                            .gradient = true,
                            .segment_chunks = chunks};
    Sweep *s;
    draw_text(tokens, ARRAY_LEN(tokens), 14);
    if (sweep_create(&s, m, &o, &err) < 0) fail_msg("%s", err.text);
    assert_int_equal(s->kv.layer[1].k16 != NULL, halves); /* the tail's */
    SweepReport report = {.token_nll = nll};
    *n = m->table.size;
    *gradient = malloc(*n * sizeof **gradient);
    assert_non_null(*gradient);
    real *g = backend_alloc(be, *n);
    for (int run = 0; run < 2; run++) { /* recorded, too */
        backend_zero(be, g, *n);
        (void)sweep_run(s, tokens, 0.1, g, 1, &report);
    }
    backend_download(be, *gradient, g, *n);
    backend_free(be, g, *n);
    sweep_free(s);
    close_all(m, be);
}

/* Training reads the tail's windows in bfloat16: the bits that rounding them in each call gives. */
static void test_windows_of_a_sweep(void **state)
{
    (void)state;
    for (int64_t chunks = 1; chunks <= 3; chunks += 2) { /* a segment's: of three, and of one */
        double nll[2][48];
        real *gradient[2];
        size_t n;
        for (int i = 0; i < 2; i++) swept_gradient(i, chunks, nll[i], &gradient[i], &n);
        assert_memory_equal(nll[1], nll[0], sizeof nll[0]);
        assert_memory_equal(gradient[1], gradient[0], n * sizeof *gradient[0]);
        for (int i = 0; i < 2; i++) free(gradient[i]);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_windows_in_bfloat16), cmocka_unit_test(test_tokens_are_as_chunks),
        cmocka_unit_test(test_readers_beside_a_sweep), cmocka_unit_test(test_windows_of_a_sweep)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
