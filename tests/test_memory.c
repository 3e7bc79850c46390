/* Memory files: a saved state goes on bit for bit, shows itself, and a wrong or damaged one is
 * refused. */
#include "api_fixture.h"

#include "base/safetensors.h"

static const ttt_source two_texts[2] = {
    {.name = "dir/caf\xc3\xa9 \"x\"\n.txt", .sha256 = "ab12", .tokens = 40},
    {.name = "not\xffutf8", .sha256 = "", .tokens = 0},
};

static void save(ttt_reader *r, const char *path, const ttt_source *sources, int n)
{
    if (ttt_reader_save(r, path, sources, n) < 0) fail_msg("%s", ttt_error(r));
}

/* Stops at every place in and around a chunk, and with all kinds of windows. */
static void a_saved_reader_goes_on_bit_for_bit(void **state)
{
    const Fixture *f = *state;
    char path[PATH_MAX], why[TTT_ERROR_MAX];
    path_in(f, "m.memory", path);
    static const int stops[] = {0, 1, 2, CHUNK - 1, CHUNK, CHUNK + 1, 2 * CHUNK + 3, 64};
    for (int i = 0; i < ARRAY_LEN(stops); i++) {
        int stop = stops[i], rest = N - stop;
        double expected[N], got[N];
        float logp[2][VOCAB];
        ttt_reader *r = reader_make(f->meta, &(ttt_reader_options){.inner_lr = 0.3}), *loaded;
        feed(r, f->tokens, (size_t)stop, NULL);
        save(r, path, NULL, 0);
        if (ttt_reader_load(&loaded, f->meta, path, NULL, why) < 0) fail_msg("%s", why);
        ttt_reader_info a = describe(r), b = describe(loaded);
        assert_int_equal(a.tokens, b.tokens);
        assert_int_equal(a.steps, b.steps);
        assert_int_equal(a.pending, b.pending);
        feed_in_pieces(r, f->tokens + stop, (size_t)rest, 9, expected);
        feed_in_pieces(loaded, f->tokens + stop, (size_t)rest, 9, got);
        assert_memory_equal(got, expected, (size_t)rest * sizeof *got);
        assert_int_equal(ttt_logprobs(r, logp[0]), 0);
        assert_int_equal(ttt_logprobs(loaded, logp[1]), 0);
        assert_memory_equal(logp[0], logp[1], sizeof logp[0]);
        a = describe(r), b = describe(loaded);
        assert_memory_equal(&a.last_chunk_loss, &b.last_chunk_loss, sizeof a.last_chunk_loss);
        assert_memory_equal(&a.last_grad_norm, &b.last_grad_norm, sizeof a.last_grad_norm);
        ttt_reader_free(r);
        ttt_reader_free(loaded);
    }
}

static void a_memory_shows_itself(void **state)
{
    const Fixture *f = *state;
    char path[PATH_MAX], why[TTT_ERROR_MAX];
    ttt_memory_info info;
    ttt_source sources[4];
    ttt_model_info model;
    path_in(f, "s.memory", path);
    ttt_model_describe(f->meta, &model);
    ttt_reader *r = reader_make(f->meta, NULL), *loaded;
    feed(r, f->tokens, 40, NULL);
    save(r, path, two_texts, 2);
    assert_int_equal(ttt_memory_describe(path, &info, sources, 1, why), 2);
    assert_string_equal(info.model_digest, model.digest);
    assert_string_equal(info.model_name, "tiny");
    assert_int_equal(info.tokens, 40);
    assert_int_equal(info.steps, 39 / CHUNK);
    assert_int_equal(strlen(info.created), 20);
    assert_true(info.file_bytes > model.state_bytes / 2);
    assert_string_equal(sources[0].name, two_texts[0].name);
    assert_string_equal(sources[0].sha256, "ab12");
    assert_int_equal(sources[0].tokens, 40);
    /* Going on keeps what was read before; what cannot be in JSON is escaped once, not each time.
     */
    assert_int_equal(ttt_reader_load(&loaded, f->meta, path, NULL, why), 0);
    save(loaded, path, two_texts, 1);
    assert_int_equal(ttt_memory_describe(path, &info, sources, 4, why), 3);
    assert_string_equal(sources[1].name, "not\\xffutf8");
    assert_string_equal(sources[2].name, two_texts[0].name);
    ttt_reader_free(r);
    ttt_reader_free(loaded);
}

