/* Composition: the published recipes against their table, our own recipes, and the order in which
 * files and overrides count, in a small tree made for the purpose. */
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
#include "hydra/scalar.h"
#include "model/config_table.h"
#include "model/config_tree.h"
#include "paths.h"

static char scratch[CFG_PATH];

static void put(const char *name, const char *text)
{
    Err err;
    char path[2 * CFG_PATH], folder[2 * CFG_PATH];
    snprintf(path, sizeof path, "%s/%s", scratch, name);
    snprintf(folder, sizeof folder, "%s", path);
    *strrchr(folder, '/') = 0;
    assert_int_equal(dir_make(folder, &err), 0);
    assert_int_equal(file_write_atomic(path, text, strlen(text), &err), 0);
}

/* A tree with two models, two trainings and some recipes. */
static int tree_make(void **state)
{
    (void)state;
    if (temp_folder(scratch, sizeof scratch) < 0) return -1;
    put("config.yaml", "defaults:\n  - model: a\n  - training: short\n  - _self_\n"
                       "training: {model_seed: 5, data_seed: 5}\n");
    put("model/a.yaml", "name: a\nhidden_size: 64\nnum_attention_heads: 4\nvocab_size: 100\n");
    put("model/b.yaml", "defaults: [a]\nname: b\nhidden_size: 128\n");
    put("training/short.yaml", "total_steps: 10\nmodel_seed: 1\ndata_seed: 1\n");
    put("training/long.yaml", "total_steps: 1000\nexp_name: ${model.name}-long\n");
    put("experiment/one/b.yaml", "# @package _global_\ndefaults:\n  - override /model: b\n"
                                 "  - override /training: long\n  - _self_\n"
                                 "model: {suffix_len: 2}\ntraining: {data_seed: 9}\n");
    put("experiment/first.yaml", "# @package _global_\ndefaults:\n  - _self_\n"
                                 "  - second\nmodel: {name: first}\n");
    put("experiment/second.yaml", "# @package _global_\nmodel: {name: second, rope_theta: 7}\n");
    put("experiment/loop.yaml", "# @package _global_\ndefaults: [loop]\n");
    put("experiment/wrong.yaml", "# @package _global_\n\nmodel:\n  hiden_size: 3\n");
    put("experiment/type.yaml", "# @package _global_\nmodel:\n  hidden_size: wide\n");
    put("experiment/group.yaml", "# @package _global_\ndefaults: [override /modle: b]\n");
    return 0;
}

static int tree_remove(void **state)
{
    (void)state;
    Err err;
    return dir_remove(scratch, &err);
}

static int count(const char *const *list)
{
    int n = 0;
    while (n < 4 && list[n]) n++;
    return n;
}

static void compose(Config *c, const char *const *overrides)
{
    Err err = {0};
    if (config_compose(c, scratch, overrides, count(overrides), &err) < 0) fail_msg("%s", err.text);
}

static void assert_get(const Config *c, const char *key, const char *expected)
{
    char text[CFG_PATH];
    assert_int_equal(config_get(c, key, text, sizeof text), 0);
    if (strcmp(text, expected) != 0) fail_msg("%s = %s, not %s", key, text, expected);
}

static void later_values_win(void **state)
{
    (void)state;
    static const struct {
        const char *overrides[4], *key, *value;
    } cases[] = {
        {{NULL}, "model.hidden_size", "64"},
        {{NULL}, "training.model_seed", "5"}, /* config.yaml's own values come after its groups */
        {{"model=b"}, "model.hidden_size", "128"},
        {{"model=b"}, "model.num_attention_heads", "4"},
        {{"model=b", "model=a"}, "model.name", "a"},
        {{"~training"}, "training.total_steps", "2500"},
        {{"+experiment=one/b"}, "model.hidden_size", "128"},
        {{"+experiment=one/b"}, "training.total_steps", "1000"},
        {{"+experiment=one/b"}, "training.data_seed", "9"},
        {{"+experiment=one/b"}, "training.exp_name", "b-long"},
        {{"+experiment=one/b", "model=a"}, "model.hidden_size", "64"},
        {{"model=a", "+experiment=one/b"}, "model.hidden_size", "64"},
        {{"+experiment=one/b", "model.name=mine"}, "training.exp_name", "mine-long"},
        {{"training.data_seed=3", "+experiment=one/b"}, "training.data_seed", "3"},
        {{"training.data_seed=3", "training.data_seed=4"}, "training.data_seed", "4"},
        {{"~training.data_seed"}, "training.data_seed", "0"},
        {{"++training.data_seed=3"}, "training.data_seed", "3"},
        {{"+experiment=first"}, "model.name", "second"},
        {{"+experiment=first"}, "model.rope_theta", "7.0"},
        {{NULL}, "model.output_size", "100"},
        {{"model.vocab_size=200"}, "model.output_size", "200"},
        {{"model.output_size=300"}, "model.output_size", "300"},
    };
    for (int i = 0; i < ARRAY_LEN(cases); i++) {
        Config c;
        compose(&c, cases[i].overrides);
        assert_get(&c, cases[i].key, cases[i].value);
    }
}

