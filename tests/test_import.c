/* Import and export: recorded weights give the recorded losses, layouts go there and back bit for
 * bit, a Llama's losses are its own, and what does not fit is refused without a trace. */
#include <dirent.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/file.h"
#include "own_folder.h"
#include "paths.h"
#include "run/checkpoint.h"
#include "run/export.h"
#include "run/import.h"
#include "run/parity.h"
#include "tiny_model.h"
#include "ttt.h"

static const char *fixture(const char *name)
{
    char path[PATH_MAX];
    snprintf(path, sizeof path, "tests/fixtures/%s", name);
    return source_file(path);
}

static void import_ok(const ImportOptions *o)
{
    Err err;
    Import im;
    if (import_open(&im, o, &err) < 0 || import_write(&im, o, &err) < 0) fail_msg("%s", err.text);
    import_close(&im);
}

/* Must fail with that in its one line, and leave nothing under the name `out` or beside it. */
static void import_refused(const ImportOptions *o, const char *part)
{
    Err err = {""};
    Import im;
    bool was_there = access(o->out, F_OK) == 0;
    int status = import_open(&im, o, &err);
    if (status == 0) {
        status = import_write(&im, o, &err);
        import_close(&im);
    }
    if (status == 0) fail_msg("accepted, but wanted '%s'", part);
    if (!strstr(err.text, part)) fail_msg("'%s' is not in '%s'", part, err.text);
    assert_null(strchr(err.text, '\n'));
    assert_int_equal(access(o->out, F_OK) == 0, was_there);
    DIR *dir = opendir(".");
    for (struct dirent *e; (e = readdir(dir));)
        if (strstr(e->d_name, ".tmp-")) fail_msg("%s was left behind", e->d_name);
    closedir(dir);
}

static void export_ok(const char *model, const char *out, const char *layout, StType type)
{
    Err err;
    Export e;
    const ExportOptions o = {.model = model, .out = out, .layout = layout, .type = type};
    if (export_open(&e, &o, &err) < 0 || export_write(&e, &o, &err) < 0) fail_msg("%s", err.text);
    export_close(&e);
}

/* Losses of the model in a folder, reading and learning as it was trained. */
static void losses_check(const char *model, const int32_t *tokens, int n, const StTensor *want,
                         double tolerance)
{
    char why[TTT_ERROR_MAX];
    const ttt_model_options one = {.threads = 1};
    ttt_model *m = NULL;
    ttt_reader *r = NULL;
    double *nll = calloc((size_t)n, sizeof *nll);
    double *expected = calloc((size_t)want->n_elements, sizeof *expected);
    st_to_f64(want, expected);
    if (ttt_model_open(&m, model, &one, why) < 0 || ttt_reader_new(&r, m, NULL, why) < 0)
        fail_msg("%s", why);
    if (ttt_feed(r, tokens, (size_t)n, nll) < 0) fail_msg("%s", ttt_error(r));
    for (int i = 1; i < n; i++)
        if (!(fabs(nll[i] - expected[i - 1]) < tolerance))
            fail_msg("%s: token %d: %.9f instead of %.9f", model, i, nll[i], expected[i - 1]);
    ttt_reader_free(r);
    ttt_model_close(m);
    free(nll);
    free(expected);
}

/* Tensor by tensor the same floats; names of b begin with prefix. */
static void assert_same(const char *a, const char *b, const char *prefix)
{
    Err err;
    StFile *fa, *fb;
    if (st_open(&fa, a, &err) < 0 || st_open(&fb, b, &err) < 0) fail_msg("%s", err.text);
    assert_true(st_count(fa) > 10);
    for (int i = 0; i < st_count(fa); i++) {
        char name[256];
        const StTensor *x = st_at(fa, i);
        snprintf(name, sizeof name, "%s%s", prefix, x->name);
        const StTensor *y = st_find(fb, name);
        assert_non_null(y);
        assert_int_equal(x->type, ST_F32);
        assert_int_equal(x->n_dims, y->n_dims);
        assert_memory_equal(x->shape, y->shape, sizeof x->shape);
        assert_memory_equal(x->data, y->data, (size_t)x->n_elements * 4);
    }
    st_close(fa);
    st_close(fb);
}