static void expect_no_load(ttt_model *m, const char *path, const char *part)
{
    char why[TTT_ERROR_MAX] = "";
    ttt_reader *r = (ttt_reader *)1;
    assert_int_equal(ttt_reader_load(&r, m, path, NULL, why), -1);
    assert_null(r);
    if (!strstr(why, part) || strchr(why, '\n')) fail_msg("'%s' lacks '%s'", why, part);
}

static void the_wrong_file_is_refused(void **state)
{
    const Fixture *f = *state;
    char path[PATH_MAX], model[PATH_MAX];
    path_in(f, "w.memory", path);
    expect_no_load(f->meta, path, path); /* not there */
    ttt_reader *r = reader_make(f->meta, NULL);
    feed(r, f->tokens, 40, NULL);
    save(r, path, NULL, 0);
    path_in(f, "other", model);
    expect_no_load(f->other, path, path);
    expect_no_load(f->other, path, model);
    path_in(f, "meta/model.safetensors", model);
    expect_no_load(f->meta, model, "no memory file");
    path_in(f, "meta/config.yaml", model);
    expect_no_load(f->meta, model, "config.yaml");
    expect_no_load(f->meta, f->dir, f->dir);
    ttt_reader_free(r);
}

/* A file cut anywhere, or with a byte of its header changed, is refused or at least does no harm.
 */
static void a_damaged_file_is_refused(void **state)
{
    const Fixture *f = *state;
    char path[PATH_MAX], cut[PATH_MAX], why[TTT_ERROR_MAX], *data;
    size_t size;
    Err err;
    path_in(f, "d.memory", path);
    path_in(f, "cut.memory", cut);
    ttt_reader *r = reader_make(f->meta, NULL), *loaded;
    feed(r, f->tokens, 40, NULL);
    save(r, path, two_texts, 2);
    ttt_reader_free(r);
    assert_int_equal(file_read(path, &data, &size, (size_t)1 << 30, &err), 0);
    for (size_t n = 0; n < size; n = n < 300 ? n + 37 : n + size / 9) {
        assert_int_equal(file_write_atomic(cut, data, n, &err), 0);
        expect_no_load(f->meta, cut, cut);
    }
    Rng rng;
    rng_seed(&rng, 1, 0);
    for (int i = 0; i < 200; i++) {
        size_t at = rng_below(&rng, 4000);
        char old = data[at];
        data[at] = (char)rng_below(&rng, 256);
        assert_int_equal(file_write_atomic(cut, data, size, &err), 0);
        if (ttt_reader_load(&loaded, f->meta, cut, NULL, why) == 0) {
            ttt_feed(loaded, f->tokens, 20, NULL);
            ttt_reader_free(loaded);
        }
        data[at] = old;
    }
    free(data);
}

/* Rewrites a memory file with one metadata value changed. */
static void rewrite(const char *from, const char *to, const char *key, const char *value)
{
    static const char *const keys[] = {
        "format",  "format_version",  "model_digest",   "model_name", "created",
        "chunk",   "window",          "inner_lr",       "tokens",     "steps",
        "pending", "last_chunk_loss", "last_grad_norm", "sources"};
    StFile *file;
    Err err;
    StTensor tensor[64];
    StMeta meta[ARRAY_LEN(keys)];
    assert_int_equal(st_open(&file, from, &err), 0);
    assert_in_range(st_count(file), 1, 64);
    for (int i = 0; i < st_count(file); i++) tensor[i] = *st_at(file, i);
    for (int i = 0; i < ARRAY_LEN(keys); i++) {
        meta[i] = (StMeta){keys[i], st_meta(file, keys[i])};
        assert_non_null(meta[i].value);
        if (strcmp(key, keys[i]) == 0) meta[i].value = value;
    }
    assert_int_equal(st_write(to, tensor, st_count(file), meta, ARRAY_LEN(keys), &err), 0);
    st_close(file);
}