static void references_are_filled_in(void **state)
{
    (void)state;
    static const struct {
        const char *overrides[4], *key, *value;
    } cases[] = {
        {{"training.seq_length=${model.hidden_size}"}, "training.seq_length", "64"},
        {{"model.name=x${model.vocab_size}y${model.prime}"}, "model.name", "x100yFalse"},
        {{"model.name=${training.exp_name}", "training.exp_name=${model.rope_theta}"},
         "model.name",
         "10000.0"},
        {{"model.name='${training.resume_exp_name}'"}, "model.name", ""},
        {{"model.name=${oc.env:TTT_TEST_NAME}"}, "model.name", "from env"},
        {{"model.name=${oc.env:TTT_TEST_NOTHING,other}"}, "model.name", "other"},
        {{"training.spec_inner=['${training.exp_name}.x', y]", "training.exp_name=e"},
         "training.spec_inner",
         "[\"e.x\", \"y\"]"},
    };
    setenv("TTT_TEST_NAME", "from env", 1);
    for (int i = 0; i < ARRAY_LEN(cases); i++) {
        Config c;
        compose(&c, cases[i].overrides);
        assert_get(&c, cases[i].key, cases[i].value);
    }
}

static void faults_are_named(void **state)
{
    (void)state;
    static const char *const cases[][2] = {
        {"model=c", "config.yaml:2: no model 'c'; there is a, b"},
        {"+experiment=b", "did you mean 'one/b'?"},
        {"+experiment=secnd", "did you mean 'second'?"},
        {"+experiment=/etc/passwd", "no experiment"},
        {"experiment=one/b", "to append it, write '+experiment=...'"},
        {"+experiment=loop", "in a cycle"},
        {"+experiment=wrong", "experiment/wrong.yaml:4: unknown key 'model.hiden_size'; did you "
                              "mean 'model.hidden_size'?"},
        {"+experiment=type", "experiment/type.yaml:3: model.hidden_size = wide"},
        {"+experiment=group", "experiment/group.yaml:2: no defaults list has 'modle'; did you mean "
                              "'model'?"},
        {"modle=a", "unknown key 'modle'; did you mean 'model'?"},
        {"model.nme=a", "unknown key 'model.nme'; did you mean 'model.name'?"},
        {"+model.nme=a", "override: unknown key 'model.nme'; did you mean 'model.name'?"},
        {"+model.name=a", "the key is there already"},
        {"training.optimizer_outer=1", "is a section"},
        {"model.name", "write KEY=VALUE"},
        {"=3", "a key is missing"},
        {"model.name=[a", "']' or ',' is missing"},
        {"model.name=a,b", "add -m"},
        {"~model.nothing", "no such key to delete"},
        {"model.name=${model.name}", "cycle"},
        {"model.name=${model.nam}", "there is no 'model.nam'; did you mean 'model.name'?"},
        {"model.name=${training.spec_inner}", "override: model.name = a list is not allowed"},
        {"model.name=${nowe:%Y}", "no resolver 'nowe'; did you mean 'now'?"},
        {"model.name='${model.prime'", "without '}'"},
        {"model.name=${oc.env:TTT_TEST_NOTHING}", "not set in the environment"},
        {"model.hidden_size=${model.prime}", "model.hidden_size = False"},
    };
    for (int i = 0; i < ARRAY_LEN(cases); i++) {
        Config c, before;
        Err err = {0};
        memset(&c, 0, sizeof c);
        before = c;
        if (config_compose(&c, scratch, &cases[i][0], 1, &err) == 0) {
            fail_msg("accepted %s", cases[i][0]);
        }
        if (!strstr(err.text, cases[i][1])) fail_msg("'%s' not in: %s", cases[i][1], err.text);
        if (strchr(err.text, '\n')) fail_msg("more than one line: %s", err.text);
        assert_memory_equal(&c, &before, sizeof c);
    }
}

/* --- the project's own files -------------------------------------------------------------------*/

static void project_compose(Config *c, const char *experiment)
{
    Err err = {0};
    char text[CFG_PATH];
    const char *overrides[] = {text};
    snprintf(text, sizeof text, "+experiment=%s", experiment);
    if (config_compose(c, source_file("configs"), overrides, 1, &err) < 0 ||
        config_check(c, &err) < 0) {
        fail_msg("%s: %s", experiment, err.text);
    }
}

