/* Building the tree of defaults. Files are gone through from the last line to the first, so that an
 * "override" further down, or in a file named further down, is known before the line it changes. */
#include "hydra/defaults.h"

#include <string.h>

#include "base/names.h"
#include "hydra/defaults_entry.h"
#include "hydra/refer.h"
#include "hydra/scalar.h"

enum { MAX_DEPTH = 64, MAX_ENTRIES = 4096 };

/* A changed choice of a group, from the command line or from an "override" line. */
typedef struct Choice Choice;
struct Choice {
    const char *key, *place; /* place NULL: the command line's */
    const HyNode *value;
    bool used;
    Choice *next;
};

typedef struct Builder {
    HyArena *arena;
    HyRepo *repo;
    Choice *changes, *deletions;
    HyEntry *appended[MAX_ENTRIES];
    int n_appended, n_entries, depth;
    bool skip_missing;
    HyDefaults *out;
    Err *err;
} Builder;

static int expand(Builder *b, HyEntry *e, const HyEntry *parent, bool referred);

static Choice *choice_find(Choice *list, const char *key)
{
    for (; list; list = list->next) {
        if (strcmp(list->key, key) == 0) return list;
    }
    return NULL;
}

static Choice *choice_add(Builder *b, Choice **list, const char *key, const HyNode *value)
{
    Choice *choice = choice_find(*list, key);
    if (!choice) {
        choice = hy_alloc(b->arena, sizeof *choice);
        Choice **end = list;
        while (*end) end = &(*end)->next;
        *end = choice;
    }
    *choice = (Choice){.key = key, .value = value, .next = choice->next};
    return choice;
}

/* --- overrides of groups -----------------------------------------------------------------------*/

static int take_override(Builder *b, const HyOverride *o)
{
    HyNode *value = o->value.node;
    char shown[NAME_SHOWN_MAX];
    name_show(shown, o->line);
    bool text = value->kind == HY_TEXT, list = value->kind == HY_LIST;
    if (o->value.sweep != HY_ONE) return 0;
    if (value->kind == HY_MAP || !hy_group_exists(b->repo, o->key)) {
        b->out->value[b->out->n_values++] = o;
        return 0;
    }
    if (o->change == HY_FORCE_ADD) {
        return err_set(b->err, "override '%s': '++' is for values; write '+' for a group", shown);
    }
    const char *key = o->package ? hy_format(b->arena, "%s@%s", o->key, o->package) : o->key;
    if (o->change == HY_DELETE) {
        if (!text && value->kind != HY_NULL)
            return err_set(b->err, "override '%s': a group's option is a name", shown);
        choice_add(b, &b->deletions, key, value);
        return 0;
    }
    if (!text && !list) {
        return err_set(b->err, "override '%s': a group's option is a name; quote it", shown);
    }
    for (const HyNode *x = list ? value->first : NULL; x; x = x->next) {
        if (x->kind != HY_TEXT)
            return err_set(b->err, "override '%s': a group's options are names", shown);
    }
    if (o->change == HY_CHANGE) {
        choice_add(b, &b->changes, key, value);
        return 0;
    }
    if (b->n_appended == MAX_ENTRIES) return err_set(b->err, "too many overrides");
    HyEntry *e = hy_alloc(b->arena, sizeof *e);
    *e = (HyEntry){.is_group = true,
                   .group = o->key,
                   .value = text ? value->text : NULL,
                   .options = list ? value : NULL,
                   .package = o->package && strcmp(o->package, "_here_") == 0 ? "" : o->package,
                   .appended = true,
                   .place = hy_format(b->arena, "override '%s'", shown),
                   .n_children = -1};
    b->appended[b->n_appended++] = e;
    return 0;
}

/* Takes the option that an override gives to an entry. */
static void change_apply(Builder *b, HyEntry *e)
{
    if (!e->is_group || hy_entry_is_self(e)) return;
    Choice *change = choice_find(b->changes, hy_entry_key(b->arena, e));
    if (!change) return;
    change->used = true;
    e->value = change->value->kind == HY_TEXT ? change->value->text : NULL;
    e->options = change->value->kind == HY_LIST ? change->value : NULL;
}

/* --- one file's list ---------------------------------------------------------------------------*/

typedef struct List {
    HyEntry *entry[MAX_ENTRIES];
    int n;
    bool self_added;
} List;

static int list_add(Builder *b, List *list, HyEntry *e)
{
    if (list->n == MAX_ENTRIES || ++b->n_entries > MAX_ENTRIES) {
        return err_set(b->err, "%s: defaults: more than %d files, or files that name each other",
                       e->place, MAX_ENTRIES);
    }
    list->entry[list->n++] = e;
    return 0;
}

