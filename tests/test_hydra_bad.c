/* Bad configurations: each is refused with one line that names the place, in little time and
 * memory, whatever its size or depth. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/file.h"
#include "hydra/compose.h"
#include "hydra/load.h"
#include "paths.h"

enum { PATH_SIZE = 1024, LEVELS = 10000 };

static char scratch[PATH_SIZE];

static void put(const char *name, const void *text, size_t size)
{
    Err err;
    char path[2 * PATH_SIZE], folder[2 * PATH_SIZE];
    snprintf(path, sizeof path, "%s/%s", scratch, name);
    snprintf(folder, sizeof folder, "%s", path);
    *strrchr(folder, '/') = 0;
    assert_int_equal(dir_make(folder, &err), 0);
    assert_int_equal(file_write_atomic(path, text, size, &err), 0);
}

static int compose(const char *config, const char *override, bool resolve, Err *err)
{
    HyConfig h;
    const char *overrides[] = {override};
    HyOptions o = {.folder = {{"main", scratch}},
                   .n_folders = 1,
                   .config_name = config,
                   .overrides = overrides,
                   .n_overrides = override ? 1 : 0,
                   .num = -1};
    int rc = hy_compose(&h, &o, err);
    HyEval e = hy_eval_job(&h, err);
    if (rc == 0 && resolve && !hy_resolve(&e, h.job, false)) rc = -1;
    hy_config_free(&h);
    return rc;
}

static void assert_refused(const char *config, const char *override, const char *part)
{
    Err err = {0};
    if (compose(config, override, true, &err) == 0)
        fail_msg("accepted %s %.60s", config, override ? override : "");
    if (!strstr(err.text, part)) fail_msg("'%s' is not in: %s", part, err.text);
    if (strchr(err.text, '\n')) fail_msg("more than one line: %s", err.text);
}

static void refuse_text(const char *text, const char *part)
{
    put("bad.yaml", text, strlen(text));
    assert_refused("bad", NULL, part);
}

/* "ab" n times, and what closes it. */
static char *repeated(const char *part, int n, const char *middle, const char *end)
{
    size_t a = strlen(part), b = strlen(end);
    char *text = malloc(a * (size_t)n + b * (size_t)n + strlen(middle) + 1), *to = text;
    assert_non_null(text);
    for (int i = 0; i < n; i++, to += a) memcpy(to, part, a);
    memcpy(to, middle, strlen(middle));
    to += strlen(middle);
    for (int i = 0; i < n; i++, to += b) memcpy(to, end, b);
    *to = 0;
    return text;
}

static void files_that_are_no_configuration(void **state)
{
    (void)state;
    refuse_text("a: [1\n", "bad.yaml:");
    refuse_text("a: 1\na: 2\n", "bad.yaml:2: duplicate key 'a', first at line 1");
    refuse_text("- 1\n", "must be a mapping");
    refuse_text("12\n", "bad.yaml:1: a configuration is a mapping");
    refuse_text("a: \xff\n", "bad.yaml: not UTF-8");
    refuse_text("a: \xed\xa0\x80\n", "not UTF-8");
    refuse_text("a: *x\n", "bad.yaml:1: an alias");
    refuse_text("a: &x [*x]\n", "within its own anchor");
    refuse_text("a: !!python/object:os.system x\n", "bad.yaml:1: a tag");
    refuse_text("null: 1\n", "bad.yaml:1: null cannot be a key");
    refuse_text("? [a]\n: 1\n", "a key must be plain text");
    refuse_text("a: 1\n---\nb: 2\n", "second document");
    refuse_text("<<: 1\n", "'<<' takes a mapping");
    refuse_text("%YAML 1.1\n---\na: 1\n", "directive");
    refuse_text("a: =\n", "bad.yaml:1: a bare '='");
    refuse_text("# @package\na: 1\n", "header");
    refuse_text("a: ${x\n", "bad.yaml:1: 'a'");
    refuse_text("hydra: 5\n", "hydra");
    put("bad.yaml", "a: b\nc: d\0\n", 11);
    assert_refused("bad", NULL, "bad.yaml:2: a NUL byte");
    put("folder.yaml/one.yaml", "a: 1\n", 5);
    assert_refused("folder", NULL, "folder.yaml is there, but is no file that can be read");
    refuse_text("a:\n\tb: 1\n", "bad.yaml:2:");
    assert_refused("nothere", NULL, "no configuration 'nothere'");
    put("bad.yaml", "", 0);
    Err err;
    assert_int_equal(compose("bad", NULL, true, &err), 0);
}

