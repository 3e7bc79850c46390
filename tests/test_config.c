/* The configuration: values and their bounds, YAML files good and bad, saving and reading back,
 * composition of every recipe in configs/, and which parameters a spec selects. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/file.h"
#include "model/config.h"
#include "model/config_table.h"
#include "paths.h"

static char scratch[CFG_PATH];

static const char *scratch_path(const char *name)
{
    static char path[2 * CFG_PATH];
    snprintf(path, sizeof path, "%s/%s", scratch, name);
    return path;
}

static void scratch_write(const char *name, const char *text)
{
    Err err;
    char folder[2 * CFG_PATH];
    snprintf(folder, sizeof folder, "%s", scratch_path(name));
    *strrchr(folder, '/') = 0;
    assert_int_equal(dir_make(folder, &err), 0);
    assert_int_equal(file_write_atomic(scratch_path(name), text, strlen(text), &err), 0);
}

static int set(Config *c, const char *key, const char *value, Err *err)
{
    return config_set(c, key, value, "override", err);
}

static void assert_get(const Config *c, const char *key, const char *expected)
{
    char text[CFG_PATH];
    assert_int_equal(config_get(c, key, text, sizeof text), 0);
    assert_string_equal(text, expected);
}

static void assert_has(const Err *err, const char *part)
{
    if (!strstr(err->text, part)) fail_msg("'%s' is not in: %s", part, err->text);
}

static int parse(Config *c, const char *yaml, Err *err)
{
    return config_parse(c, yaml, strlen(yaml), "x.yaml", false, err);
}

static void assert_parse_fails(const char *yaml, const char *part)
{
    Config c;
    Err err;
    if (parse(&c, yaml, &err) == 0) fail_msg("accepted: %s", yaml);
    assert_has(&err, part);
}

/* --- values ------------------------------------------------------------------------------------*/

static void values_are_stored_by_type(void **state)
{
    (void)state;
    static const char *const good[][3] = {
        {"model.hidden_size", "384", "384"},
        {"model.hidden_size", " +16 ", "16"},
        {"model.hidden_size", "'64'", "64"},
        {"training.break_step", "-1", "-1"},
        {"training.resume_step", "null", "null"},
        {"training.resume_step", "~", "null"},
        {"training.resume_step", "7", "7"},
        {"training.optimizer_outer.lr", "1e-3", "0.001"},
        {"training.optimizer_outer.lr", "1E-05", "1.0e-05"},
        {"training.optimizer_outer.lr", "2", "2.0"},
        {"training.optimizer_outer.lr", ".5", "0.5"},
        {"model.rope_theta", "5e5", "500000.0"},
        {"model.prime", "yes", "true"},
        {"model.prime", "OFF", "false"},
        {"model.prime", "True", "true"},
        {"model.seq_modeling_block", "SWAFull", "SWAFull"},
        {"training.train_mode", "\"meta\"", "meta"},
        {"model.name", "two words: here", "two words: here"},
        {"model.name", "'it''s'", "it's"},
        {"model.name", "\"a\\tb\"", "a\tb"},
        {"model.name", "'null'", "null"},
        {"model.name", "", ""},
        {"training.exp_name", "???", ""},
        {"training.spec_inner", "[a.b, 'c, d', \"e\"]", "[\"a.b\", \"c, d\", \"e\"]"},
        {"training.spec_inner", "[]", "[]"},
        {"model.remat_block", "anything", ""},
        {"training.optimizer_inner.init_lr", "???", "???"},
    };
    for (int i = 0; i < ARRAY_LEN(good); i++) {
        Config c;
        Err err = {0};
        config_defaults(&c);
        if (set(&c, good[i][0], good[i][1], &err) < 0) fail_msg("%s", err.text);
        assert_get(&c, good[i][0], good[i][2]);
    }
}