static HyEntry *self_new(Builder *b, const char *place)
{
    HyEntry *self = hy_alloc(b->arena, sizeof *self);
    *self = (HyEntry){.group = "_self_", .place = place, .n_children = -1};
    return self;
}

/* The lines of a file, with _self_ at the end where it is not said. */
static int list_read(Builder *b, const HyFile *file, bool primary, List *list)
{
    bool self = false, other = false;
    for (HyNode *line = file->defaults ? file->defaults->first : NULL; line; line = line->next) {
        HyEntry *e = hy_alloc(b->arena, sizeof *e);
        TRY(hy_entry_read(b->arena, line, e, b->err));
        if (hy_entry_is_self(e) && self)
            return err_set(b->err, "%s: defaults: a second _self_", e->place);
        self = self || hy_entry_is_self(e);
        other = other || !e->override;
        TRY(list_add(b, list, e));
    }
    if (list->n == 0 && !(primary && b->n_appended > 0)) return 0;
    if ((!self && other) || list->n == 0) {
        list->self_added = true;
        TRY(list_add(b, list, self_new(b, file->path)));
    }
    for (int i = 0; primary && i < b->n_appended; i++) TRY(list_add(b, list, b->appended[i]));
    return 0;
}

/* Notes the "override" lines; they stand at the end of their list. */
static int list_overrides(Builder *b, const HyEntry *parent, List *list, bool referred)
{
    const HyEntry *last = NULL;
    const char *group = hy_entry_group(b->arena, parent);
    const char *package = hy_entry_package(b->arena, parent, true);
    for (int i = 0; i < list->n; i++) {
        HyEntry *e = list->entry[i];
        if (hy_entry_is_self(e)) continue;
        hy_entry_place(b->arena, e, group, package);
        if (last && !e->override && !e->appended) {
            return err_set(b->err, "%s: defaults: `override` lines must be the last ones",
                           e->place);
        }
        if (!e->override) continue;
        last = e;
        if (referred) {
            return err_set(b->err,
                           "%s: defaults: no `override` below a group that a reference chooses",
                           e->place);
        }
        const char *key = hy_entry_key(b->arena, e);
        if (choice_find(b->changes, key)) continue;
        HyNode *value = hy_new(b->arena, HY_NULL);
        if (e->value) value = hy_new_text(b->arena, e->value);
        choice_add(b, &b->changes, key, e->options ? e->options : value)->place = e->place;
    }
    return 0;
}

/* "${model}_x" in a list is filled in from the choices made. */
static HyNode *choices_map(Builder *b, const List *list)
{
    HyNode *map = hy_copy(b->arena, b->out->choices);
    if (!map) {
        hy_check_size(b->arena, b->err);
        return NULL;
    }
    HyNode *lines = hy_new(b->arena, HY_LIST);
    for (int i = 0; i < list->n; i++) {
        const HyEntry *e = list->entry[i];
        HyNode *item;
        if (list->self_added && hy_entry_is_self(e)) continue;
        if (hy_entry_is_self(e)) {
            item = hy_new_text(b->arena, "_self_");
        } else if (e->is_group) {
            item = hy_new(b->arena, HY_MAP);
            HyNode *value = e->value ? hy_new_text(b->arena, e->value) : hy_new(b->arena, HY_NULL);
            hy_set(item, HY_TEXT, hy_entry_key(b->arena, e), value);
        } else {
            item = hy_new_text(b->arena, hy_entry_config(b->arena, e));
        }
        hy_append(lines, item);
    }
    hy_set(map, HY_TEXT, "defaults", lines);
    return map;
}

static bool is_referred(const HyEntry *e)
{
    const char *name = e->is_group ? e->value : e->group;
    return name && strstr(name, "${");
}

static int refer(Builder *b, HyEntry *e, const List *list)
{
    HyNode *map = choices_map(b, list);
    if (!map) return -1;
    HyNode *node = hy_new_text(b->arena, e->is_group ? e->value : e->group);
    HyEval eval = {.arena = b->arena, .root = map, .err = b->err};
    hy_set(map, HY_TEXT, "_name_", node);
    HyNode *value = hy_follow(&eval, node);
    if (!value || value->kind != HY_TEXT) {
        if (value) err_set(b->err, "it leads to no name");
        return err_wrap(b->err, "%s: defaults: '%.100s'", e->place, node->text);
    }
    if (e->is_group) {
        e->value = value->text;
    } else {
        e->group = value->text;
    }
    return 0;
}

