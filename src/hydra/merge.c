/* Merging as OmegaConf does it, and overrides on a closed tree. */
#include "hydra/merge.h"

#include <string.h>

#include "base/names.h"
#include "hydra/scalar.h"

enum { MAX_NAMES = 2048 };

static const char *shown_key(HyArena *a, const HyNode *map, const HyNode *child)
{
    const char *above = hy_full_key(a, map);
    return hy_format(a, "%s%s%s", above, *above ? "." : "", child->key);
}

static HyNode *copied(HyEval *e, const HyNode *node)
{
    HyNode *copy = hy_copy(e->arena, node);
    if (!copy) hy_check_size(e->arena, e->err);
    return copy;
}

static HyNode *find_like(const HyNode *map, const HyNode *child)
{
    for (HyNode *c = map->first; c; c = c->next) {
        if (c->key_kind == child->key_kind && strcmp(c->key, child->key) == 0) return c;
    }
    return NULL;
}

/* A reference to a map or list is filled in when something is merged onto it. */
static int expand_reference(HyEval *e, HyNode **dest)
{
    Err ignored, *err = e->err;
    if (!hy_is_reference(*dest)) return 0;
    e->err = &ignored;
    const HyNode *target = hy_follow(e, *dest);
    e->err = err;
    if (!target || !hy_is_container(target)) return 0;
    HyNode *copy = copied(e, target);
    if (!copy) return -1;
    hy_replace(*dest, copy);
    *dest = copy;
    return 0;
}

static int merge_child(HyEval *e, HyNode *dest, const HyNode *s, bool closed)
{
    HyNode *d = find_like(dest, s), *copy;
    if (!d && closed) {
        return err_set(e->err, "there is no key '%s'", shown_key(e->arena, dest, s));
    }
    if (d) TRY(expand_reference(e, &d));
    if (d && hy_is_missing(s)) return 0;
    if (d && hy_is_container(d) && hy_is_container(s)) return hy_merge(e, d, s, closed);
    if (!(copy = copied(e, s))) return -1;
    if (d) {
        hy_replace(d, copy);
    } else {
        hy_set(dest, s->key_kind, s->key, copy);
    }
    return 0;
}

int hy_merge(HyEval *e, HyNode *dest, const HyNode *src, bool closed)
{
    TRY(hy_check_size(e->arena, e->err));
    if (dest->kind != src->kind) {
        return err_set(e->err, "%s: '%s': a mapping and a list cannot be merged",
                       hy_where(e->arena, src), hy_full_key(e->arena, dest));
    }
    if (dest->kind == HY_MAP) {
        for (const HyNode *s = src->first; s; s = s->next) TRY(merge_child(e, dest, s, closed));
        return 0;
    }
    HyNode *copy = copied(e, src);
    if (!copy) return -1;
    dest->first = dest->last = NULL;
    dest->file = src->file;
    dest->line = src->line;
    for (HyNode *c = copy->first, *next; c; c = next) {
        next = c->next;
        hy_append(dest, c);
    }
    return 0;
}

HyNode *hy_embed(HyArena *a, const char *package, HyNode *src, Err *err)
{
    HyPath path;
    if (!*package) return src;
    if (hy_path_split(a, package, &path, err) < 0) return NULL;
    for (int i = path.n - 1; i >= 0; i--) {
        HyNode *map = hy_new(a, HY_MAP);
        map->file = src->file;
        map->line = src->line;
        hy_set(map, HY_TEXT, path.part[i], src);
        src = map;
    }
    return src;
}

/* --- overrides ---------------------------------------------------------------------------------*/

static void names_collect(HyArena *a, const HyNode *node, const char *prefix, const char **names,
                          int *n)
{
    for (const HyNode *c = node->first; c && node->kind == HY_MAP && *n < MAX_NAMES; c = c->next) {
        const char *name = hy_format(a, "%s%s%s", prefix, *prefix ? "." : "", c->key);
        names[(*n)++] = name;
        names_collect(a, c, name, names, n);
    }
}

const char *hy_key_nearest(HyArena *a, const HyNode *root, const char *key)
{
    int n = 0;
    const char **names = hy_alloc(a, MAX_NAMES * sizeof *names);
    names_collect(a, root, "", names, &n);
    return name_nearest(key, names, n);
}

static int no_key(HyEval *e, const HyOverride *o)
{
    char shown[NAME_SHOWN_MAX], line[NAME_SHOWN_MAX];
    const char *near = hy_key_nearest(e->arena, e->root, o->key);
    return err_set(e->err, "override: unknown key '%s'%s%s%s; to add it, write '+%s'",
                   name_show(shown, o->key), near ? "; did you mean '" : "", near ? near : "",
                   near ? "'?" : "", name_show(line, o->line));
}

static int fail(HyEval *e, const HyOverride *o, const char *what)
{
    char line[NAME_SHOWN_MAX];
    return err_set(e->err, "override '%s': %s", name_show(line, o->line), what);
}

