/* Reading on a GPU: the CPU's scores, whole chunks from records, one wait for as many as the window
 * takes before it moves, and the bits of the same operations started one by one. Without a GPU it
 * runs in the emulator. */
#include "backend/machine.h"
#include "cuda_reader.h"

/* What a machine was asked for. */
typedef struct Calls {
    int plays, downloads, uploads, copies, products;
} Calls;

static Calls calls;
static const Machine *real_machine;
static Machine counting; /* real_machine's functions, counted */

static void count_play(Backend *be, BackendRecord *record)
{
    calls.plays++;
    real_machine->record_play(be, record);
}

static void count_download(Backend *be, void *host, const void *from, size_t bytes)
{
    calls.downloads++;
    real_machine->download(be, host, from, bytes);
}

static void count_upload(Backend *be, void *to, const void *host, size_t bytes)
{
    calls.uploads++;
    real_machine->upload(be, to, host, bytes);
}

static void count_copy(Backend *be, void *to, const void *from, size_t bytes)
{
    calls.copies++;
    real_machine->copy(be, to, from, bytes);
}

static void count_product(Backend *be, const Gemm *g)
{
    calls.products++;
    real_machine->gemm(be, g);
}

/* records: whether it may keep any. */
static Backend *open_gpu(bool bf16, bool records)
{
    Backend *be = open_test_gpu(bf16);
    real_machine = be->machine;
    counting = *real_machine;
    counting.record_play = count_play;
    counting.download = count_download;
    counting.upload = count_upload;
    counting.copy = count_copy;
    counting.gemm = count_product;
    if (!records) counting.record_begin = NULL;
    be->machine = &counting;
    return be;
}

/* Chunks at once, whole ones alone, and ragged pieces between them. */
static void read_text(Reader *r, const int32_t *tokens, int from, int to, double *nll)
{
    static const int pieces[] = {88, 8, 2, 15, 1, 38, 9};
    for (int i = 0, at = from, n; at < to; at += n, i++) {
        n = pieces[i % ARRAY_LEN(pieces)];
        if (n > to - at) n = to - at;
        feed(r, tokens + at, (size_t)n, nll + at);
    }
}

/* ------------------------------------------------------------------------------ scores */

/* The text on this device; half way the state goes to `*snapshot`, if that is wanted. */
static void read_on(Backend *be, int block, bool bf16, bool learn, double *nll,
                    ReaderSnapshot *snapshot, bool *recorded)
{
    int32_t tokens[TEXT];
    Err err;
    draw_text(tokens, TEXT, 5);
    Model *m = make_model(be, block, bf16);
    Reader *r = make_reader(m, learn);
    read_text(r, tokens, 0, TEXT / 2 + 3, nll);
    if (snapshot && reader_snapshot(r, snapshot, &err) < 0) fail_msg("%s", err.text);
    read_text(r, tokens, TEXT / 2 + 3, TEXT, nll);
    if (recorded) *recorded = records_kept(m) > 0;
    reader_free(r);
    assert_int_equal(records_kept(m), 0);
    close_all(m, be);
}

static void check_scores(int block, bool learn)
{
    double cpu[TEXT], gpu[TEXT], back[TEXT];
    int32_t tokens[TEXT];
    bool recorded = false;
    Err err;
    ReaderSnapshot state;
    read_on(open_device("cpu", false), block, false, learn, cpu, NULL, NULL);
    read_on(open_gpu(false, true), block, false, learn, gpu, &state, &recorded);
    assert_true(recorded);
    expect_near(learn ? "GPU, learning" : "GPU", gpu, cpu, 0, TEXT, 2e-4);
    Backend *be = open_device("cpu", false);
    Model *m = make_model(be, block, false);
    Reader *r = make_reader(m, learn);
    if (reader_restore(r, &state, &err) < 0) fail_msg("%s", err.text);
    draw_text(tokens, TEXT, 5);
    read_text(r, tokens, TEXT / 2 + 3, TEXT, back);
    expect_near("CPU from the GPU's memory", back, cpu, TEXT / 2 + 3, TEXT, 2e-4);
    reader_snapshot_free(&state);
    reader_free(r);
    close_all(m, be);
}