/* A group with several options is so many files of the group. */
static int options_expand(Builder *b, HyEntry *e, const HyEntry *parent, HyEntry **made, int *n)
{
    for (const HyNode *o = e->options->first; o; o = o->next) {
        if (strstr(o->text, "${")) {
            return err_set(b->err, "%s: defaults: no references in a list of options", e->place);
        }
        if (++b->n_entries > MAX_ENTRIES) return err_set(b->err, "too many defaults");
        HyEntry *x = hy_alloc(b->arena, sizeof *x);
        *x = (HyEntry){.group = hy_format(b->arena, "%s/%s", e->group, o->text),
                       .package = e->package,
                       .optional = e->optional,
                       .place = e->place,
                       .n_children = -1};
        hy_entry_place(b->arena, x, hy_entry_group(b->arena, parent),
                       hy_entry_package(b->arena, parent, true));
        made[(*n)++] = x;
    }
    for (int i = *n - 1; i >= *n - hy_count(e->options); i--)
        TRY(expand(b, made[i], parent, false));
    return 0;
}

/* The children of an entry, in the order of the list. */
static int children_expand(Builder *b, HyEntry *e, List *list, bool referred)
{
    HyEntry ***made = hy_alloc(b->arena, (size_t)list->n * sizeof *made);
    int *count = hy_alloc(b->arena, (size_t)list->n * sizeof *count), total = 0;
    for (int i = list->n - 1; i >= 0; i--) {
        HyEntry *c = list->entry[i];
        if (c->override) continue;
        change_apply(b, c);
        size_t room = c->options ? (size_t)hy_count(c->options) + 1 : 1;
        made[i] = hy_alloc(b->arena, room * sizeof *made[i]);
        if (hy_entry_is_self(c)) {
            made[i][count[i]++] = c;
        } else if (c->options) {
            TRY(options_expand(b, c, e, made[i], &count[i]));
        } else {
            made[i][count[i]++] = c;
            if (!is_referred(c)) TRY(expand(b, c, e, referred));
        }
        total += count[i];
    }
    for (int i = list->n - 1; i >= 0; i--) {
        HyEntry *c = list->entry[i];
        if (c->override || hy_entry_is_self(c) || c->options || !is_referred(c)) continue;
        TRY(refer(b, c, list));
        TRY(expand(b, c, e, true));
    }
    e->child = hy_alloc(b->arena, ((size_t)total + 1) * sizeof *e->child);
    e->n_children = 0;
    for (int i = 0; i < list->n; i++) {
        for (int k = 0; k < count[i]; k++) e->child[e->n_children++] = made[i][k];
    }
    return 0;
}

/* --- one entry ---------------------------------------------------------------------------------*/

static int not_found(Builder *b, const HyEntry *e)
{
    const char *group = hy_entry_group(b->arena, e);
    const char *name = hy_entry_name(e), *place = e->place;
    if (e->primary) place = "configuration";
    return hy_option_unknown(b->repo, group, name, place);
}

/* Two lines that choose for one group must agree. */
static int choice_note(Builder *b, const HyEntry *e)
{
    if (!e->is_group) return 0;
    const char *key = hy_entry_key(b->arena, e);
    const HyNode *known = hy_get(b->out->choices, key);
    bool same = known && (known->kind == HY_NULL ? !e->value
                                                 : e->value && strcmp(known->text, e->value) == 0);
    if (known && !same) {
        return err_set(b->err,
                       "%s: '%s' is chosen twice (%s and %s); write `override %s: ...` in a file, "
                       "or '%s=...' without '+' on the command line",
                       e->place, key, hy_str(b->arena, known), e->value ? e->value : "null", key,
                       key);
    }
    HyNode *value = e->value ? hy_new_text(b->arena, e->value) : hy_new(b->arena, HY_NULL);
    hy_set(b->out->choices, HY_TEXT, key, value);
    return 0;
}

static bool is_deleted(Builder *b, const HyEntry *e)
{
    if (!e->is_group) return false;
    Choice *d = choice_find(b->deletions, hy_entry_key(b->arena, e));
    if (!d) return false;
    bool all = d->value->kind == HY_NULL;
    if (!all && !(e->value && strcmp(d->value->text, e->value) == 0)) return false;
    d->used = true;
    return true;
}

static int option_missing(Builder *b, const HyEntry *e)
{
    const char *key = hy_entry_key(b->arena, e);
    const HyNode *options = hy_group_options(b->repo, hy_entry_group(b->arena, e), false);
    const char *some = "";
    for (const HyNode *o = options->first; o; o = o->next)
        some = hy_format(b->arena, "%s%s%.60s", some, *some ? ", " : "", o->text);
    return err_set(b->err, "%s: choose a '%s' by %s=OPTION; there is %.600s", e->place, key, key,
                   *some ? some : "none");
}