/* The child that a part of the key names; *index is its place when box is a list. */
static int child_find(HyEval *e, const HyOverride *o, HyNode *box, const char *part, HyNode **out)
{
    long long index;
    *out = NULL;
    if (box->kind == HY_MAP) {
        *out = hy_get(box, part);
        return 0;
    }
    const HyNode *number = hy_int_of_text(e->arena, part);
    if (!number || !hy_int_value(number, &index)) return fail(e, o, "a list has numbers, no names");
    if (index < 0) index += hy_count(box);
    *out = hy_at(box, (long)index);
    return *out ? 0 : fail(e, o, "the list has no item of that number");
}

/* The container at all but the last part; on the way values give way to maps. */
static int walk(HyEval *e, const HyOverride *o, const HyPath *path, HyNode **out)
{
    HyNode *box = e->root;
    for (int i = 0; i + 1 < path->n; i++) {
        HyNode *child;
        TRY(child_find(e, o, box, path->part[i], &child));
        if (!child && o->change == HY_CHANGE) return no_key(e, o);
        if (!child || !hy_is_container(child)) {
            HyNode *map = hy_new(e->arena, HY_MAP);
            map->file = "override";
            if (child) {
                hy_replace(child, map);
            } else {
                hy_set(box, HY_TEXT, path->part[i], map);
            }
            child = map;
        }
        box = child;
    }
    *out = box;
    return 0;
}

static int value_put(HyEval *e, const HyOverride *o, const HyPath *path, HyNode *value)
{
    HyNode *box, *old;
    const char *last = path->part[path->n - 1];
    TRY(walk(e, o, path, &box));
    TRY(child_find(e, o, box, last, &old));
    if (!old && o->change == HY_CHANGE) return no_key(e, o);
    if (old && hy_is_container(old) && hy_is_container(value)) {
        if (hy_merge(e, old, value, o->change == HY_CHANGE) == 0) return 0;
        char line[NAME_SHOWN_MAX];
        return err_wrap(e->err, "override '%s'", name_show(line, o->line));
    }
    if (old) {
        hy_replace(old, value);
    } else {
        hy_set(box, HY_TEXT, last, value);
    }
    return 0;
}

/* What is there now, references followed; NULL where nothing, null or ??? is. */
static int present(HyEval *e, const HyOverride *o, HyNode **out)
{
    e->no_box = false;
    if (hy_select(e, e->root, o->key, false, out) < 0) {
        char line[NAME_SHOWN_MAX];
        if (!e->no_box) return err_wrap(e->err, "override '%s'", name_show(line, o->line));
        *out = NULL;
    }
    if (*out && ((*out)->kind == HY_NULL || hy_is_missing(*out))) *out = NULL;
    return 0;
}

static int value_add(HyEval *e, const HyOverride *o, const HyPath *path, HyNode *value)
{
    HyNode *old;
    TRY(present(e, o, &old));
    if (old && !hy_is_container(value)) {
        return fail(e, o, "the key is there already; leave out the '+', or write '++'");
    }
    return value_put(e, o, path, value);
}

static int value_delete(HyEval *e, const HyOverride *o, const HyPath *path)
{
    HyNode *old, *box, *child;
    TRY(present(e, o, &old));
    if (!old) return fail(e, o, "there is no such key to delete");
    if (o->value.node->kind != HY_NULL && !hy_equal(old, o->value.node)) {
        char line[NAME_SHOWN_MAX], shown[NAME_SHOWN_MAX];
        return err_set(e->err, "override '%s': the value to delete is %s", name_show(line, o->line),
                       name_show(shown, hy_str(e->arena, old)));
    }
    TRY(walk(e, o, path, &box));
    if (box->kind == HY_LIST) return fail(e, o, "an item of a list cannot be deleted");
    TRY(child_find(e, o, box, path->part[path->n - 1], &child));
    if (!child) return fail(e, o, "it is only referred to here; delete it where it stands");
    hy_remove(child);
    return 0;
}

static void mark(HyNode *node)
{
    node->file = "override";
    node->line = 0;
    node->quote = 0;
    for (HyNode *c = node->first; c; c = c->next) mark(c);
}

static int check_references(HyEval *e, const HyOverride *o, const HyNode *node)
{
    if (hy_is_reference(node) && hy_check_reference(e->arena, node->text, e->err) < 0) {
        char line[NAME_SHOWN_MAX];
        return err_wrap(e->err, "override '%s'", name_show(line, o->line));
    }
    for (const HyNode *c = node->first; c; c = c->next) TRY(check_references(e, o, c));
    return 0;
}

int hy_apply(HyEval *e, const HyOverride *o)
{
    HyPath path;
    if (o->package) return fail(e, o, "a group's override, but there is no such group");
    HyNode *value = copied(e, o->value.node);
    if (!value) return -1;
    mark(value);
    TRY(check_references(e, o, value));
    TRY(hy_path_split(e->arena, o->key, &path, e->err));
    switch (o->change) {
    case HY_DELETE:
        return value_delete(e, o, &path);
    case HY_ADD:
        return value_add(e, o, &path, value);
    default:
        return value_put(e, o, &path, value);
    }
}
