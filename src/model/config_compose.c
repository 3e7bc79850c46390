/* Composition: config.yaml names a file per group, experiments change those choices and add values,
 * overrides come last. The part of Hydra's rules that training configurations use:
 *   defaults: [- GROUP: OPTION, - OPTION (same group), - /GROUP: OPTION, - override /GROUP: OPTION,
 *   - _self_ (else at the end)], "# @package _global_", ${key} and ${oc.env:NAME,default}. */
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "base/names.h"
#include "model/config_draft.h"
#include "model/config_group.h"

enum {
    MAX_DOCS = 256,
    MAX_CHOICES = 32,
    MAX_DEPTH = 16,
    GROUP_MAX = 64,
    WHERE_MAX = CFG_PATH + 32
};

typedef struct Choice {
    char group[GROUP_MAX]; /* "": config.yaml's own values */
    char option[CFG_TEXT];
    bool fixed; /* named by an override, which no file changes */
} Choice;

typedef struct Composer {
    const char *dir;
    YamlDoc *docs[MAX_DOCS];
    int n_docs;
    Choice choices[MAX_CHOICES];
    int n_choices;
    Draft draft;
    Err *err;
} Composer;

/* One line of a defaults list. */
typedef struct Entry {
    const YamlNode *node;
    bool self, override;
    char group[GROUP_MAX]; /* "": the group of the file itself */
    char option[CFG_TEXT]; /* "": none (null) */
} Entry;

static int entry_fail(const Composer *x, const YamlNode *node, const char *what)
{
    char where[WHERE_MAX];
    return err_set(x->err, "%s: defaults: %s", yaml_where(node, where, sizeof where), what);
}

static int doc_keep(Composer *x, YamlDoc *doc)
{
    if (!doc) return -1;
    if (x->n_docs == MAX_DOCS) {
        yaml_free(doc);
        return err_set(x->err, "more than %d files and overrides; compose from fewer", MAX_DOCS);
    }
    x->docs[x->n_docs++] = doc;
    return 0;
}

static const YamlDoc *doc_open(Composer *x, const char *group, const char *option)
{
    if (doc_keep(x, group_read(x->dir, group, option, x->err)) < 0) return NULL;
    return x->docs[x->n_docs - 1];
}

static int text_take(const Composer *x, const YamlNode *node, const char *text, char *out,
                     size_t size)
{
    if (strlen(text) >= size) return entry_fail(x, node, "a name is too long");
    memcpy(out, text, strlen(text) + 1);
    return 0;
}

/* Reads "- _self_", "- OPTION", "- [override ][/]GROUP: OPTION". */
static int entry_read(const Composer *x, const YamlNode *node, Entry *e)
{
    static const char override[] = "override ";
    const YamlNode *pair = node->kind == YAML_MAP ? node->first : NULL;
    *e = (Entry){.node = node};
    if (node->kind == YAML_SCALAR && !yaml_is_null(node)) {
        e->self = strcmp(node->text, "_self_") == 0;
        if (e->self) return 0;
        return text_take(x, node, node->text, e->option, sizeof e->option);
    }
    if (!pair || pair->next || pair->kind != YAML_SCALAR) {
        return entry_fail(x, node, "write `- group: option`, `- option` or `- _self_`");
    }
    const char *group = pair->key;
    if (strncmp(group, override, sizeof override - 1) == 0) {
        e->override = true;
        group += sizeof override - 1;
    }
    group += *group == '/';
    TRY(text_take(x, node, group, e->group, sizeof e->group));
    if (!group_exists(x->dir, e->group)) return entry_fail(x, node, "no such group folder");
    if (yaml_is_null(pair)) return 0;
    return text_take(x, node, pair->text, e->option, sizeof e->option);
}