static int expand_file(Builder *b, HyEntry *e, bool referred)
{
    HyFile *file;
    const char *name = hy_entry_config(b->arena, e);
    TRY(hy_config_load(b->repo, name, &file));
    if (file) hy_entry_header(b->arena, e, file->package);
    if (is_deleted(b, e)) {
        e->deleted = true;
        return 0;
    }
    TRY(choice_note(b, e));
    if (!hy_entry_name(e)) return 0;
    if (hy_entry_is_missing(e)) return b->skip_missing ? 0 : option_missing(b, e);
    if (!file) {
        e->deleted = e->optional;
        return e->optional ? 0 : not_found(b, e);
    }
    List *list = hy_alloc(b->arena, sizeof *list);
    TRY(list_read(b, file, e->primary, list));
    if (list->n == 0) return 0;
    TRY(list_overrides(b, e, list, referred));
    return children_expand(b, e, list, referred);
}

static int expand(Builder *b, HyEntry *e, const HyEntry *parent, bool referred)
{
    if (!e->parent_group) {
        hy_entry_place(b->arena, e, parent ? hy_entry_group(b->arena, parent) : "",
                       parent ? hy_entry_package(b->arena, parent, true) : "");
    }
    if (b->depth == MAX_DEPTH) {
        return err_set(b->err, "%s: defaults: files name each other in a cycle", e->place);
    }
    TRY(hy_check_size(b->arena, b->err));
    b->depth++;
    int rc = expand_file(b, e, referred);
    b->depth--;
    return rc;
}

/* --- what was not used
 * --------------------------------------------------------------------------*/

static int change_unused(Builder *b, const Choice *change)
{
    int n = 0;
    const char **known =
        hy_alloc(b->arena, ((size_t)hy_count(b->out->choices) + 1) * sizeof *known);
    size_t size = strcspn(change->key, "@");
    const char *same = NULL;
    char shown[NAME_SHOWN_MAX];
    name_show(shown, change->key);
    for (const HyNode *c = b->out->choices->first; c; c = c->next) {
        known[n++] = c->key;
        if (strncmp(c->key, change->key, size) == 0 && c->key[size] == '@') same = c->key;
    }
    const char *near = same ? same : name_nearest(change->key, known, n);
    return err_set(b->err, "%s: no defaults list has '%s'%s%s%s%s%s%s%s",
                   change->place ? change->place : "override", shown,
                   near ? "; did you mean '" : "", near ? near : "", near ? "'?" : "",
                   change->place ? "" : "; to append it, write '+", change->place ? "" : shown,
                   change->place ? "" : "=", change->place ? "" : "...'");
}

static int all_used(Builder *b)
{
    for (const Choice *c = b->changes; c; c = c->next) {
        if (!c->used) return change_unused(b, c);
    }
    for (const Choice *d = b->deletions; d; d = d->next) {
        char shown[NAME_SHOWN_MAX];
        if (d->used) continue;
        return err_set(b->err, "override '~%s': no defaults list has that",
                       name_show(shown, d->key));
    }
    return 0;
}

int hy_defaults(HyRepo *r, const char *primary, const HyOverride *overrides, int n,
                bool skip_missing, HyDefaults *out)
{
    HyArena *a = r->arena;
    Builder *b = hy_alloc(a, sizeof *b);
    HyEntry *root = hy_alloc(a, sizeof *root), *hydra = hy_alloc(a, sizeof *hydra);
    HyEntry *main = hy_alloc(a, sizeof *main);
    *b = (Builder){.arena = a, .repo = r, .skip_missing = skip_missing, .out = out, .err = r->err};
    *out = (HyDefaults){.tree = root, .choices = hy_new(a, HY_MAP)};
    out->value = hy_alloc(a, ((size_t)n + 1) * sizeof *out->value);
    for (int i = 0; i < n; i++) TRY(take_override(b, &overrides[i]));
    *hydra = (HyEntry){.group = "hydra/config", .place = "built-in", .n_children = -1};
    *main = (HyEntry){.group = primary, .place = primary, .primary = true, .n_children = -1};
    *root = (HyEntry){.is_root = true, .group = "", .place = "", .n_children = 2};
    root->child = hy_alloc(a, 2 * sizeof *root->child);
    root->child[0] = hydra;
    root->child[1] = main;
    if (!hy_config_exists(r, primary)) {
        hy_entry_place(a, main, "", "");
        return not_found(b, main);
    }
    TRY(expand(b, main, NULL, false));
    TRY(expand(b, hydra, NULL, false));
    TRY(all_used(b));
    return hy_defaults_parts(a, out, b->err);
}
