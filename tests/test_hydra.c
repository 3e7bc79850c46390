/* Composition, resolution and sweeps against what Hydra 1.3.8 gave for the same trees and
 * overrides: tests/fixtures/hydra (given with the project) and tests/fixtures/hydra_own (made
 * here). Results are compared with the order of their keys. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <jansson.h>

#include "gz_json.h"
#include "hydra/compose.h"
#include "hydra/emit.h"
#include "paths.h"

enum { MAX_OVERRIDES = 32, PATH_SIZE = 1024 };

typedef struct Case {
    const char *folder; /* of the fixtures */
    json_t *json;
    const char *overrides[MAX_OVERRIDES];
    int n;
} Case;

static const char *fixture(const char *folder, const char *name)
{
    char path[PATH_SIZE];
    snprintf(path, sizeof path, "tests/fixtures/%s/%s", folder, name);
    return source_file(path);
}

/* Equal values in the same order; numbers of the same kind. */
static bool json_same(const json_t *a, const json_t *b)
{
    if (json_typeof(a) != json_typeof(b)) return false;
    if (json_is_array(a)) {
        if (json_array_size(a) != json_array_size(b)) return false;
        for (size_t i = 0; i < json_array_size(a); i++) {
            if (!json_same(json_array_get(a, i), json_array_get(b, i))) return false;
        }
        return true;
    }
    if (!json_is_object(a)) return json_equal(a, b);
    void *y = json_object_iter((json_t *)(uintptr_t)b);
    void *x = json_object_iter((json_t *)(uintptr_t)a);
    for (; x && y; x = json_object_iter_next((json_t *)(uintptr_t)a, x),
                   y = json_object_iter_next((json_t *)(uintptr_t)b, y)) {
        if (strcmp(json_object_iter_key(x), json_object_iter_key(y)) != 0) return false;
        if (!json_same(json_object_iter_value(x), json_object_iter_value(y))) return false;
    }
    return !x && !y;
}

static void case_read(Case *c, const char *folder, json_t *json)
{
    json_t *list = json_object_get(json, "overrides");
    *c = (Case){.folder = folder, .json = json, .n = (int)json_array_size(list)};
    assert_true(c->n <= MAX_OVERRIDES);
    for (int i = 0; i < c->n; i++)
        c->overrides[i] = json_string_value(json_array_get(list, (size_t)i));
}

static int compose(HyConfig *out, const Case *c, bool multirun, Err *err)
{
    const char *name = json_string_value(json_object_get(c->json, "config"));
    static char conf[PATH_MAX];
    snprintf(conf, sizeof conf, "%s", fixture(c->folder, "conf"));
    HyOptions o = {.folder = {{"main", conf}},
                   .n_folders = 1,
                   .config_name = name ? name : "config",
                   .overrides = c->overrides,
                   .n_overrides = c->n,
                   .multirun = multirun,
                   .num = -1,
                   .now = 0};
    return hy_compose(out, &o, err);
}

static bool report(const Case *c, const char *what, const char *detail)
{
    char *line = json_dumps(json_object_get(c->json, "overrides"), JSON_COMPACT);
    const char *name = json_string_value(json_object_get(c->json, "config"));
    fprintf(stderr, "%s %s %s: %s: %s\n", c->folder, name ? name : "", line, what, detail);
    free(line);
    return false;
}

static bool same_as(const Case *c, const char *what, HyArena *a, const HyNode *tree)
{
    json_t *want = json_object_get(c->json, what);
    char *text = hy_json(a, tree);
    json_t *got = json_loads(text, JSON_DECODE_ANY, NULL);
    bool same = got && want && json_same(got, want);
    if (!same) {
        char *shown = want ? json_dumps(want, JSON_INDENT(2)) : NULL;
        report(c, what, "differs");
        fprintf(stderr, "wanted %s\ngot %s\n", shown ? shown : "(nothing)", text);
        free(shown);
    }
    json_decref(got);
    return same;
}

static bool case_holds(const Case *c)
{
    HyConfig h;
    Err err = {0};
    bool good = true;
    bool fails = json_object_get(c->json, "expect_error");
    const char *stage = json_string_value(json_object_get(c->json, "stage"));
    int rc = compose(&h, c, false, &err);
    if (rc < 0 || (stage && strcmp(stage, "compose") == 0)) {
        bool right = rc < 0 && stage && strcmp(stage, "compose") == 0;
        if (!right) report(c, rc < 0 ? "refused" : "not refused", err.text);
        good = right && !strchr(err.text, '\n');
    } else {
        HyEval e = hy_eval_job(&h, &err);
        good = same_as(c, "unresolved", h.arena, h.job);
        HyNode *tree = hy_resolve(&e, h.job, true);
        if (!tree != fails) {
            good = report(c, tree ? "resolved" : "not resolved", err.text);
        } else if (tree) {
            good = same_as(c, "expect", h.arena, tree) && good;
        }
    }
    hy_config_free(&h);
    return good;
}

static json_t *load(const char *folder, const char *name)
{
    json_error_t error;
    json_t *all = gz_json_load(fixture(folder, name), JSON_ALLOW_NUL, &error);
    if (!all) fail_msg("%s: %s", name, error.text);
    return all;
}

static void cases_hold(const char *folder, size_t at_least)
{
    json_t *all = load(folder, "cases.json.gz");
    int wrong = 0;
    setenv("TTT_TEST_HOME", "/home/t", 1);
    for (size_t i = 0; i < json_array_size(all); i++) {
        Case c;
        case_read(&c, folder, json_array_get(all, i));
        wrong += !case_holds(&c);
    }
    assert_true(json_array_size(all) >= at_least);
    if (wrong > 0) fail_msg("%d of %d cases", wrong, (int)json_array_size(all));
    json_decref(all);
}

static bool sweep_holds(const Case *c)
{
    HyConfig h;
    Err err = {0};
    bool good = true;
    HyNode *jobs = NULL;
    if (compose(&h, c, true, &err) == 0) jobs = hy_sweep(&h, &err);
    bool fails = json_object_get(c->json, "expect_error");
    if (!jobs != fails)
        good = report(c, jobs ? "not refused" : "refused", err.text);
    else if (jobs)
        good = same_as(c, "jobs", h.arena, jobs);
    hy_config_free(&h);
    return good;
}

static void sweeps_hold(const char *folder, size_t at_least)
{
    json_t *all = load(folder, "sweeps.json");
    int wrong = 0;
    for (size_t i = 0; i < json_array_size(all); i++) {
        Case c;
        case_read(&c, folder, json_array_get(all, i));
        wrong += !sweep_holds(&c);
    }
    assert_true(json_array_size(all) >= at_least);
    if (wrong > 0) fail_msg("%d of %d sweeps", wrong, (int)json_array_size(all));
    json_decref(all);
}

static void given_cases(void **state)
{
    (void)state;
    cases_hold("hydra", 59);
}

static void own_cases(void **state)
{
    (void)state;
    cases_hold("hydra_own", 150);
}

static void given_sweeps(void **state)
{
    (void)state;
    sweeps_hold("hydra", 9);
}

static void own_sweeps(void **state)
{
    (void)state;
    sweeps_hold("hydra_own", 40);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(given_cases),
        cmocka_unit_test(own_cases),
        cmocka_unit_test(given_sweeps),
        cmocka_unit_test(own_sweeps),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