static void bad_values_are_refused_and_change_nothing(void **state)
{
    (void)state;
    static const char *const bad[][3] = {
        {"model.hidden_size", "x", "an integer from 1 to 1048576"},
        {"model.hidden_size", "1_000", "an integer"},
        {"model.hidden_size", "1.5", "an integer"},
        {"model.hidden_size", "1e3", "an integer"},
        {"model.hidden_size", "0", "from 1"},
        {"model.hidden_size", "99999999999999999999", "an integer"},
        {"model.hidden_size", "", "an integer"},
        {"model.hidden_size", "null", "an integer"},
        {"model.hidden_size", "???", "an integer"},
        {"model.hidden_size", "[1]", "a list is not allowed"},
        {"model.hidden_size", "{a: 1}", "is a mapping"},
        {"training.resume_step", "-1", "or null"},
        {"training.optimizer_outer.lr", "-1e-3", "0 or more"},
        {"training.optimizer_outer.lr", "nan", "a number"},
        {"training.optimizer_outer.lr", ".inf", "a number"},
        {"training.optimizer_outer.lr", "1e999", "a number"},
        {"training.optimizer_outer.lr", "0x10", "a number"},
        {"training.optimizer_outer.b2", "1.01", "from 0 to 1"},
        {"training.optimizer_outer.emb_wd", "false", "only true"},
        {"model.prime", "maybe", "true or false"},
        {"model.prime", "2", "true or false"},
        {"model.seq_modeling_block", "swa", "self_attention, SWA or SWAFull"},
        {"model.param_dtype", "bf16", "takes fp32"},
        {"model.attn_pdrop", "0.1", "only 0"},
        {"model.name", "null", "text"},
        {"model.name", "\"open", "closing quote"},
        {"model.name", "\xff", "text"},
        {"training.checkpoint_path", "", "text of 1"},
        {"training.spec_inner", "a", "a list"},
        {"training.spec_inner", "[a, [b]]", "a list"},
        {"training.spec_inner", "[a, '']", "a list"},
        {"training.spec_inner", "[*a]", "quote the text"},
        {"training.spec_inner", "[1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16,17]", "at most 16"},
    };
    for (int i = 0; i < ARRAY_LEN(bad); i++) {
        Config c, before;
        Err err = {0};
        config_defaults(&c);
        before = c;
        if (set(&c, bad[i][0], bad[i][1], &err) == 0) fail_msg("accepted %s", bad[i][1]);
        assert_has(&err, bad[i][2]);
        assert_has(&err, "override: ");
        assert_memory_equal(&c, &before, sizeof c);
    }
}

static void long_text_is_refused(void **state)
{
    (void)state;
    Config c;
    Err err;
    char text[CFG_TEXT + 1];
    config_defaults(&c);
    memset(text, 'a', sizeof text);
    text[CFG_TEXT - 1] = 0;
    assert_int_equal(set(&c, "model.name", text, &err), 0);
    assert_get(&c, "model.name", text);
    text[CFG_TEXT - 1] = 'a';
    text[CFG_TEXT] = 0;
    assert_int_equal(set(&c, "model.name", text, &err), -1);
    assert_has(&err, "255 bytes");
}

static void published_keys_are_known_with_their_defaults(void **state)
{
    (void)state;
    Config c;
    config_defaults(&c);
    assert_get(&c, "training.total_steps", "2500");
    assert_get(&c, "training.optimizer_outer.lr", "0.01");
    assert_get(&c, "training.spec_inner", "[\"**\"]");
    assert_get(&c, "model.rms_norm_eps", "1.0e-06");
    assert_get(&c, "model.compute_dtype", "fp32");
    assert_int_equal(c.training.resume_step, -1);
    assert_string_equal(c.training.exp_name, "");
    assert_int_equal(config_get(&c, "model.nothing", (char[8]){0}, 8), -1);
}

/* --- files -------------------------------------------------------------------------------------*/