/* The weights of a recorded case, and the losses recorded for them in float64. */
static void case_check(const char *name, double tolerance)
{
    Err err;
    ParityCase c;
    char json[64], inputs[64], path[PATH_MAX];
    snprintf(json, sizeof json, "%s_f64.json", name);
    snprintf(inputs, sizeof inputs, "%s.safetensors", name);
    if (parity_case_open(&c, fixture(json), &err) < 0) fail_msg("%s", err.text);
    c.cfg.model.compute_dtype = COMPUTE_FP32;
    assert_int_equal(config_write(&c.cfg, "case.yaml", &err), 0);
    snprintf(path, sizeof path, "%s", fixture(inputs));
    import_ok(&(ImportOptions){
        .source = path, .out = name, .prefix = "params/", .config.config_file = "case.yaml"});
    snprintf(json, sizeof json, "%s/model.safetensors", name);
    assert_same(json, path, "params/");
    const StTensor *nll = st_find(c.reference, "token_nll");
    assert_non_null(nll);
    losses_check(name, c.tokens, (int)c.T + 1, nll, tolerance);
    parity_case_close(&c);
}

static void test_recorded_cases(void **state)
{
    (void)state;
    case_check("A_meta_clip", 5e-5);
    case_check("C_full_attention", 5e-5);
    case_check("D_sliding_window", 5e-5);
}

static void test_llama(void **state)
{
    (void)state;
    Err err;
    StFile *expected;
    char source[PATH_MAX];
    snprintf(source, sizeof source, "%s", fixture("import/llama"));
    const char *chunk[] = {"model.mini_batch_size=16"};
    import_ok(&(ImportOptions){.source = source,
                               .out = "llama",
                               .prefix = "",
                               .config.overrides = chunk,
                               .config.n_overrides = 1});
    if (st_open(&expected, fixture("import/llama/expected.safetensors"), &err) < 0)
        fail_msg("%s", err.text);
    const StTensor *tokens = st_find(expected, "tokens"), *nll = st_find(expected, "token_nll");
    losses_check("llama", tokens->data, (int)tokens->n_elements, nll, 2e-5);

    /* There and back: heads of keys are by then as many as of queries, and the losses the same. */
    export_ok("llama", "back", "hf-llama", ST_F32);
    import_ok(&(ImportOptions){.source = "back", .out = "again", .prefix = ""});
    assert_same("again/model.safetensors", "llama/model.safetensors", "");
    st_close(expected);
}

static void test_there_and_back(void **state)
{
    (void)state;
    Err err;
    assert_int_equal(tiny_model_write("tiny", 3, "meta", &err), 0);
    export_ok("tiny", "stacked.safetensors", "stacked", ST_F32);
    export_ok("tiny", "layers.safetensors", "layers", ST_F32);
    export_ok("tiny", "half.safetensors", "layers", ST_BF16);
    const char *const files[] = {"stacked", "layers", "half"};
    for (int i = 0; i < ARRAY_LEN(files); i++) {
        char path[64], model[64];
        snprintf(path, sizeof path, "%s.safetensors", files[i]);
        snprintf(model, sizeof model, "%s/model.safetensors", files[i]);
        import_ok(&(ImportOptions){.source = path, .out = files[i], .prefix = ""});
        if (i < 2) assert_same(model, "tiny/model.safetensors", "");
        Config a, b;
        assert_int_equal(config_read(&a, "tiny/config.yaml", &err), 0);
        snprintf(model, sizeof model, "%s/config.yaml", files[i]);
        assert_int_equal(config_read(&b, model, &err), 0);
        assert_memory_equal(&a.model, &b.model, sizeof a.model);
        assert_int_equal(checkpoint_verify(files[i], &err), 0);
    }
    /* BF16 is the nearest there is: half a unit of its 8 bits. */
    StFile *fine, *coarse;
    assert_int_equal(st_open(&fine, "tiny/model.safetensors", &err), 0);
    assert_int_equal(st_open(&coarse, "half/model.safetensors", &err), 0);
    for (int i = 0; i < st_count(fine); i++) {
        const float *x = st_at(fine, i)->data;
        const float *y = st_find(coarse, st_at(fine, i)->name)->data;
        for (int64_t k = 0; k < st_at(fine, i)->n_elements; k++)
            assert_true(fabsf(x[k] - y[k]) <= fabsf(x[k]) / 256);
    }
    st_close(fine);
    st_close(coarse);
}

