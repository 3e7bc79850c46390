/* Our configuration from a tree: Hydra's composition on top of the key table's defaults, then each
 * value checked by its row. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <time.h>

#include "base/file.h"
#include "base/mem.h"
#include "base/names.h"
#include "hydra/load.h"
#include "hydra/scalar.h"
#include "model/config_table.h"
#include "model/config_tree.h"

enum { KEY_MAX = 256, IDLE_SHOWN = 12 };

static const char base_name[] = "default"; /* what hydra calls the base's place */

/* Per row the value that the tree has for it; NULL: none. */
typedef struct Draft {
    HyArena *arena;
    const HyNode *value[CONFIG_KEYS_MAX];
} Draft;

static int node_fail(const Draft *d, const HyNode *node, const char *key, const char *what,
                     Err *err)
{
    char shown[NAME_SHOWN_MAX];
    return err_set(err, "%s: '%s' %s", hy_where(d->arena, node), name_show(shown, key), what);
}

static bool is_section(const char *name)
{
    int n;
    size_t size = strlen(name);
    const ConfigKey *keys = config_keys(&n);
    for (int i = 0; i < n; i++) {
        if (strncmp(keys[i].name, name, size) == 0 && keys[i].name[size] == '.') return true;
    }
    return false;
}

static int draft_read(Draft *d, const HyNode *map, const char *prefix, Err *err);

static int draft_put(Draft *d, const char *key, const HyNode *value, Err *err)
{
    int row = config_key_find(key);
    if (row >= 0 && value->kind == HY_MAP) {
        return node_fail(d, value, key, "takes a value; it has no keys below it", err);
    }
    if (row >= 0) {
        d->value[row] = value;
        return 0;
    }
    bool empty = value->kind == HY_NULL || (value->kind == HY_MAP && !value->first);
    if (value->kind == HY_MAP && !empty) return draft_read(d, value, key, err);
    if (is_section(key)) {
        return empty ? 0 : node_fail(d, value, key, "is a section; set the keys below it", err);
    }
    return config_key_unknown(key, hy_where(d->arena, value), err);
}

static int draft_read(Draft *d, const HyNode *map, const char *prefix, Err *err)
{
    if (map->kind != HY_MAP) {
        return node_fail(d, map, *prefix ? prefix : "the file", "must hold `key: value` lines",
                         err);
    }
    for (const HyNode *child = map->first; child; child = child->next) {
        char key[KEY_MAX];
        int n = snprintf(key, sizeof key, "%s%s%s", prefix, *prefix ? "." : "", child->key);
        if (n >= (int)sizeof key) return node_fail(d, child, child->key, "is too long a key", err);
        TRY(draft_put(d, key, child, err));
    }
    return 0;
}

static bool is_given(const HyNode *value)
{
    return value && !(value->file && strcmp(value->file, base_name) == 0);
}

/* The head is as wide as the vocabulary unless its width is given. */
static int draft_finish(const Draft *d, Config *c, Err *err)
{
    int n;
    const ConfigKey *keys = config_keys(&n);
    Config made;
    config_defaults(&made);
    for (int i = 0; i < n; i++) {
        const HyNode *value = d->value[i];
        if (value) TRY(config_key_set(&made, &keys[i], value, hy_where(d->arena, value), err));
    }
    if (!is_given(d->value[config_key_find("model.output_size")])) {
        made.model.output_size = made.model.vocab_size;
    }
    *c = made;
    return 0;
}

/* --- composition -------------------------------------------------------------------------------*/

char *config_base(void)
{
    int n;
    const ConfigKey *keys = config_keys(&n);
    char *text = NULL;
    size_t size = 0;
    FILE *out = open_memstream(&text, &size);
    mem_need(out, "a configuration");
    config_sections_print(out, keys, n);
    fclose(out);
    return text;
}

int config_take(Config *c, HyConfig *h, Err *err)
{
    Draft draft = {.arena = h->arena};
    HyEval eval = hy_eval_job(h, err);
    TRY(draft_read(&draft, h->job, "", err)); /* first, so that a wrong name is found as such */
    const HyNode *tree = hy_resolve(&eval, h->job, false);
    if (!tree) return -1;
    draft = (Draft){.arena = h->arena};
    TRY(draft_read(&draft, tree, "", err));
    return draft_finish(&draft, c, err);
}

/* A value as its key's type: what stands in Config, but ??? and null stay. */
static HyNode *typed_value(HyArena *a, const Config *c, const ConfigKey *key, const HyNode *from)
{
    char text[CONFIG_VALUE_MAX];
    if (hy_is_container(from) || hy_is_missing(from) || from->kind == HY_NULL) return NULL;
    if (key->offset >= 0) {
        config_key_get(c, key, text, sizeof text);
    } else {
        snprintf(text, sizeof text, "%s", hy_str(a, from));
    }
    const char *copy = hy_copy_text(a, text, strlen(text));
    switch (key->type) {
    case KEY_BOOL:
        return hy_new_bool(a, strchr("tTyY1", *copy) || strcasecmp(copy, "on") == 0);
    case KEY_INT:
    case KEY_INT_NULL:
        return hy_int_of_text(a, copy);
    case KEY_FLOAT:
        return hy_float_of_text(a, copy);
    default:
        return hy_new_text(a, copy);
    }
}

