/* The functions of references: ${NAME:arguments}. */
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "base/names.h"
#include "hydra/load.h"
#include "hydra/refer.h"
#include "hydra/scalar.h"

enum { TIME_MAX = 1024 };

typedef struct Call {
    HyEval *e;
    HyNode *const *arg;
    int n;
    HyNode *box;
    const HyNode *node;
} Call;

typedef struct Resolver {
    const char *name;
    int min, max;
    HyNode *(*run)(Call *c);
} Resolver;

static HyNode *fail(Call *c, const char *what)
{
    err_set(c->e->err, "%s", what);
    return NULL;
}

static HyNode *final_text(Call *c, const char *text)
{
    HyNode *node = hy_new_text(c->e->arena, text);
    node->final = true;
    return node;
}

static HyNode *env(Call *c)
{
    HyArena *a = c->e->arena;
    if (c->arg[0]->kind != HY_TEXT) return fail(c, "oc.env takes a name");
    const char *value = getenv(c->arg[0]->text);
    if (value) return final_text(c, hy_copy_text(a, value, strlen(value)));
    if (c->n == 2 && c->arg[1]->kind == HY_NULL) return hy_new(a, HY_NULL);
    if (c->n == 2) return final_text(c, hy_str(a, c->arg[1]));
    char shown[NAME_SHOWN_MAX];
    err_set(c->e->err,
            "'%s' is not set in the environment; set it, or give a default after a comma",
            name_show(shown, c->arg[0]->text));
    return NULL;
}

static HyNode *decode(Call *c)
{
    if (c->arg[0]->kind == HY_NULL) return c->arg[0];
    if (c->arg[0]->kind != HY_TEXT) return fail(c, "oc.decode takes a text");
    HyNode *value = hy_decode(c->e, c->arg[0]->text, c->box, (HyNode *)c->node);
    if (value && !value->parent) value->final = true; /* data: nothing can refer into it */
    return value;
}

/* References within the made container are relative to where it stands. */
static HyNode *create(Call *c)
{
    HyNode *made = NULL;
    const HyNode *from = c->arg[0];
    if (from->kind == HY_TEXT) {
        made = hy_load_text(c->e->arena, from->text, strlen(from->text), "oc.create", c->e->err);
        if (!made) return NULL;
    } else if (hy_is_container(from)) {
        made = hy_copy(c->e->arena, from);
        if (!made) {
            hy_check_size(c->e->arena, c->e->err);
            return NULL;
        }
    } else if (from->kind == HY_NULL) {
        return hy_new(c->e->arena, HY_NULL);
    } else {
        return fail(c, "oc.create takes a mapping, a list or YAML text");
    }
    made->parent = c->box;
    return made;
}

static HyNode *select_default(Call *c)
{
    HyNode *value;
    HyEval *e = c->e;
    if (c->arg[0]->kind != HY_TEXT) return fail(c, "oc.select takes a key");
    HyNode *fallback = c->n == 2 ? c->arg[1] : hy_new(e->arena, HY_NULL);
    e->no_box = false;
    if (hy_select(e, c->box, c->arg[0]->text, false, &value) < 0) {
        return e->no_box ? fallback : NULL;
    }
    return value && !hy_is_missing(value) ? value : fallback;
}

static HyNode *map_of(Call *c)
{
    HyNode *value;
    if (c->arg[0]->kind != HY_TEXT) return fail(c, "oc.dict takes a key");
    if (hy_select(c->e, c->box, c->arg[0]->text, true, &value) < 0) return NULL;
    if (!value) return fail(c, "oc.dict: there is no such key");
    if (value->kind != HY_MAP) return fail(c, "oc.dict takes the key of a mapping");
    return value;
}

static HyNode *dict_keys(Call *c)
{
    const HyNode *map = map_of(c);
    if (!map) return NULL;
    HyNode *list = hy_new(c->e->arena, HY_LIST);
    for (const HyNode *x = map->first; x; x = x->next) {
        HyNode *key = hy_new_text(c->e->arena, x->key);
        if (x->key_kind == HY_INT) key = hy_new_int(c->e->arena, x->key);
        if (x->key_kind == HY_FLOAT) key = hy_float_of_text(c->e->arena, x->key);
        if (x->key_kind == HY_BOOL) key = hy_new_bool(c->e->arena, *x->key == 'T');
        hy_append(list, key);
    }
    list->parent = c->box;
    return list;
}

