/* Values at keys, and whole trees with their references filled in. */
#include "hydra/refer.h"
#include "hydra/scalar.h"

/* The child under a part of a key; NULL: none, or -1 for a list's index that is no number. */
static int child_of(HyEval *e, HyNode *box, const char *part, HyNode **out)
{
    long long index;
    *out = NULL;
    if (box->kind == HY_MAP) {
        *out = hy_get(box, part);
        return 0;
    }
    HyNode *number = hy_int_of_text(e->arena, part);
    if (!number) {
        e->no_box = true;
        return err_set(e->err, "a list has no '%.60s', only numbers", part);
    }
    if (hy_int_value(number, &index) && index >= 0) *out = hy_at(box, (long)index);
    return 0;
}

static int missing_fail(HyEval *e, const HyNode *node)
{
    e->missing = true;
    return err_set(e->err, "%s: '%s' is ??? (to be given)", hy_where(e->arena, node),
                   hy_full_key(e->arena, node));
}

static int select_path(HyEval *e, HyNode *box, const HyPath *path, bool strict, HyNode **out)
{
    for (int i = 0; i < path->n; i++) {
        HyNode *child;
        bool last = i + 1 == path->n;
        TRY(child_of(e, box, path->part[i], &child));
        if (child && strict && hy_is_missing(child)) return missing_fail(e, child);
        if (!child) return 0;
        child = hy_follow(e, child);
        if (!child) return -1;
        if (last) *out = child;
        if (!last && (!hy_is_container(child) || child->final)) {
            e->no_box = true;
            return err_set(e->err, "'%.60s' has no keys below it", path->part[i]);
        }
        box = child;
    }
    return 0;
}

int hy_select(HyEval *e, HyNode *box, const char *key, bool strict, HyNode **out)
{
    HyPath path;
    *out = NULL;
    if (*key != '.') {
        box = e->root;
    } else {
        for (key++; *key == '.'; key++) {
            box = box->parent;
            if (!box) return err_set(e->err, "a relative reference leads above the root");
        }
    }
    if (!*key) {
        *out = box;
        return 0;
    }
    TRY(hy_path_split(e->arena, key, &path, e->err));
    return select_path(e, box, &path, strict, out);
}

/* --- whole trees -------------------------------------------------------------------------------*/

static HyNode *fill(HyEval *e, HyNode *node, int depth, bool strict);

static HyNode *fill_container(HyEval *e, const HyNode *from, int depth, bool strict)
{
    HyNode *made = hy_new(e->arena, from->kind);
    made->file = from->file;
    made->line = from->line;
    for (HyNode *c = from->first; c; c = c->next) {
        HyNode *child = fill(e, c, depth + 1, strict);
        if (!child) return NULL;
        child->key = c->key;
        child->key_kind = c->key_kind;
        hy_append(made, child);
    }
    return made;
}

static HyNode *missing_keep(HyEval *e, const HyNode *node)
{
    HyNode *kept = hy_new_text(e->arena, "???");
    kept->file = node->file;
    kept->line = node->line;
    return kept;
}

static HyNode *fill(HyEval *e, HyNode *node, int depth, bool strict)
{
    if (hy_check_size(e->arena, e->err) < 0) return NULL;
    if (depth > HY_MAX_NESTING) {
        err_set(e->err, "'%.60s': references nested too deeply, or in a cycle",
                node->key ? node->key : "");
        return NULL;
    }
    if (hy_is_missing(node)) {
        if (!strict) return missing_keep(e, node);
        missing_fail(e, node);
        return NULL;
    }
    e->missing = e->no_box = false;
    HyNode *value = hy_follow(e, node);
    if (!value) {
        if (e->missing && !strict) return missing_keep(e, node);
        err_wrap(e->err, "%s: '%s'", hy_where(e->arena, node), hy_full_key(e->arena, node));
        return NULL;
    }
    bool box = hy_is_container(value);
    HyNode *made = box ? fill_container(e, value, depth, strict) : hy_copy(e->arena, value);
    if (!made) {
        if (!box) hy_check_size(e->arena, e->err);
        return NULL;
    }
    made->final = made->kind == HY_TEXT && !hy_is_missing(made);
    made->file = node->file;
    made->line = node->line;
    return made;
}

HyNode *hy_resolve(HyEval *e, HyNode *root, bool strict)
{
    HyNode *made = fill(e, root, 0, strict);
    if (!made) hy_one_line(e->err);
    return made;
}

int hy_check_missing(HyArena *a, const HyNode *root, Err *err)
{
    if (hy_is_missing(root)) {
        err_set(err, "%s: '%s' is ???; give it a value", hy_where(a, root), hy_full_key(a, root));
        return hy_one_line(err);
    }
    for (const HyNode *c = root->first; c; c = c->next) TRY(hy_check_missing(a, c, err));
    return 0;
}
