/* Merging values key by key, and following ${a.b} and ${oc.env:NAME,default} at the end. */
#include "model/config_draft.h"

#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "base/names.h"

enum { WHERE_MAX = CFG_PATH + 32, KEY_MAX = 256, MAX_REFERENCES = 32 };

static int node_fail(const YamlNode *node, const char *key, const char *what, Err *err)
{
    char where[WHERE_MAX], shown[NAME_SHOWN_MAX];
    return err_set(err, "%s: '%s' %s", yaml_where(node, where, sizeof where), name_show(shown, key),
                   what);
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

int draft_put(Draft *d, const char *key, const YamlNode *value, Err *err)
{
    char where[WHERE_MAX];
    int row = config_key_find(key);
    if (row >= 0 && value->kind == YAML_MAP) {
        return node_fail(value, key, "takes a value; it has no keys below it", err);
    }
    if (row >= 0) {
        d->value[row] = value;
        return 0;
    }
    bool empty = yaml_is_null(value) || (value->kind == YAML_MAP && !value->first);
    if (is_section(key)) {
        if (value->kind == YAML_MAP) return draft_merge(d, value, key, err);
        return empty ? 0 : node_fail(value, key, "is a section; set the keys below it", err);
    }
    if (value->kind == YAML_MAP && !empty) return draft_merge(d, value, key, err);
    return config_key_unknown(key, yaml_where(value, where, sizeof where), err);
}

int draft_merge(Draft *d, const YamlNode *map, const char *prefix, Err *err)
{
    if (map->kind != YAML_MAP) {
        return node_fail(map, *prefix ? prefix : "the file", "must hold `key: value` lines", err);
    }
    for (const YamlNode *child = map->first; child; child = child->next) {
        char key[KEY_MAX];
        if (!map->key && strcmp(child->key, "defaults") == 0) continue;
        int n = snprintf(key, sizeof key, "%s%s%s", prefix, *prefix ? "." : "", child->key);
        if (n >= (int)sizeof key) return node_fail(child, child->key, "is too long a key", err);
        TRY(draft_put(d, key, child, err));
    }
    return 0;
}

/* --- references --------------------------------------------------------------------------------*/

typedef struct Expansion {
    const Draft *draft;
    const YamlNode *place; /* where the value stands, for messages */
    FILE *out;
    int steps; /* references followed; a cycle runs out of them */
    Err *err;
} Expansion;

static int expand_text(Expansion *x, const char *text);

static int expand_env(Expansion *x, char *name)
{
    char *fallback = strchr(name, ',');
    if (fallback) *fallback++ = 0;
    const char *value = getenv(name);
    if (!value) value = fallback;
    if (!value) return node_fail(x->place, name, "is not set in the environment; set it", x->err);
    fputs(value, x->out);
    return 0;
}

static int expand_key(Expansion *x, const char *key)
{
    char where[WHERE_MAX];
    int n, row = config_key_find(key);
    if (row < 0) return config_key_unknown(key, yaml_where(x->place, where, sizeof where), x->err);
    if (++x->steps > MAX_REFERENCES) {
        return node_fail(x->place, key, "is part of a cycle of references; break it", x->err);
    }
    const YamlNode *value = x->draft->value[row];
    const ConfigKey *keys = config_keys(&n);
    if (keys[row].type == KEY_LIST || (value && value->kind != YAML_SCALAR)) {
        return node_fail(x->place, key, "is a list; only single values can be referred to", x->err);
    }
    return expand_text(x, value ? value->text : keys[row].text);
}

static int expand_reference(Expansion *x, const char *text, size_t size)
{
    static const char env[] = "oc.env:";
    char inside[CFG_PATH];
    if (size >= sizeof inside) return node_fail(x->place, text, "is too long", x->err);
    memcpy(inside, text, size);
    inside[size] = 0;
    if (strncmp(inside, env, sizeof env - 1) == 0) {
        return expand_env(x, inside + sizeof env - 1);
    }
    if (strpbrk(inside, ":${")) {
        return node_fail(x->place, inside,
                         "is not a reference; write ${section.key} or "
                         "${oc.env:NAME,default}",
                         x->err);
    }
    return expand_key(x, inside);
}

static int expand_text(Expansion *x, const char *text)
{
    for (const char *start; (start = strstr(text, "${")) != NULL;) {
        const char *end = strchr(start, '}');
        if (!end) return node_fail(x->place, text, "opens '${' without a '}'", x->err);
        fwrite(text, 1, (size_t)(start - text), x->out);
        TRY(expand_reference(x, start + 2, (size_t)(end - start) - 2));
        text = end + 1;
    }
    fputs(text, x->out);
    if (ftell(x->out) < CFG_PATH) return 0;
    return node_fail(x->place, text, "is too long with its references filled in", x->err);
}

/* A scalar with its references filled in, its text to be freed. */
static int node_expand(const Draft *d, const YamlNode *node, YamlNode *out, Err *err)
{
    size_t size = 0;
    *out = *node;
    out->text = NULL;
    Expansion x = {d, node, open_memstream(&out->text, &size), 0, err};
    CHECK(x.out, "out of memory while composing a configuration");
    int rc = expand_text(&x, node->text);
    fclose(x.out);
    return rc;
}

static bool has_reference(const YamlNode *node)
{
    return node->kind == YAML_SCALAR && strstr(node->text, "${");
}

static int list_expand(const Draft *d, const YamlNode *list, const ConfigKey *key, Config *c,
                       Err *err)
{
    YamlNode items[CFG_MAX_SPECS], whole = *list;
    int n = 0, rc = 0;
    for (const YamlNode *item = list->first; item && rc == 0; item = item->next) {
        if (n == CFG_MAX_SPECS || item->kind != YAML_SCALAR) break;
        rc = node_expand(d, item, &items[n], err);
        items[n].next = NULL;
        if (n > 0) items[n - 1].next = &items[n];
        n++;
        if (!item->next) whole.first = items; /* complete: a list with a fault is left as it is */
    }
    if (rc == 0) rc = config_key_set(c, key, &whole, err);
    for (int i = 0; i < n; i++) free(items[i].text);
    return rc;
}

static int value_finish(const Draft *d, const YamlNode *value, const ConfigKey *key, Config *c,
                        Err *err)
{
    if (value->kind == YAML_LIST) return list_expand(d, value, key, c, err);
    if (!has_reference(value)) return config_key_set(c, key, value, err);
    YamlNode filled;
    int rc = node_expand(d, value, &filled, err);
    filled.quoted = rc == 0 && !filled.text[0]; /* nothing filled in is an empty text, no null */
    if (rc == 0) rc = config_key_set(c, key, &filled, err);
    free(filled.text);
    return rc;
}

int draft_finish(const Draft *d, Config *c, bool follow, Err *err)
{
    int n;
    const ConfigKey *keys = config_keys(&n);
    Config made;
    config_defaults(&made);
    for (int i = 0; i < n; i++) {
        const YamlNode *value = d->value[i];
        if (value && follow) TRY(value_finish(d, value, &keys[i], &made, err));
        if (value && !follow) TRY(config_key_set(&made, &keys[i], value, err));
    }
    if (!d->value[config_key_find("model.output_size")]) {
        made.model.output_size = made.model.vocab_size;
    }
    *c = made;
    return 0;
}

/* --- a resolved file ---------------------------------------------------------------------------*/

/* The model's keys end the file, so that one that was cut short lacks some. */
static int draft_check_complete(const Draft *d, const char *name, Err *err)
{
    int n;
    const ConfigKey *keys = config_keys(&n);
    for (int i = 0; i < n; i++) {
        if (strncmp(keys[i].name, "model.", 6) != 0 || keys[i].offset == CONFIG_NO_FIELD) continue;
        if (d->value[i] || strcmp(keys[i].name, "model.output_size") == 0) continue;
        return err_set(err,
                       "%s: '%s' is missing; the file is cut short or not a resolved "
                       "configuration: take it from a complete model folder",
                       name, keys[i].name);
    }
    return 0;
}

int config_parse(Config *c, const char *text, size_t size, const char *name, bool complete,
                 Err *err)
{
    Draft draft = {0};
    YamlDoc *doc = yaml_parse(text, size, name, err);
    if (!doc) return -1;
    int rc = draft_merge(&draft, doc->root, "", err);
    if (rc == 0 && complete) rc = draft_check_complete(&draft, name, err);
    if (rc == 0) rc = draft_finish(&draft, c, false, err);
    yaml_free(doc);
    return rc;
}

int config_read(Config *c, const char *path, Err *err)
{
    char *data = NULL;
    size_t size = 0;
    TRY(file_read(path, &data, &size, YAML_MAX_BYTES, err));
    int rc = config_parse(c, data, size, path, true, err);
    free(data);
    return rc;
}