static void yaml_errors_name_file_and_line(void **state)
{
    (void)state;
    assert_parse_fails("model:\n  hiden_size: 3\n",
                       "x.yaml:2: unknown key 'model.hiden_size'; did you mean "
                       "'model.hidden_size'?");
    assert_parse_fails("modle:\n  hidden_size: 3\n", "did you mean 'model.hidden_size'?");
    assert_parse_fails("modle: {}\n", "x.yaml:1: unknown key 'modle'");
    assert_parse_fails("model:\n  prime: 3\n", "x.yaml:2: model.prime = 3");
    assert_parse_fails("training:\n  spec_inner:\n    - a\n    - null\n", "x.yaml:");
    assert_parse_fails("model: 3\n", "'model' is a section");
    assert_parse_fails("model: {prime: {a: 1}}\n", "'model.prime' takes a value");
    assert_parse_fails("model: {prime: true}\nmodel: {prime: false}\n",
                       "x.yaml:2: duplicate key 'model', first at line 1");
    assert_parse_fails("model:\n  prime: true\n  prime: true\n", "x.yaml:3: duplicate key 'prime'");
    assert_parse_fails("model:\n\tprime: true\n", "x.yaml:2: not valid YAML");
    assert_parse_fails("model:\n  name: 'open\n", "not valid YAML");
    assert_parse_fails("- a\n", "x.yaml:1: 'the file' must hold");
    assert_parse_fails("just words\n", "x.yaml:1: unknown key 'just words'");
    assert_parse_fails("7\n", "x.yaml:1: a configuration is a mapping");
    assert_parse_fails("model:\n  prime: true\n%YAML 1.1\n", "x.yaml:3: a line starts with '%'");
    assert_parse_fails("a: 1\nb: *x\n", "x.yaml:2: an alias");
    assert_parse_fails("a: !mine 1\n", "x.yaml:1: a tag");
    assert_parse_fails("? [a]\n: 1\n", "x.yaml:1: a key must be plain text");
    assert_parse_fails("model: {prime: true}\n---\nmodel: {}\n", "second document");
    assert_parse_fails("model: {name: \"a\\0b\"}\n", "NUL character");
    assert_parse_fails("model: {name: \"\xff\"}\n", "x.yaml:");
}

static void hostile_files_are_refused_early(void **state)
{
    (void)state;
    Config c;
    Err err;
    char deep[200];
    memset(deep, '[', sizeof deep - 1);
    deep[sizeof deep - 1] = 0;
    assert_parse_fails(deep, "nested deeper than 128");
    assert_int_equal(config_parse(&c, "a\0b", 3, "x.yaml", false, &err), -1);
    assert_has(&err, "NUL byte");

    size_t size = 10 << 20;
    char *line = malloc(size + 1);
    memset(line, 'a', size);
    line[size] = 0;
    scratch_write("long.yaml", line);
    assert_int_equal(config_read(&c, scratch_path("long.yaml"), &err), -1);
    assert_has(&err, "long.yaml");
    for (size_t i = 0; i + 4 <= size; i += 4) memcpy(line + i, "- a\n", 4);
    line[400000] = 0;
    assert_parse_fails(line, "too many values");
    free(line);
    assert_int_equal(config_read(&c, scratch_path("missing.yaml"), &err), -1);
    assert_has(&err, "missing.yaml");
}

static void config_fill(Config *c)
{
    Err err;
    config_defaults(c);
    assert_int_equal(
        set(c, "model.name", "\"q\\\"uo'te: \\u2028 \\u0085 #x\\\\ \\ttab \xc3\xa9\"", &err), 0);
    assert_int_equal(set(c, "training.exp_name", "'1e3'", &err), 0);
    assert_int_equal(set(c, "training.exp_folder", "'${model.name}'", &err), 0);
    assert_int_equal(set(c, "training.dataset_name", "'no'", &err), 0);
    assert_int_equal(set(c, "training.spec_inner", "['exclude a, b', \"c'd\\\"\\n\"]", &err), 0);
    assert_int_equal(set(c, "training.resume_step", "12", &err), 0);
    assert_int_equal(set(c, "model.output_size", "40000", &err), 0);
    c->training.optimizer_outer.lr = 0.1 + 0.2;
    c->training.optimizer_outer.end_lr = 4.9406564584124654e-324;
    c->training.optimizer_inner.lr = 1.0 / 3;
    c->training.ilr_init = 123456789.123456789;
}

static void saved_files_read_back_exactly(void **state)
{
    (void)state;
    Config c, back;
    Err err = {0};
    config_fill(&c);
    memset(&back, 0xAA, sizeof back);
    assert_int_equal(config_write(&c, scratch_path("config.yaml"), &err), 0);
    if (config_read(&back, scratch_path("config.yaml"), &err) < 0) fail_msg("%s", err.text);
    char *a = config_text(&c), *b = config_text(&back);
    assert_string_equal(a, b);
    assert_string_equal(c.model.name, back.model.name);
    assert_memory_equal(&c.training.spec_inner.glob, &back.training.spec_inner.glob,
                        sizeof c.training.spec_inner.glob);
    assert_true(c.training.optimizer_outer.lr == back.training.optimizer_outer.lr);
    assert_true(c.training.ilr_init == back.training.ilr_init);
    free(a);
    free(b);
}