static void defaults_that_lead_nowhere(void **state)
{
    (void)state;
    put("g/one.yaml", "a: 1\n", 5);
    put("g/loop.yaml", "defaults: [loop]\n", 17);
    put("g/ping.yaml", "defaults: [pong]\n", 17);
    put("g/pong.yaml", "defaults: [ping]\n", 17);
    put("g/list.yaml", "- 1\n", 4);
    put("g/double.yaml", "defaults: [double@x, double@y]\n", 31);
    refuse_text("defaults: [g: onne]\n", "bad.yaml:1: no g 'onne'; did you mean 'one'?");
    refuse_text("defaults: [h: one]\n", "bad.yaml:1: no h 'one'");
    refuse_text("defaults: [g: loop]\n", "in a cycle");
    refuse_text("defaults: [g: ping]\n", "in a cycle");
    refuse_text("defaults: [g: double]\n", "name each other");
    refuse_text("defaults: [bad]\n", "in a cycle");
    refuse_text("defaults: [g: '?\?\?']\n", "choose a 'g' by g=OPTION; there is double, list");
    refuse_text("defaults: [g: 5]\n", "the option of 'g' must be a name");
    refuse_text("defaults: {g: one}\n", "bad.yaml:1: defaults must be a list");
    refuse_text("defaults: [_self_, _self_]\n", "a second _self_");
    refuse_text("defaults: [_self_@x]\n", "_self_ cannot have a package");
    refuse_text("defaults: [override g: one, g: one]\n", "must be the last ones");
    refuse_text("defaults: [override k: one]\n", "no defaults list has 'k'");
    refuse_text("defaults: [g: one, g: list]\n", "'g' is chosen twice");
    refuse_text("defaults: [{g: one, h: two}]\n", "one each");
    refuse_text("defaults: [g: '${nope}']\n", "there is no 'nope'");
    refuse_text("defaults: [g@_global_: list]\n", "cannot be merged");
    refuse_text("defaults: [g@a.b: one, _self_]\na: [1]\n", "cannot be merged");
}

static void references_that_lead_nowhere(void **state)
{
    (void)state;
    refuse_text("a: ${a}\n", "cycle");
    refuse_text("a: ${b}\nb: x${c}\nc: ${a}\n", "cycle");
    refuse_text("a: {b: '${a}'}\n", "what the reference stands in");
    refuse_text("a: {b: '${c}'}\nc: {d: '${a}'}\n", "cycle");
    refuse_text("a: ${b.c}\n", "bad.yaml:1: 'a': there is no 'b.c'");
    refuse_text("a: ${.b.c}\nb: 1\n", "has no keys below it");
    refuse_text("a: ${....b}\n", "above the root");
    refuse_text("a: ${oc.env:TTT_NO_SUCH_NAME}\n", "'TTT_NO_SUCH_NAME' is not set");
    refuse_text("a: ${oc.ev:X}\n", "did you mean 'oc.env'?");
    refuse_text("a: ${oc.env:a,b,c}\n", "not 3");
    refuse_text("a: ${b}\nb: [1]\nc: ${b.x}\n", "a list has no 'x'");
}

/* Each level refers to the one below twice. */
static void growth_is_bounded(void **state)
{
    (void)state;
    char text[8192] = "k0: aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\n";
    for (int i = 1; i < 60; i++) {
        size_t used = strlen(text);
        snprintf(text + used, sizeof text - used, "k%d: ${k%d}${k%d}\n", i, i - 1, i - 1);
    }
    refuse_text(text, "bytes with its references filled in");
    snprintf(text, sizeof text, "k0: [1, 2]\n");
    for (int i = 1; i < 60; i++) {
        size_t used = strlen(text);
        snprintf(text + used, sizeof text - used, "k%d: ['${k%d}', '${k%d}']\n", i, i - 1, i - 1);
    }
    refuse_text(text, "the configuration grows");
    snprintf(text, sizeof text, "k0: &k0 [1, 2]\n");
    for (int i = 1; i < 60; i++) {
        size_t used = strlen(text);
        snprintf(text + used, sizeof text - used, "k%d: &k%d [*k%d, *k%d]\n", i, i, i - 1, i - 1);
    }
    refuse_text(text, "the configuration grows");
}

static void depth_is_bounded(void **state)
{
    (void)state;
    static const char *const files[][3] = {
        {"[", "1", "]"}, {"{a: ", "1", "}"}, {"[", "", ""}, {"- ", "1", ""}, {"a: [", "", ""},
    };
    for (int i = 0; i < ARRAY_LEN(files); i++) {
        char *text = repeated(files[i][0], LEVELS, files[i][1], files[i][2]);
        put("bad.yaml", text, strlen(text));
        assert_refused("bad", NULL, "bad.yaml:");
        free(text);
    }
    put("good.yaml", "a: 1\n", 5);
    static const char *const overrides[][4] = {
        {"a=", "[", "1", "]"},  {"a=", "{b:", "1", "}"}, {"a=", "int(", "1", ")"},
        {"+", "x.", "y=1", ""}, {"a=", "[", "", ""},     {"a=${x", "${y", "", ""},
    };
    for (int i = 0; i < ARRAY_LEN(overrides); i++) {
        char *text = repeated(overrides[i][1], LEVELS, overrides[i][2], overrides[i][3]);
        size_t room = strlen(text) + 16;
        char *line = malloc(room);
        assert_non_null(line);
        snprintf(line, room, "%s%s", overrides[i][0], text);
        assert_refused("good", line, "");
        free(line);
        free(text);
    }
    char *text = repeated("${", LEVELS, "a", "}");
    size_t room = strlen(text) + 16;
    char *line = malloc(room);
    assert_non_null(line);
    snprintf(line, room, "b: %s\n", text);
    refuse_text(line, "nested");
    snprintf(line, room, "a=\"%s\"", text);
    assert_refused("good", line, "nested");
    free(line);
    free(text);
}