static void test_scores_are_the_cpus(void **state)
{
    (void)state;
    check_scores(SEQ_SWA, true);
    check_scores(SEQ_SWA, false);
    check_scores(SEQ_SWA_FULL, true);
}

static void test_records_keep_the_bits(void **state)
{
    (void)state;
    for (int bf16 = 0; bf16 < 2; bf16++) {
        double one_by_one[TEXT], recorded[TEXT];
        bool any;
        read_on(open_gpu(bf16, false), SEQ_SWA, bf16, true, one_by_one, NULL, &any);
        assert_false(any);
        read_on(open_gpu(bf16, true), SEQ_SWA, bf16, true, recorded, NULL, &any);
        assert_true(any);
        assert_memory_equal(recorded, one_by_one, sizeof recorded);
    }
}

/* ------------------------------------------------------------------------------ calls */

/* Calls of a reader that reads so many chunks, `slice` tokens at once. */
static Calls calls_of(bool learn, int chunks, int slice)
{
    int32_t *tokens = malloc((size_t)(chunks * CHUNK + 1) * sizeof *tokens);
    assert_non_null(tokens);
    draw_text(tokens, chunks * CHUNK + 1, 6);
    Backend *be = open_gpu(false, true);
    Model *m = make_model(be, SEQ_SWA, false);
    Reader *r = make_reader(m, learn);
    assert_int_equal(r->kv.rows, 40);
    calls = (Calls){0};
    for (int at = 0, n; at <= chunks * CHUNK; at += n) {
        n = slice < chunks * CHUNK + 1 - at ? slice : chunks * CHUNK + 1 - at;
        feed(r, tokens + at, (size_t)n, NULL);
    }
    Calls made = calls;
    reader_free(r);
    close_all(m, be);
    free(tokens);
    return made;
}

/* Of 2 layers, 24 rows of keys and of values move by 16, in two parts, at every second chunk; there
 * the host looks at both chunks' losses. */
static void check_calls(bool learn)
{
    enum { SOME = 9, MORE = 4, MOVES = 2 * 2 * 2 };
    Calls few = calls_of(learn, SOME, TEXT), many = calls_of(learn, SOME + MORE, TEXT);
    assert_int_equal(many.plays - few.plays, MORE);
    assert_int_equal(many.downloads - few.downloads, MORE / 2);
    assert_int_equal(many.uploads - few.uploads, MORE / 2);
    assert_int_equal(many.products - few.products, 0);
    assert_int_equal(many.copies - few.copies, MORE / 2 * MOVES);
}

/* Where pieces end with a chunk, it is learned from in a play of its own, after its rows', and
 * waited for alone. Of the other two of three, one pair in two has a move between them. */
static void test_pieces_of_whole_chunks(void **state)
{
    (void)state;
    enum { SOME = 15, MORE = 6, SLICE = 3 };
    Calls few = calls_of(true, SOME, SLICE * CHUNK),
          many = calls_of(true, SOME + MORE, SLICE * CHUNK);
    assert_int_equal(many.plays - few.plays, MORE + MORE / SLICE);
    assert_int_equal(many.downloads - few.downloads, 2 * (MORE / SLICE) + MORE / SLICE / 2);
    assert_int_equal(many.products - few.products, 0);
}

static void test_one_play_and_one_wait(void **state)
{
    (void)state;
    check_calls(true);
    check_calls(false);
}

/* ------------------------------------------------------------------------------ readers in turn */

enum { READERS = 3 };

typedef struct Turns {
    Reader *r[READERS]; /* NULL: takes no turn */
    double nll[READERS][TEXT];
} Turns;