static void typed_put(HyArena *a, const Config *c, const Draft *d, HyNode *tree)
{
    int n;
    const ConfigKey *keys = config_keys(&n);
    for (int i = 0; i < n; i++) {
        HyNode *made = d->value[i] ? typed_value(a, c, &keys[i], d->value[i]) : NULL;
        if (made) hy_put(a, tree, keys[i].name, made);
        if (made) made->final = true;
    }
}

HyNode *config_typed(HyConfig *h, const Config *c, Err *err)
{
    Draft draft = {.arena = h->arena};
    HyEval eval = hy_eval_job(h, err);
    HyNode *tree = hy_resolve(&eval, h->job, false);
    if (!tree || draft_read(&draft, tree, "", err) < 0) return NULL;
    typed_put(h->arena, c, &draft, tree);
    return tree;
}

int config_check_missing(HyConfig *h, HyNode *tree, Err *err)
{
    int n;
    const ConfigKey *keys = config_keys(&n);
    for (int i = 0; i < n; i++) {
        HyNode *value = keys[i].offset >= 0 ? hy_find(tree, keys[i].name) : NULL;
        if (value) TRY(hy_check_missing(h->arena, value, err));
    }
    return 0;
}

static bool is_changed(HyArena *a, const ConfigKey *key, const HyNode *value)
{
    Err ignored;
    if (!value || hy_is_missing(value)) return false;
    const HyNode *usual = hy_yaml_plain(a, key->text, &ignored);
    if (!*key->text) return value->kind != HY_TEXT || *value->text;
    return !usual || !hy_equal(usual, value);
}

const char *config_idle(HyConfig *h)
{
    int n, count = 0;
    Err ignored;
    Draft draft = {.arena = h->arena};
    const ConfigKey *keys = config_keys(&n);
    const char *list = "";
    if (draft_read(&draft, h->job, "", &ignored) < 0) return NULL;
    for (int i = 0; i < n; i++) {
        if (keys[i].offset != CONFIG_NO_EFFECT || !is_changed(h->arena, &keys[i], draft.value[i]))
            continue;
        if (count++ < IDLE_SHOWN)
            list = hy_format(h->arena, "%s%s%s", list, count > 1 ? ", " : "", keys[i].name);
    }
    if (count == 0) return NULL;
    const char *more = "";
    if (count > IDLE_SHOWN) more = hy_format(h->arena, " and %d more", count - IDLE_SHOWN);
    return hy_format(h->arena, "without effect here (`ttt config --keys` says why): %s%s", list,
                     more);
}

HyOptions config_options(const char *folder, const char *base, const char *const *overrides,
                         int n_overrides)
{
    return (HyOptions){.folder = {{"main", folder}},
                       .n_folders = 1,
                       .config_name = "config",
                       .overrides = overrides,
                       .n_overrides = n_overrides,
                       .base = base,
                       .num = -1,
                       .now = time(NULL)};
}

int config_compose(Config *c, const char *config_dir, const char *const *overrides, int n_overrides,
                   Err *err)
{
    HyConfig h;
    char *base = config_base();
    HyOptions o = config_options(config_dir, base, overrides, n_overrides);
    int rc = hy_compose(&h, &o, err);
    if (rc == 0) rc = config_take(c, &h, err);
    hy_config_free(&h);
    free(base);
    return rc;
}

/* --- a resolved file ---------------------------------------------------------------------------*/

/* The model's keys end the file, so that one that was cut short lacks some. */
static int draft_check_complete(const Draft *d, const char *name, Err *err)
{
    int n;
    const ConfigKey *keys = config_keys(&n);
    for (int i = 0; i < n; i++) {
        if (strncmp(keys[i].name, "model.", 6) != 0 || keys[i].offset < 0) continue;
        if (d->value[i] || strcmp(keys[i].name, "model.output_size") == 0) continue;
        return err_set(err,
                       "%s: '%s' is missing; the file is cut short or not a resolved "
                       "configuration: take it from a complete model folder",
                       name, keys[i].name);
    }
    return 0;
}

static int parse(Config *c, HyArena *a, const char *text, size_t size, const char *name,
                 bool complete, Err *err)
{
    Draft draft = {.arena = a};
    const HyNode *root = hy_load_text(a, text, size, name, err);
    if (!root) return -1;
    TRY(draft_read(&draft, root, "", err));
    if (complete) TRY(draft_check_complete(&draft, name, err));
    return draft_finish(&draft, c, err);
}

int config_parse(Config *c, const char *text, size_t size, const char *name, bool complete,
                 Err *err)
{
    HyArena *a = hy_arena_new();
    int rc = parse(c, a, text, size, name, complete, err);
    hy_arena_free(a);
    return rc;
}

int config_read(Config *c, const char *path, Err *err)
{
    char *data = NULL;
    size_t size = 0;
    TRY(file_read(path, &data, &size, HY_MAX_TEXT, err));
    int rc = config_parse(c, data, size, path, true, err);
    free(data);
    return rc;
}