static void chains_are_bounded(void **state)
{
    (void)state;
    size_t room = (size_t)LEVELS * 32, used = 0;
    char *text = malloc(room);
    assert_non_null(text);
    for (int i = 0; i < 3000; i++)
        used += (size_t)snprintf(text + used, room - used, "k%d: ${k%d}\n", i, i + 1);
    snprintf(text + used, room - used, "k3000: 1\n");
    refuse_text(text, "nested too deeply");
    free(text);
}

static void size_is_bounded(void **state)
{
    (void)state;
    size_t size = 10 << 20;
    char *text = malloc(size + 1);
    assert_non_null(text);
    memset(text, 'a', size);
    text[size] = 0;
    put("bad.yaml", text, size);
    assert_refused("bad", NULL, "bad.yaml");
    text[1] = '=';
    assert_refused("good", text, "bytes; at most");
    for (size_t i = 0; i + 4 <= 1 << 20; i += 4) memcpy(text + i, "- a\n", 4);
    put("bad.yaml", text, 1 << 20);
    assert_refused("bad", NULL, "too many values");
    free(text);
}

/* Escapes of two bytes that become three: a text grows as it is read. */
static void escapes_have_room(void **state)
{
    (void)state;
    static const char *const escapes[] = {"\\L", "\\P", "\\N", "\\x41", "\\u0800", "\\U0010ffff"};
    static const size_t bytes[] = {3, 3, 2, 1, 3, 4};
    enum { N = 20000 };
    for (int k = 0; k < ARRAY_LEN(escapes); k++) {
        Err err;
        HyArena *a = hy_arena_new();
        size_t n = strlen(escapes[k]), size = N * n + 5;
        char *text = malloc(size + 1);
        strcpy(text, "a: \"");
        for (size_t i = 0; i < N; i++) memcpy(text + 4 + i * n, escapes[k], n);
        strcpy(text + size - 1, "\"");
        HyNode *root = hy_load_text(a, text, size, "long.yaml", &err);
        assert_non_null(root);
        assert_int_equal(strlen(hy_get(root, "a")->text), N * bytes[k]);
        free(text);
        hy_arena_free(a);
    }
}

static void sweeps_are_bounded(void **state)
{
    (void)state;
    static const char *const lines[] = {"a=range(1000000000)", "a=range(0,1,1e-9)",
                                        "a=range(0,1,0)", "a=interval(0,1)",
                                        "a=range(9223372036854775806,9223372036854775807,-1)"};
    for (int i = 0; i < ARRAY_LEN(lines); i++) {
        HyConfig h;
        Err err = {0};
        HyOptions o = {.folder = {{"main", scratch}},
                       .n_folders = 1,
                       .config_name = "good",
                       .overrides = &lines[i],
                       .n_overrides = 1,
                       .multirun = true,
                       .num = -1};
        if (hy_compose(&h, &o, &err) < 0) fail_msg("%s", err.text);
        HyNode *jobs = hy_sweep(&h, &err);
        if (i < 4 && (jobs || !*err.text)) fail_msg("accepted %s", lines[i]);
        if (i == 4) assert_int_equal(hy_count(jobs), 0);
        hy_config_free(&h);
    }
}

static int scratch_make(void **state)
{
    (void)state;
    if (temp_folder(scratch, sizeof scratch) < 0) return -1;
    put("good.yaml", "a: 1\n", 5);
    return 0;
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
        cmocka_unit_test(files_that_are_no_configuration),
        cmocka_unit_test(defaults_that_lead_nowhere),
        cmocka_unit_test(references_that_lead_nowhere),
        cmocka_unit_test(growth_is_bounded),
        cmocka_unit_test(depth_is_bounded),
        cmocka_unit_test(chains_are_bounded),
        cmocka_unit_test(size_is_bounded),
        cmocka_unit_test(escapes_have_room),
        cmocka_unit_test(sweeps_are_bounded),
    };
    return cmocka_run_group_tests(tests, scratch_make, scratch_remove);
}