/* --- what is refused ----------------------------------------------------------------------------
 */

/* A copy of the tiny model's tensors with one changed, left out or added. */
static void damage(const char *path, const char *name, StTensor *change, bool add)
{
    Err err;
    StFile *file;
    StTensor tensors[64];
    int n = 0;
    assert_int_equal(st_open(&file, "tiny/model.safetensors", &err), 0);
    for (int i = 0; i < st_count(file); i++) {
        const StTensor *t = st_at(file, i);
        if (strcmp(t->name, name) != 0)
            tensors[n++] = *t;
        else if (change)
            tensors[n++] = *change;
    }
    if (add) tensors[n++] = *change;
    assert_int_equal(st_write(path, tensors, n, NULL, 0, &err), 0);
    st_close(file);
}

static void test_tensors_refused(void **state)
{
    (void)state;
    Err err;
    static float values[32];
    static const int64_t ints[32];
    const char *ln_f = "language_model.model.ln_f.weight";
    ImportOptions o = {.source = "bad.safetensors",
                       .out = "bad",
                       .prefix = "",
                       .config.config_file = "tiny/config.yaml"};
    assert_int_equal(tiny_model_write("tiny", 3, "meta", &err), 0);
    StTensor t = {
        .name = ln_f, .type = ST_F32, .n_dims = 1, .shape = {32}, .n_elements = 32, .data = values};

    damage("bad.safetensors", ln_f, NULL, false);
    import_refused(&o, "missing language_model.model.ln_f.weight");
    StTensor other = t;
    other.name = "language_model.model.ln_g.weight";
    damage("bad.safetensors", "", &other, true);
    import_refused(&o, "belonging to no part of the model language_model.model.ln_g.weight");
    StTensor shape = t;
    shape.shape[0] = shape.n_elements = 31;
    damage("bad.safetensors", ln_f, &shape, false);
    import_refused(&o, "'language_model.model.ln_f.weight' has shape (31), the model needs (32)");
    StTensor type = t;
    type.type = ST_I64;
    type.data = ints;
    damage("bad.safetensors", ln_f, &type, false);
    import_refused(&o, "holds I64");
    values[5] = NAN;
    damage("bad.safetensors", ln_f, &t, false);
    import_refused(&o, "nan at element 5");
    values[5] = INFINITY;
    damage("bad.safetensors", ln_f, &t, false);
    import_refused(&o, "inf at element 5");
    o.allow_nan = true;
    import_ok(&o);
    import_refused(&o, "bad is there already");
    o.force = true;
    import_ok(&o);
    assert_int_equal(file_write_atomic("bad/diary.txt", "x", 1, &err), 0);
    import_refused(&o, "holds other things than a model");
}

static void test_configurations_refused(void **state)
{
    (void)state;
    Err err;
    const char *hidden[] = {"model.hidden_size=64"}, *typo[] = {"model.rope_thta=5"};
    assert_int_equal(tiny_model_write("tiny", 3, "meta", &err), 0);
    ImportOptions o = {.source = "tiny", .out = "out", .prefix = ""};
    o.config.n_overrides = 1;
    o.config.overrides = hidden;
    import_refused(&o, "model.hidden_size = 32, but the override says 64");
    o.config.overrides = typo;
    import_refused(&o, "did you mean 'model.rope_theta'");
    o.config.n_overrides = 0;
    o.layout = "hf-llama";
    import_refused(&o, "'model.embed_tokens.weight' is missing");
    o.layout = NULL;
    o.prefix = "params/";
    import_refused(&o, "no layout has these names");
    o.prefix = "";
    o.optimizer = "tiny/model.safetensors";
    import_refused(&o, "holds what is no moment");

    /* Alone the weights do not say how they are used: no configuration, and its keys named. */
    Import im;
    const ImportOptions alone = {.source = "alone.safetensors", .out = "alone", .prefix = ""};
    assert_int_equal(rename("tiny/model.safetensors", "alone.safetensors"), 0);
    assert_int_equal(import_open(&im, &alone, &err), 0);
    assert_non_null(strstr(name_list_end(&im.config.missing), "model.rope_theta"));
    assert_non_null(strstr(name_list_end(&im.config.missing), "training.spec_inner"));
    assert_null(strstr(name_list_end(&im.config.missing), "model.suffix_len"));
    assert_int_equal(import_write(&im, &alone, &err), 0);
    assert_true(file_exists("alone/model.safetensors") && !file_exists("alone/config.yaml"));
    import_close(&im);
}