/* The same text in turn: two chunks at once, one in pieces. */
static void take_turns(Turns *t, const int32_t *tokens, int from, int to)
{
    for (int at = from; at < to; at += 3 * CHUNK)
        for (int i = 0; i < READERS; i++)
            if (t->r[i]) feed(t->r[i], tokens + at, 3 * CHUNK, t->nll[i] + at);
}

/* One leaves and its memory goes to another; one generates in between, which learns in a pause. */
static void test_readers_in_turn(void **state)
{
    (void)state;
    enum { HALF = 120, ALL = 192 };
    int32_t tokens[TEXT];
    draw_text(tokens, TEXT, 7);
    Backend *be = open_gpu(false, true);
    Model *m = make_model(be, SEQ_SWA, false);
    Turns t = {0};
    for (int i = 0; i < READERS; i++) t.r[i] = make_reader(m, i != 1);
    take_turns(&t, tokens, 0, HALF);
    int kept = records_kept(m);
    assert_true(kept >= READERS);
    reader_free(t.r[1]);
    assert_true(records_kept(m) < kept);
    t.r[1] = make_reader(m, true); /* likely in the same memory */
    feed(t.r[1], tokens, HALF, t.nll[1]);
    for (int i = 0; i < CHUNK + 2; i++) {
        Err err;
        if (readers_feed(&t.r[2], 1, tokens + HALF + i, &err) < 0) fail_msg("%s", err.text);
    }
    Reader *gone = t.r[2];
    t.r[2] = NULL;
    take_turns(&t, tokens, HALF, ALL);
    expect_near("in turn", t.nll[1], t.nll[0], 0, ALL, 1e-5);
    reader_free(gone);
    for (int i = 0; i < READERS; i++) reader_free(t.r[i]);
    close_all(m, be);
}

/* A place is given away after none of its chunks has come for long; until then, others have none
 * and are read all the same. */
static void test_no_place(void **state)
{
    (void)state;
    static const real others[CHUNK_RECORDS];
    int32_t tokens[TEXT];
    double nll[2][TEXT];
    draw_text(tokens, TEXT, 8);
    Backend *be = open_gpu(false, true);
    Model *m = make_model(be, SEQ_SWA, false);
    Reader *r = make_reader(m, true);
    feed(r, tokens, TEXT, nll[0]);
    assert_int_equal(records_kept(m), 2);
    reader_free(r);
    for (int i = 0; i < CHUNK_RECORDS; i++)
        reader_record(m, &(ChunkKey){.memory = others + i})->runs = 1;
    r = make_reader(m, true);
    feed(r, tokens, TEXT, nll[1]);
    assert_int_equal(records_kept(m), 0);
    assert_memory_equal(nll[1], nll[0], sizeof nll[0]);
    const ChunkKey stays = {.memory = others}, mine = {.memory = r->memory};
    int waited = 0;
    for (; !reader_record(m, &mine); waited++) assert_int_equal(reader_record(m, &stays)->runs, 1);
    assert_true(waited > CHUNK_RECORDS);
    for (int i = 0; i < CHUNK_RECORDS; i++)
        assert_ptr_not_equal(m->room->record[i].key.memory, others + 1); /* the oldest */
    reader_free(r);
    close_all(m, be);
}

/* ------------------------------------------------------------------------------ failures */

/* A step that is too long is taken; the chunk after it has a loss that is no number, and leaves the
 * weights as that step made them. */