/* One row: the experiment's name and the value of every column's key. */
static void row_check(char *header, char *row)
{
    Config c, expected;
    Err err = {0};
    char *key, *value, got[CFG_PATH], want[CFG_PATH];
    strsep(&header, "\t");
    const char *name = strsep(&row, "\t");
    project_compose(&c, name);
    while ((key = strsep(&header, "\t")) != NULL) {
        value = strsep(&row, "\t");
        assert_non_null(value);
        config_defaults(&expected);
        if (config_set(&expected, key, value, "table", &err) < 0) fail_msg("%s", err.text);
        assert_int_equal(config_get(&c, key, got, sizeof got), 0);
        assert_int_equal(config_get(&expected, key, want, sizeof want), 0);
        if (strcmp(got, want) != 0) fail_msg("%s: %s = %s, not %s", name, key, got, want);
    }
    assert_null(row);
}

static void published_recipes_match_their_table(void **state)
{
    (void)state;
    char header[4096], line[4096], copy[4096];
    int rows = 0;
    FILE *table = fopen(source_file("tests/fixtures/experiments.tsv"), "r");
    assert_non_null(table);
    assert_non_null(fgets(header, sizeof header, table));
    header[strcspn(header, "\n")] = 0;
    while (fgets(line, sizeof line, table)) {
        line[strcspn(line, "\n")] = 0;
        memcpy(copy, header, sizeof copy);
        row_check(copy, line);
        rows++;
    }
    fclose(table);
    assert_int_equal(rows, 22);
}

static void own_recipes_have_their_shapes(void **state)
{
    (void)state;
    static const struct {
        const char *name;
        int64_t ffn, suffix, chunk;
        int mode, block;
    } cases[] = {
        {"tiny/pretrain-tiny-e2e", 288, 2, 64, TRAIN_META, SEQ_SWA},
        {"tiny/pretrain-tiny-fa", 352, 0, 1024, TRAIN_PRETRAIN, SEQ_SELF_ATTENTION},
        {"tiny/pretrain-tiny-swa", 352, 0, 64, TRAIN_PRETRAIN, SEQ_SWA},
        {"small/pretrain-small-e2e", 832, 2, 256, TRAIN_META, SEQ_SWA},
        {"small/pretrain-small-fa", 1024, 0, 4096, TRAIN_PRETRAIN, SEQ_SELF_ATTENTION},
        {"small/pretrain-small-swa", 1024, 0, 256, TRAIN_PRETRAIN, SEQ_SWA},
        {"tiny/extension/ext-tiny-e2e-4K", 288, 2, 64, TRAIN_META, SEQ_SWA},
        {"tiny/extension/ext-tiny-fa-4K", 352, 0, 4096, TRAIN_PRETRAIN, SEQ_SELF_ATTENTION},
        {"tiny/extension/ext-tiny-swa-4K", 352, 0, 64, TRAIN_PRETRAIN, SEQ_SWA},
        {"small/extension/ext-small-e2e-16K", 832, 2, 256, TRAIN_META, SEQ_SWA},
        {"small/extension/ext-small-fa-16K", 1024, 0, 16384, TRAIN_PRETRAIN, SEQ_SELF_ATTENTION},
        {"small/extension/ext-small-swa-16K", 1024, 0, 256, TRAIN_PRETRAIN, SEQ_SWA},
    };
    for (int i = 0; i < ARRAY_LEN(cases); i++) {
        Config c;
        project_compose(&c, cases[i].name);
        assert_int_equal(c.model.intermediate_size, cases[i].ffn);
        assert_int_equal(c.model.suffix_len, cases[i].suffix);
        assert_int_equal(c.model.mini_batch_size, cases[i].chunk);
        assert_int_equal(c.training.train_mode, cases[i].mode);
        assert_int_equal(c.model.seq_modeling_block, cases[i].block);
        assert_int_equal(c.model.prime, cases[i].mode == TRAIN_META);
        assert_int_equal(c.training.optimizer_outer.lr_warmup_steps * 10, c.training.total_steps);
        assert_string_equal(c.training.exp_name, strrchr(cases[i].name, '/') + 1);
    }
}

/* --- the published keys ------------------------------------------------------------------------*/

/* A choice that may be left open has null for a name. */
static bool type_fits(const char *published, const ConfigKey *ours)
{
    static const struct {
        const char *name;
        KeyType type;
    } types[] = {{"bool", KEY_BOOL},      {"int", KEY_INT},           {"int?", KEY_INT_NULL},
                 {"float", KEY_FLOAT},    {"str", KEY_TEXT},          {"str?", KEY_TEXT_NULL},
                 {"List", KEY_LIST},      {"str", KEY_ENUM},          {"LoadPart", KEY_ENUM},
                 {"TrainMode", KEY_ENUM}, {"OptimizerType", KEY_ENUM}};
    for (int i = 0; i < ARRAY_LEN(types); i++) {
        if (strcmp(types[i].name, published) == 0 && types[i].type == ours->type) return true;
    }
    if (ours->type == KEY_ENUM && strcmp(published, "str?") == 0)
        return strcmp(ours->names[0], "null") == 0;
    return false;
}