/* A Llama's config.json with one piece of text replaced. */
static void llama_refused(const char *from, const char *to, const char *part)
{
    Err err;
    char *text, changed[2048];
    size_t size;
    assert_int_equal(file_read(fixture("import/llama/config.json"), &text, &size, 4096, &err), 0);
    char *at = strstr(text, from);
    assert_non_null(at);
    snprintf(changed, sizeof changed, "%.*s%s%s", (int)(at - text), text, to, at + strlen(from));
    assert_int_equal(file_write_atomic("config.json", changed, strlen(changed), &err), 0);
    free(text);
    import_refused(&(ImportOptions){.source = fixture("import/llama/model.safetensors"),
                                    .out = "out",
                                    .prefix = "",
                                    .config.config_file = "config.json"},
                   part);
}

static void test_llama_refused(void **state)
{
    (void)state;
    Err err;
    Export e;
    llama_refused("{", "", "config.json:2: not JSON");
    llama_refused("\"llama\"", "\"mixtral\"", "\"model_type\" is mixtral");
    llama_refused("\"silu\"", "\"gelu\"", "\"hidden_act\" is gelu");
    llama_refused("\"rope_scaling\": null", "\"rope_scaling\": {\"factor\": 8}", "rope_scaling");
    llama_refused("\"attention_bias\": false", "\"attention_bias\": true", "attention_bias");
    llama_refused("\"num_key_value_heads\": 2", "\"num_key_value_heads\": 3", "do not divide");
    llama_refused("\"num_key_value_heads\": 2", "\"num_key_value_heads\": 0", "do not divide");
    llama_refused("\"num_key_value_heads\": 2", "\"num_key_value_heads\": 4", "has shape (8, 16)");
    llama_refused("\"num_key_value_heads\": 2", "\"head_dim\": 8", "head_dim");
    llama_refused("\"hidden_size\": 16,", "", "\"hidden_size\" is missing");
    llama_refused("\"hidden_size\": 16", "\"hidden_size\": 1e99", "model.hidden_size");
    llama_refused("\"hidden_size\": 16", "\"hidden_size\": 32", "model.hidden_size = 16, but");
    llama_refused("\"num_hidden_layers\": 2", "\"num_hidden_layers\": 3", "num_hidden_layers = 2");
    llama_refused("\"tie_word_embeddings\": false", "\"tie_word_embeddings\": true", "tie_word");

    assert_int_equal(tiny_model_write("tiny", 3, "pretrain", &err), 0);
    const ExportOptions o = {.model = "tiny", .out = "x", .layout = "hf-llama"};
    assert_int_equal(export_open(&e, &o, &err), -1);
    assert_non_null(strstr(err.text, "model.qk_norm = true, which Llama cannot express"));
}

/* --- sharded sets -------------------------------------------------------------------------------
 */

static void shard_put(const char *path, const char *a, const char *b)
{
    Err err;
    static const float one[1] = {1};
    const StTensor t[] = {
        {.name = a, .type = ST_F32, .n_dims = 1, .shape = {1}, .n_elements = 1, .data = one},
        {.name = b, .type = ST_F32, .n_dims = 1, .shape = {1}, .n_elements = 1, .data = one}};
    assert_int_equal(st_write(path, t, b ? 2 : 1, NULL, 0, &err), 0);
}

static void index_refused(const char *text, const char *part)
{
    Err err = {""};
    StSet *set;
    assert_int_equal(file_write_atomic("i.json", text, strlen(text), &err), 0);
    if (st_set_open(&set, "i.json", &err) == 0) fail_msg("accepted, but wanted '%s'", part);
    if (!strstr(err.text, part)) fail_msg("'%s' is not in '%s'", part, err.text);
    assert_null(strchr(err.text, '\n'));
}