/* A list of references, so that each value is resolved where it stands. A relative key gets one
 * dot more for the list around it. */
static HyNode *dict_values(Call *c)
{
    HyArena *a = c->e->arena;
    const HyNode *map = map_of(c);
    if (!map) return NULL;
    const char *key = c->arg[0]->text;
    HyNode *list = hy_new(a, HY_LIST);
    for (const HyNode *x = map->first; x; x = x->next) {
        const char *text = hy_format(a, "${%s%s.%s}", *key == '.' ? "." : "", key, x->key);
        hy_append(list, hy_new_text(a, text));
    }
    list->parent = c->box;
    return list;
}

static HyNode *deprecated(Call *c)
{
    HyNode *value;
    if (c->arg[0]->kind != HY_TEXT) return fail(c, "oc.deprecated takes a key");
    if (c->n == 2 && c->arg[1]->kind != HY_TEXT) return fail(c, "oc.deprecated: not a message");
    if (hy_select(c->e, c->box, c->arg[0]->text, false, &value) < 0) return NULL;
    if (!value) return fail(c, "oc.deprecated: the new key does not exist");
    char old[NAME_SHOWN_MAX], new[NAME_SHOWN_MAX];
    name_show(old, hy_full_key(c->e->arena, c->node));
    log_info("config: '%s' is deprecated; use '%s'", old, name_show(new, c->arg[0]->text));
    return value;
}

static HyNode *now(Call *c)
{
    struct tm parts;
    char *out = hy_alloc(c->e->arena, TIME_MAX);
    const char *pattern = hy_str(c->e->arena, c->arg[0]);
    localtime_r(&c->e->now, &parts);
    if (strftime(out, TIME_MAX, pattern, &parts) == 0 && *pattern)
        return fail(c, "now: the time in that form is too long");
    return final_text(c, out);
}

static HyNode *hydra(Call *c)
{
    HyNode *value = NULL;
    if (!c->e->hydra) return fail(c, "${hydra:...} has no meaning here");
    if (c->arg[0]->kind != HY_TEXT) return fail(c, "hydra takes a key");
    HyNode *key = hy_new_text(c->e->arena, hy_format(c->e->arena, ".%s", c->arg[0]->text));
    HyEval inner = *c->e;
    inner.root = c->e->hydra->parent ? c->e->hydra->parent : c->e->hydra;
    if (hy_select(&inner, c->e->hydra, key->text, false, &value) < 0) return NULL;
    return value ? value : hy_new(c->e->arena, HY_NULL);
}

static const Resolver resolvers[] = {
    {"oc.env", 1, 2, env},
    {"oc.decode", 1, 1, decode},
    {"oc.create", 1, 1, create},
    {"oc.select", 1, 2, select_default},
    {"oc.dict.keys", 1, 1, dict_keys},
    {"oc.dict.values", 1, 1, dict_values},
    {"oc.deprecated", 1, 2, deprecated},
    {"now", 1, 1, now},
    {"hydra", 1, 1, hydra},
};

HyNode *hy_call(HyEval *e, const char *name, HyNode *const *args, int n, HyNode *box,
                const HyNode *node)
{
    const char *names[ARRAY_LEN(resolvers)];
    char shown[NAME_SHOWN_MAX];
    Call call = {e, args, n, box, node};
    for (int i = 0; i < ARRAY_LEN(resolvers); i++) {
        const Resolver *r = &resolvers[i];
        names[i] = r->name;
        if (strcmp(r->name, name) != 0) continue;
        if (n >= r->min && n <= r->max) return r->run(&call);
        err_set(e->err, "%s takes %d%s argument%s, not %d", name, r->min,
                r->max > r->min ? " or more" : "", r->max > 1 ? "s" : "", n);
        return NULL;
    }
    const char *near = name_nearest(name, names, ARRAY_LEN(names));
    err_set(e->err, "there is no resolver '%s'%s%s%s", name_show(shown, name),
            near ? "; did you mean '" : "", near ? near : "", near ? "'?" : "");
    return NULL;
}