/* Every proper prefix, but for one that only lacks the last newline, must be refused. */
static void cut_files_are_refused(void **state)
{
    (void)state;
    Config c, back;
    Err err;
    config_defaults(&c);
    char *text = config_text(&c);
    size_t size = strlen(text);
    for (size_t n = 0; n + 1 < size; n += n + 40 < size ? 13 : 1) {
        if (config_parse(&back, text, n, "cut.yaml", true, &err) == 0) {
            fail_msg("accepted %d of %d bytes", (int)n, (int)size);
        }
        assert_has(&err, "cut.yaml");
    }
    assert_int_equal(config_parse(&back, text, size, "whole.yaml", true, &err), 0);
    free(text);
}

static void documentation_is_the_table(void **state)
{
    (void)state;
    Err err;
    char *text = config_keys_markdown(), *saved = NULL;
    size_t size = 0;
    assert_int_equal(file_read(source_file("docs/config.md"), &saved, &size, 1 << 20, &err), 0);
    assert_string_equal(saved, text); /* else: ttt config --keys > docs/config.md */
    free(text);
    free(saved);
}

/* --- rules between keys ------------------------------------------------------------------------*/

static void rules_between_keys_are_checked(void **state)
{
    (void)state;
    static const char *const broken[][4] = {
        {"model.num_attention_heads", "7", "", "not a multiple"},
        {"model.num_attention_heads", "256", "", "even"},
        {"model.suffix_len", "13", "", "model.suffix_len"},
        {"model.bos_token_id", "32000", "", "below model.vocab_size"},
        {"model.tie_word_embeddings", "true", "output_size: 32001", "leave it out"},
        {"model.vocab_size", "40000", "output_size: 32000", "could not be predicted"},
        {"training.accum_steps", "3", "", "training.accum_steps"},
        {"training.optimizer_outer.lr_warmup_steps", "500001", "", "lr_decay_steps"},
        {"training.optimizer_outer.b2", "1", "", "below 1"},
        {"training.train_mode", "meta", "", "suffix_len"},
        {"training.spec_outer", "[]", "", "spec_outer"},
        {"model.compute_dtype", "fp64", "", "fp64"},
    };
    for (int i = 0; i < ARRAY_LEN(broken); i++) {
        Config c;
        Err err = {0};
        char yaml[CFG_TEXT];
        snprintf(yaml, sizeof yaml, "model: {%s}", broken[i][2]);
        assert_int_equal(parse(&c, yaml, &err), 0);
        assert_int_equal(config_check(&c, &err), 0);
        assert_int_equal(set(&c, broken[i][0], broken[i][1], &err), 0);
        if (config_check(&c, &err) == 0) fail_msg("accepted %s", broken[i][0]);
        assert_has(&err, broken[i][3]);
    }
}

static void meta_mode_needs_its_parts(void **state)
{
    (void)state;
    Config c;
    Err err;
    const char *meta = "model: {suffix_len: 2}\ntraining: {train_mode: meta}\n";
    assert_int_equal(parse(&c, meta, &err), 0);
    assert_int_equal(config_check(&c, &err), 0);
    assert_int_equal(set(&c, "training.spec_inner", "[]", &err), 0);
    assert_int_equal(config_check(&c, &err), -1);
    assert_has(&err, "spec_inner");
    assert_int_equal(set(&c, "training.spec_inner", "['**']", &err), 0);
    assert_int_equal(set(&c, "training.optimizer_inner.optimizer_type", "adamw", &err), 0);
    assert_int_equal(config_check(&c, &err), -1);
    assert_has(&err, "sgd");
}

static int scratch_make(void **state)
{
    (void)state;
    return temp_folder(scratch, sizeof scratch);
}

static int scratch_remove(void **state)
{
    (void)state;
    Err err;
    return dir_remove(scratch, &err);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(values_are_stored_by_type),
        cmocka_unit_test(bad_values_are_refused_and_change_nothing),
        cmocka_unit_test(long_text_is_refused),
        cmocka_unit_test(published_keys_are_known_with_their_defaults),
        cmocka_unit_test(yaml_errors_name_file_and_line),
        cmocka_unit_test(hostile_files_are_refused_early),
        cmocka_unit_test(saved_files_read_back_exactly),
        cmocka_unit_test(cut_files_are_refused),
        cmocka_unit_test(documentation_is_the_table),
        cmocka_unit_test(rules_between_keys_are_checked),
        cmocka_unit_test(meta_mode_needs_its_parts),
    };
    return cmocka_run_group_tests(tests, scratch_make, scratch_remove);
}