/* The first entry of a document's defaults list; NULL: it has none. */
static int defaults_of(const Composer *x, const YamlDoc *doc, const YamlNode **first)
{
    *first = NULL;
    if (doc->root->kind != YAML_MAP) return 0;
    for (const YamlNode *child = doc->root->first; child; child = child->next) {
        if (strcmp(child->key, "defaults") != 0) continue;
        if (child->kind != YAML_LIST) return entry_fail(x, child, "must be a list");
        *first = child->first;
    }
    return 0;
}

static Choice *choice_find(Composer *x, const char *group)
{
    for (int i = 0; i < x->n_choices; i++) {
        if (strcmp(x->choices[i].group, group) == 0) return &x->choices[i];
    }
    return NULL;
}

static int choice_add(Composer *x, const char *group, const char *option, bool fixed)
{
    if (x->n_choices == MAX_CHOICES) return err_set(x->err, "more than %d groups", MAX_CHOICES);
    Choice *choice = &x->choices[x->n_choices++];
    snprintf(choice->group, sizeof choice->group, "%s", group);
    snprintf(choice->option, sizeof choice->option, "%s", option);
    choice->fixed = fixed;
    return 0;
}

/* --- first: which file of each group
 * ------------------------------------------------------------*/

static int root_choices(Composer *x, const YamlDoc *root)
{
    const YamlNode *node;
    TRY(defaults_of(x, root, &node));
    for (; node; node = node->next) {
        Entry e;
        TRY(entry_read(x, node, &e));
        if (!e.self && !e.group[0]) return entry_fail(x, node, "name the group: `- group: option`");
        if (choice_find(x, e.group)) return entry_fail(x, node, "a group stands here twice");
        TRY(choice_add(x, e.group, e.option, false));
    }
    return choice_find(x, "") ? 0 : choice_add(x, "", "", false);
}

/* Follows the "override" entries of a chosen file and of the files it includes. */
static int choices_change(Composer *x, const char *group, const char *option, int depth)
{
    const YamlNode *node;
    const YamlDoc *doc = doc_open(x, group, option);
    if (!doc) return -1;
    TRY(defaults_of(x, doc, &node));
    for (; node; node = node->next) {
        Entry e;
        TRY(entry_read(x, node, &e));
        if (e.self || !e.option[0]) continue;
        if (!e.override) {
            if (depth == MAX_DEPTH) return entry_fail(x, node, "files include each other");
            TRY(choices_change(x, e.group[0] ? e.group : group, e.option, depth + 1));
            continue;
        }
        Choice *choice = choice_find(x, e.group);
        if (!choice) return entry_fail(x, node, "override of a group that config.yaml lacks");
        if (!choice->fixed) snprintf(choice->option, sizeof choice->option, "%s", e.option);
    }
    return 0;
}

/* --- then: their values, in order
 * ---------------------------------------------------------------*/

static int self_merge(Composer *x, const YamlDoc *doc, const char *group)
{
    char package[GROUP_MAX];
    const char *given = doc->package;
    snprintf(package, sizeof package, "%s", *given ? given : group);
    if (strcmp(given, "_global_") == 0) package[0] = 0;
    for (char *s = package; *s; s++) {
        if (*s == '/') *s = '.';
    }
    return draft_merge(&x->draft, doc->root, package, x->err);
}

static int file_merge(Composer *x, const char *group, const char *option, int depth)
{
    const YamlNode *node;
    const YamlDoc *doc = doc_open(x, group, option);
    bool merged = false;
    if (!doc) return -1;
    TRY(defaults_of(x, doc, &node));
    for (; node; node = node->next) {
        Entry e;
        TRY(entry_read(x, node, &e));
        if (e.self) {
            merged = true;
            TRY(self_merge(x, doc, group));
        } else if (!e.override && e.option[0]) {
            if (depth == MAX_DEPTH) return entry_fail(x, node, "files include each other");
            TRY(file_merge(x, e.group[0] ? e.group : group, e.option, depth + 1));
        }
    }
    return merged ? 0 : self_merge(x, doc, group);
}