static void test_index(void **state)
{
    (void)state;
    Err err;
    StSet *set;
    shard_put("1.st", "a", "b");
    shard_put("2.st", "c", NULL);
    shard_put("3.st", "a", NULL);
    const char good[] = "{\"weight_map\":{\"a\":\"1.st\",\"b\":\"1.st\",\"c\":\"2.st\"}}";
    assert_int_equal(file_write_atomic("i.json", good, sizeof good - 1, &err), 0);
    assert_int_equal(st_set_open(&set, "i.json", &err), 0);
    assert_int_equal(st_set_count(set), 3);
    assert_string_equal(st_set_file(set, st_set_find(set, "c")), "./2.st");
    assert_int_equal(st_set_find(set, "d"), -1);
    st_set_close(set);

    index_refused("", "not JSON");
    index_refused("[]", "no object of tensors");
    index_refused("{\"weight_map\":{}}", "no object of tensors");
    index_refused("{\"weight_map\":{\"a\":3}}", "no plain file name");
    index_refused("{\"weight_map\":{\"a\":\"../1.st\"}}", "no plain file name");
    index_refused("{\"weight_map\":{\"a\":\"..\"}}", "no plain file name");
    index_refused("{\"weight_map\":{\"a\":\"1.st\",\"a\":\"1.st\"}}", "not JSON");
    index_refused("{\"weight_map\":{\"a\":\"4.st\"}}", "4.st");
    index_refused("{\"weight_map\":{\"a\":\"1.st\"}}",
                  "does not put into this file the tensor 'b'");
    index_refused("{\"weight_map\":{\"a\":\"1.st\",\"b\":\"1.st\",\"d\":\"1.st\"}}",
                  "none of its files holds the tensor 'd'");
    index_refused("{\"weight_map\":{\"a\":\"3.st\",\"b\":\"1.st\"}}", "tensor 'a'");
    char deep[5000];
    memset(deep, '[', sizeof deep - 1);
    deep[sizeof deep - 1] = 0;
    index_refused(deep, "not JSON");
}

/* --- an optimizer's moments ---------------------------------------------------------------------
 */

static void test_moments(void **state)
{
    (void)state;
    Err err;
    StFile *file;
    StTensor t[64];
    char names[64][160];
    int n = 0;
    assert_int_equal(tiny_model_write("tiny", 3, "meta", &err), 0);
    assert_int_equal(st_open(&file, "tiny/model.safetensors", &err), 0);
    for (int i = 0; i < 2 * st_count(file); i++, n++) {
        t[n] = *st_at(file, i / 2);
        snprintf(names[n], sizeof names[n], "%s/%s", i % 2 ? "mu" : "nu", t[n].name);
        t[n].name = names[n];
    }
    ImportOptions o = {.source = "tiny",
                       .out = "runs/f/theirs/checkpoints/step-00000009",
                       .prefix = "",
                       .optimizer = "o.safetensors",
                       .step = 9,
                       .updates = 9};
    assert_int_equal(st_write("o.safetensors", t, n - 1, NULL, 0, &err), 0);
    import_refused(&o, "missing");
    assert_int_equal(st_write("o.safetensors", t, n, NULL, 0, &err), 0);
    st_close(file);
    import_ok(&o);
    int64_t step = -1;
    assert_int_equal(checkpoint_find(&step, "runs/f/theirs/checkpoints", -1, NULL, NULL, &err), 1);
    assert_int_equal(step, 9);
    assert_same("tiny/model.safetensors",
                "runs/f/theirs/checkpoints/step-00000009/optimizer.safetensors", "mu/");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_recorded_cases, folder_enter, folder_leave),
        cmocka_unit_test_setup_teardown(test_llama, folder_enter, folder_leave),
        cmocka_unit_test_setup_teardown(test_there_and_back, folder_enter, folder_leave),
        cmocka_unit_test_setup_teardown(test_tensors_refused, folder_enter, folder_leave),
        cmocka_unit_test_setup_teardown(test_configurations_refused, folder_enter, folder_leave),
        cmocka_unit_test_setup_teardown(test_llama_refused, folder_enter, folder_leave),
        cmocka_unit_test_setup_teardown(test_index, folder_enter, folder_leave),
        cmocka_unit_test_setup_teardown(test_moments, folder_enter, folder_leave),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