static void counters_that_contradict_the_arrays_are_refused(void **state)
{
    const Fixture *f = *state;
    static const char *const wrong[][2] = {
        {"tokens", "3"},         {"tokens", "-1"},     {"tokens", "4.5"},
        {"tokens", ""},          {"tokens", "1e30"},   {"pending", "6"},
        {"pending", "null"},     {"steps", "100"},     {"inner_lr", "-1"},
        {"inner_lr", "null"},    {"sources", "{}"},    {"sources", "[1]"},
        {"format", "gguf"},      {"model_digest", ""}, {"last_chunk_loss", "\"x\""},
        {"format_version", "2"},
    };
    char path[PATH_MAX], changed[PATH_MAX];
    path_in(f, "c.memory", path);
    path_in(f, "changed.memory", changed);
    ttt_reader *r = reader_make(f->meta, NULL);
    feed(r, f->tokens, 40, NULL);
    save(r, path, two_texts, 2);
    ttt_reader_free(r);
    for (int i = 0; i < ARRAY_LEN(wrong); i++) {
        rewrite(path, changed, wrong[i][0], wrong[i][1]);
        expect_no_load(f->meta, changed, changed);
    }
    /* As if more had been read than the window remembers. */
    r = reader_make(f->meta, NULL);
    feed(r, f->tokens, 5, NULL);
    save(r, path, NULL, 0);
    ttt_reader_free(r);
    rewrite(path, changed, "tokens", "95");
    expect_no_load(f->meta, changed, changed);
}

/* One bit of a weight that was learned; a file from before there was a checksum is read as ever. */
static void a_flipped_bit_is_noticed(void **state)
{
    const Fixture *f = *state;
    char path[PATH_MAX], old[PATH_MAX], why[TTT_ERROR_MAX], *bytes;
    size_t size;
    Err err;
    ttt_reader *r = reader_make(f->meta, NULL);
    path_in(f, "bit.memory", path);
    path_in(f, "old.memory", old);
    feed(r, f->tokens, 40, NULL);
    save(r, path, two_texts, 2);
    ttt_reader_free(r);
    rewrite(path, old, "", "");
    assert_int_equal(ttt_reader_load(&r, f->meta, old, NULL, why), 0);
    ttt_reader_free(r);
    assert_int_equal(file_read(path, &bytes, &size, 1 << 24, &err), 0);
    bytes[size / 2] ^= 1;
    assert_int_equal(file_write_atomic(path, bytes, size, &err), 0);
    free(bytes);
    assert_int_equal(ttt_reader_load(&r, f->meta, path, NULL, why), -1);
    assert_non_null(strstr(why, path));
    assert_non_null(strstr(why, "not those that were written"));
}

static void a_failing_save_leaves_the_old_file(void **state)
{
    const Fixture *f = *state;
    char path[PATH_MAX], why[TTT_ERROR_MAX];
    ttt_memory_info info;
    path_in(f, "k.memory", path);
    ttt_reader *r = reader_make(f->meta, NULL);
    feed(r, f->tokens, 8, NULL);
    save(r, path, NULL, 0);
    assert_int_equal(ttt_reader_save(r, f->dir, NULL, 0), -1); /* a folder */
    assert_non_null(strstr(ttt_error(r), f->dir));
    assert_int_equal(ttt_reader_save(r, "/nowhere/at/all.memory", NULL, 0), -1);
    assert_int_equal(ttt_memory_describe(path, &info, NULL, 0, why), 0);
    assert_int_equal(info.tokens, 8);
    ttt_reader_free(r);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_saved_reader_goes_on_bit_for_bit),
        cmocka_unit_test(a_memory_shows_itself),
        cmocka_unit_test(the_wrong_file_is_refused),
        cmocka_unit_test(a_damaged_file_is_refused),
        cmocka_unit_test(counters_that_contradict_the_arrays_are_refused),
        cmocka_unit_test(a_flipped_bit_is_noticed),
        cmocka_unit_test(a_failing_save_leaves_the_old_file),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