static void test_nothing_learned_from_nan(void **state)
{
    (void)state;
    enum { BEFORE = 10 * CHUNK + 1, P = 1 << 13 };
    static real before[P], after[P];
    int32_t tokens[TEXT];
    draw_text(tokens, TEXT, 9);
    Backend *be = open_gpu(false, true);
    Model *m = make_model(be, SEQ_SWA, false);
    Reader *r = make_reader(m, true);
    ReaderCounters was, is;
    Err err;
    assert_true(m->inner.size <= P);
    feed(r, tokens, BEFORE, NULL);
    assert_true(records_kept(m) > 0);
    backend_upload_doubles(be, r->rate, &(const double){1e30}, 1);
    do {
        backend_download(be, before, r->fast, m->inner.size);
        reader_counters(r, &was);
        assert_true(was.tokens < TEXT);
    } while (reader_feed(r, tokens + was.tokens, 1, NULL, &err) == 0);
    assert_non_null(strstr(err.text, "nothing was learned from it"));
    backend_download(be, after, r->fast, m->inner.size);
    reader_counters(r, &is);
    assert_memory_equal(after, before, m->inner.size * sizeof *after);
    assert_int_equal(is.steps, was.steps);
    assert_true(is.steps > BEFORE / CHUNK);
    reader_free(r);
    close_all(m, be);
}

/* A text with a token that makes NaN of all that sees it, read until the reader says so. */
typedef struct Bad {
    Reader *r;
    Model *m;
    Backend *be;
    double nll[2 * TEXT];
    Err err;
    ReaderSnapshot state;
} Bad;

enum { BAD = VOCAB - 1 };

static void bad_text(int32_t *tokens, int at)
{
    draw_text(tokens, TEXT, 12);
    for (int i = 0; i < TEXT; i++) tokens[i] %= BAD;
    tokens[at] = BAD;
}

/* at_once: as many chunks as go together; else the host looks at each before the next. */
static void bad_read(Bad *b, Backend *be, const Config *cfg, const int32_t *tokens, int n,
                     bool at_once)
{
    b->be = be;
    b->m = make_of(be, cfg);
    size_t C = (size_t)cfg->model.hidden_size;
    real *row = malloc(C * sizeof *row);
    assert_non_null(row);
    for (size_t i = 0; i < C; i++) row[i] = NAN;
    backend_upload(be, b->m->params + b->m->table.entry[P_WTE].offset + BAD * C, row, C);
    free(row);
    b->r = make_reader(b->m, true);
    assert_true(b->m->room->places > 1);
    if (!at_once) b->m->room->places = 1;
    for (int i = 0; i < ARRAY_LEN(b->nll); i++) b->nll[i] = -1;
    assert_int_equal(reader_feed(b->r, tokens, (size_t)n, b->nll, &b->err), -1);
    if (reader_snapshot(b->r, &b->state, &(Err){0}) < 0) fail_msg("no snapshot");
}

static void bad_close(Bad *b)
{
    reader_snapshot_free(&b->state);
    reader_free(b->r);
    close_all(b->m, b->be);
}

static void expect_same_state(const ReaderSnapshot *got, const ReaderSnapshot *wanted)
{
    const ReaderCounters *a = &got->counters, *b = &wanted->counters;
    assert_int_equal(a->tokens, b->tokens);
    assert_int_equal(a->steps, b->steps);
    assert_int_equal(a->pending, b->pending);
    assert_memory_equal(&a->last_chunk_loss, &b->last_chunk_loss, sizeof a->last_chunk_loss);
    assert_memory_equal(&a->last_grad_norm, &b->last_grad_norm, sizeof a->last_grad_norm);
    assert_int_equal(got->n, wanted->n);
    for (int i = 0; i < got->n; i++) {
        const ReaderArray *x = &got->array[i], *y = &wanted->array[i];
        size_t n = x->integer ? sizeof(int32_t) : sizeof(real);
        for (int d = 0; d < x->n_dims; d++) {
            assert_int_equal(x->shape[d], y->shape[d]);
            n *= (size_t)x->shape[d];
        }
        if (memcmp(x->data, y->data, n) != 0) fail_msg("%s differs", x->name);
    }
}

/* A CPU that is taken for a machine of its own: chunks go together there too. */
static Backend *open_cpu_apart(void)
{
    Backend *be = open_device("cpu", false);
    real_machine = be->machine;
    counting = *real_machine;
    counting.own_memory = true;
    be->machine = &counting;
    return be;
}