static int choices_merge(Composer *x, const YamlDoc *root)
{
    for (int i = 0; i < x->n_choices; i++) {
        const Choice *choice = &x->choices[i];
        if (!choice->group[0]) {
            TRY(self_merge(x, root, ""));
        } else if (choice->option[0]) {
            TRY(file_merge(x, choice->group, choice->option, 0));
        }
    }
    return 0;
}

/* --- overrides ---------------------------------------------------------------------------------*/

/* Splits "[+[+]]KEY=VALUE"; *value points into text. */
static int override_split(const char *text, char *key, size_t size, const char **value, Err *err)
{
    char shown[NAME_SHOWN_MAX];
    name_show(shown, text);
    const char *start = text + strspn(text, "+"), *equal = strchr(start, '=');
    if (*text == '~') return err_set(err, "override '%s': a key cannot be deleted", shown);
    if (!equal || equal == start || start - text > 2) {
        return err_set(err,
                       "override '%s' is not KEY=VALUE; write training.total_steps=100 or "
                       "+experiment=NAME",
                       shown);
    }
    if ((size_t)(equal - start) >= size) return err_set(err, "override '%s': key too long", shown);
    memcpy(key, start, (size_t)(equal - start));
    key[equal - start] = 0;
    *value = equal + 1;
    return 0;
}

/* A group's override chooses a file; one that config.yaml does not list is appended. */
static int override_choose(Composer *x, const char *text)
{
    char key[CFG_TEXT];
    const char *value;
    TRY(override_split(text, key, sizeof key, &value, x->err));
    if (!group_exists(x->dir, key)) return 0;
    if (strlen(key) >= GROUP_MAX || strlen(value) >= CFG_TEXT) {
        return err_set(x->err, "override: a group or option of more than %d bytes", CFG_TEXT - 1);
    }
    if (strcmp(value, "null") == 0) value = "";
    Choice *choice = choice_find(x, key);
    if (!choice) return choice_add(x, key, value, true);
    snprintf(choice->option, sizeof choice->option, "%s", value);
    choice->fixed = true;
    return 0;
}

static int override_put(Composer *x, const char *text)
{
    char key[CFG_TEXT];
    const char *value;
    TRY(override_split(text, key, sizeof key, &value, x->err));
    if (group_exists(x->dir, key)) return 0;
    if (!strchr(key, '.')) {
        char shown[NAME_SHOWN_MAX];
        return err_set(x->err,
                       "override: '%s' is neither a key (such as model.hidden_size) nor a group "
                       "folder in %.256s",
                       name_show(shown, key), x->dir);
    }
    TRY(doc_keep(x, yaml_value(value, "override", x->err)));
    return draft_put(&x->draft, key, x->docs[x->n_docs - 1]->root, x->err);
}

static int compose(Composer *x, Config *c, const char *const *overrides, int n)
{
    char path[PATH_MAX];
    TRY(path_join(path, sizeof path, x->dir, "config.yaml", x->err));
    TRY(doc_keep(x, yaml_read(path, x->err)));
    const YamlDoc *root = x->docs[0];
    TRY(root_choices(x, root));
    for (int i = 0; i < n; i++) TRY(override_choose(x, overrides[i]));
    for (int i = 0; i < x->n_choices; i++) {
        const Choice *choice = &x->choices[i];
        if (choice->option[0]) TRY(choices_change(x, choice->group, choice->option, 0));
    }
    TRY(choices_merge(x, root));
    for (int i = 0; i < n; i++) TRY(override_put(x, overrides[i]));
    return draft_finish(&x->draft, c, true, x->err);
}

int config_compose(Config *c, const char *config_dir, const char *const *overrides, int n_overrides,
                   Err *err)
{
    Composer *x = calloc(1, sizeof *x);
    CHECK(x, "out of memory while composing a configuration");
    x->dir = config_dir;
    x->err = err;
    int rc = compose(x, c, overrides, n_overrides);
    for (int i = 0; i < x->n_docs; i++) yaml_free(x->docs[i]);
    free(x);
    return rc;
}