/* Each default of the table is ours, but for the compute type, which every CPU has. */
static void published_keys_are_known_and_typed(void **state)
{
    (void)state;
    char line[1024];
    int rows = 0, n;
    HyArena *a = hy_arena_new();
    const ConfigKey *keys = config_keys(&n);
    FILE *table = fopen(source_file("tests/fixtures/config-keys.tsv"), "r");
    assert_non_null(table);
    assert_non_null(fgets(line, sizeof line, table));
    for (; fgets(line, sizeof line, table); rows++) {
        Err err;
        char *rest = line, *name = strsep(&rest, "\t"), *type = strsep(&rest, "\t");
        rest[strcspn(rest, "\n")] = 0;
        int row = config_key_find(name);
        if (row < 0) fail_msg("'%s' is not known", name);
        if (!type_fits(type, &keys[row])) fail_msg("'%s' is no %s", name, type);
        if (strcmp(name, "model.compute_dtype") == 0) continue;
        const HyNode *want = hy_yaml_plain(a, hy_copy_text(a, rest, strlen(rest)), &err);
        const HyNode *got = hy_yaml_plain(a, keys[row].text, &err);
        if (!hy_equal(want, got)) fail_msg("'%s' is %s, not %s", name, keys[row].text, rest);
    }
    fclose(table);
    hy_arena_free(a);
    assert_true(rows >= 116);
}

static const char *idle(HyConfig *h, const char *const *overrides, int n)
{
    Err err = {0};
    char *base = config_base();
    HyOptions o = config_options(source_file("configs"), base, overrides, n);
    if (hy_compose(h, &o, &err) < 0) fail_msg("%s", err.text);
    free(base);
    return config_idle(h);
}

static void keys_without_effect_are_told(void **state)
{
    (void)state;
    HyConfig h;
    static const char *const quiet[] = {"+experiment=125m/pretrain/pretrain-125m-e2e",
                                        "+deploy=interactive", "backend.process_id=null",
                                        "model.remat_mlp=''", "training.loader_workers=32"};
    static const char *const loud[] = {"model.remat_mlp=x", "backend.process_id=0",
                                       "training.n_state_parallel=8", "model.hidden_size=64"};
    assert_null(idle(&h, quiet, ARRAY_LEN(quiet)));
    hy_config_free(&h);
    const char *line = idle(&h, loud, ARRAY_LEN(loud));
    assert_non_null(line);
    assert_non_null(strstr(line, "training.n_state_parallel, backend.process_id, model.remat_mlp"));
    assert_null(strstr(line, "hidden_size"));
    hy_config_free(&h);
}

/* total_steps alone must not upset a recipe's schedule. */
static void a_recipe_can_be_cut_short(void **state)
{
    (void)state;
    Config c;
    Err err = {0};
    const char *overrides[] = {"+experiment=125m/pretrain/pretrain-125m-e2e",
                               "training.total_steps=100"};
    if (config_compose(&c, source_file("configs"), overrides, 2, &err) < 0 ||
        config_check(&c, &err) < 0) {
        fail_msg("%s", err.text);
    }
    assert_int_equal(c.training.total_steps, 100);
    assert_int_equal(c.training.optimizer_outer.lr_decay_steps, 4800);
}

static void folder_is_found_or_asked_for(void **state)
{
    (void)state;
    Err err;
    char found[CFG_PATH];
    assert_int_equal(config_dir_find(found, sizeof found, scratch, &err), 0);
    assert_string_equal(found, scratch);
    assert_int_equal(config_dir_find(found, sizeof found, "/nowhere", &err), -1);
    assert_non_null(strstr(err.text, "--config-dir"));
    setenv("TTT_CONFIG_DIR", scratch, 1);
    assert_int_equal(config_dir_find(found, sizeof found, NULL, &err), 0);
    assert_string_equal(found, scratch);
    unsetenv("TTT_CONFIG_DIR");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(later_values_win),
        cmocka_unit_test(references_are_filled_in),
        cmocka_unit_test(faults_are_named),
        cmocka_unit_test(published_recipes_match_their_table),
        cmocka_unit_test(published_keys_are_known_and_typed),
        cmocka_unit_test(keys_without_effect_are_told),
        cmocka_unit_test(own_recipes_have_their_shapes),
        cmocka_unit_test(a_recipe_can_be_cut_short),
        cmocka_unit_test(folder_is_found_or_asked_for),
    };
    return cmocka_run_group_tests(tests, tree_make, tree_remove);
}