static Backend *open_bad(int kind)
{
    return kind == 0 ? open_cpu_apart() : open_gpu(kind == 2, true);
}

/* Chunks that were started behind one that is not learned from leave everything as it was: scores,
 * state, what is said, and how it goes on. */
static void test_chunks_behind_a_bad_one(void **state)
{
    (void)state;
    static const int places[] = {3, 20, 39, 45, 61, 161};
    int32_t tokens[TEXT];
    for (int kind = 0; kind < 3; kind++) {
        Config cfg = small_config(SEQ_SWA, kind == 2, 8);
        cfg.model.tie_word_embeddings = false;
        for (int i = 0; i < ARRAY_LEN(places); i++) {
            Bad at_once, one_by_one;
            bad_text(tokens, places[i]);
            bad_read(&at_once, open_bad(kind), &cfg, tokens, TEXT, true);
            bad_read(&one_by_one, open_bad(kind), &cfg, tokens, TEXT, false);
            assert_int_equal(at_once.state.counters.tokens, (places[i] / CHUNK + 1) * CHUNK);
            assert_int_equal(at_once.state.counters.steps, places[i] / CHUNK);
            assert_non_null(strstr(at_once.err.text, "nothing was learned from it"));
            assert_string_equal(at_once.err.text, one_by_one.err.text);
            assert_memory_equal(at_once.nll, one_by_one.nll, sizeof at_once.nll);
            expect_same_state(&at_once.state, &one_by_one.state);
            Err again;
            assert_int_equal(reader_feed(at_once.r, tokens, 1, NULL, &again), -1);
            assert_string_equal(again.text, at_once.err.text);
            bad_close(&at_once);
            bad_close(&one_by_one);
        }
    }
}

/* Where the window is short the chunk behind the bad one is a good one; it is not learned from
 * either. Without learning the reader then goes on from there. One layer, and chunks so long that
 * no kernel's tile of keys has one of the next chunk's and the bad one. */
static void test_a_good_chunk_behind_a_bad_one(void **state)
{
    (void)state;
    enum { LONG = 128 };
    int32_t tokens[3 * LONG] = {BAD};
    for (int i = 1; i < ARRAY_LEN(tokens); i++) tokens[i] = i * i % BAD;
    for (int kind = 0; kind < 3; kind++) {
        double nll[2][LONG];
        Bad b[2];
        Err err;
        Config cfg = small_config(SEQ_SWA, kind == 2, 8);
        cfg.model.tie_word_embeddings = false;
        cfg.model.num_hidden_layers = 1;
        cfg.model.sliding_window_size = 3;
        cfg.model.mini_batch_size = LONG;
        for (int i = 0; i < 2; i++) {
            bad_read(&b[i], open_bad(kind), &cfg, tokens, ARRAY_LEN(tokens), i == 0);
            assert_int_equal(b[i].r->kv.rows, 2 * LONG);
            reader_set_learning(b[i].r, false);
            int status = reader_feed(b[i].r, tokens + LONG, LONG, nll[i], &err);
            if (status < 0) fail_msg("%s", err.text);
            assert_true(isfinite(nll[i][LONG - 1]));
        }
        assert_int_equal(b[0].state.counters.tokens, LONG);
        expect_same_state(&b[0].state, &b[1].state);
        assert_memory_equal(nll[0], nll[1], sizeof nll[0]);
        bad_close(&b[0]);
        bad_close(&b[1]);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_scores_are_the_cpus),
                                       cmocka_unit_test(test_records_keep_the_bits),
                                       cmocka_unit_test(test_one_play_and_one_wait),
                                       cmocka_unit_test(test_pieces_of_whole_chunks),
                                       cmocka_unit_test(test_readers_in_turn),
                                       cmocka_unit_test(test_no_place),
                                       cmocka_unit_test(test_nothing_learned_from_nan),
                                       cmocka_unit_test(test_chunks_behind_a_bad_one),
                                       cmocka_unit_test(test_a_good_chunk_behind_a_bad_one)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
