/* The functions of overrides: casts, sweeps, and what orders or names them. */
#include <math.h>
#include <string.h>
#include <time.h>

#include "base/names.h"
#include "base/rng.h"
#include "hydra/override.h"
#include "hydra/scalar.h"

typedef struct Call Call;
typedef struct Function {
    const char *name;
    const char *params[4]; /* names, NULL at the end */
    bool any_number;       /* positional arguments are values, names come besides */
    int (*run)(Call *c, HyValue *out);
} Function;

struct Call {
    HyArena *arena;
    const Function *function;
    HyValue *arg;
    int n;            /* positional, where any number is taken */
    HyValue named[4]; /* by parameter; node NULL: not given */
    Err *err;
};

static int fail(Call *c, const char *what)
{
    return err_set(c->err, "%s(): %s", c->function->name, what);
}

static bool is_number(const HyNode *v)
{
    return v->kind == HY_INT || v->kind == HY_FLOAT || v->kind == HY_BOOL;
}

/* --- casts -------------------------------------------------------------------------------------*/

static HyNode *cast_int(Call *c, const HyNode *v)
{
    long long n;
    if (v->kind == HY_TEXT) return hy_int_of_text(c->arena, v->text);
    if (v->kind == HY_FLOAT && !isfinite(v->number)) return NULL;
    if (v->kind == HY_FLOAT) return hy_int_of_float(c->arena, v->number);
    if (v->kind == HY_INT) return hy_new_int(c->arena, v->text);
    hy_int_value(v, &n);
    return hy_new_int(c->arena, hy_format(c->arena, "%lld", n));
}

static HyNode *cast_float(Call *c, const HyNode *v)
{
    if (v->kind == HY_TEXT) return hy_float_of_text(c->arena, v->text);
    double number = hy_number(v);
    return v->kind == HY_INT && isinf(number) ? NULL : hy_new_float(c->arena, number);
}

static HyNode *cast_str(Call *c, const HyNode *v)
{
    if (v->kind == HY_BOOL) return hy_new_text(c->arena, v->truth ? "true" : "false");
    return hy_new_text(c->arena, hy_str(c->arena, v));
}

static HyNode *cast_bool(Call *c, const HyNode *v)
{
    if (v->kind != HY_TEXT) return hy_new_bool(c->arena, hy_number(v) != 0);
    char lower[6] = "";
    for (size_t i = 0; i < 5 && v->text[i]; i++) lower[i] = (char)(v->text[i] | 32);
    bool yes = strcmp(lower, "true") == 0 && strlen(v->text) == 4;
    bool no = strcmp(lower, "false") == 0 && strlen(v->text) == 5;
    return yes || no ? hy_new_bool(c->arena, yes) : NULL;
}

typedef HyNode *Cast(Call *c, const HyNode *v);

/* Every single value below a container is cast. */
static HyNode *cast_deep(Call *c, Cast *cast, const HyNode *v)
{
    if (v->kind == HY_NULL) return NULL;
    if (!hy_is_container(v)) return cast(c, v);
    HyNode *made = hy_new(c->arena, v->kind);
    for (const HyNode *x = v->first; x; x = x->next) {
        HyNode *item = cast_deep(c, cast, x);
        if (!item) return NULL;
        item->key = x->key;
        item->key_kind = x->key_kind;
        hy_append(made, item);
    }
    return made;
}

/* What several values are: a,b. */
static int as_choice(Call *c, HyValue *out)
{
    HyNode *list = hy_new(c->arena, HY_LIST);
    for (int i = 0; i < c->n; i++) {
        if (c->arg[i].sweep != HY_ONE) return fail(c, "a sweep among several values");
        hy_append(list, c->arg[i].node);
    }
    *out = (HyValue){.sweep = HY_SIMPLE_CHOICE, .node = list};
    return 0;
}

static int cast_value(Call *c, Cast *cast, HyValue *out)
{
    HyValue v = {0};
    if (c->n > 0 && c->named[0].node) return fail(c, "both a value and value=");
    if (c->n == 0 && !c->named[0].node) return fail(c, "a value is missing");
    if (c->n > 1) {
        TRY(as_choice(c, &v));
    } else {
        v = c->n == 1 ? c->arg[0] : c->named[0];
    }
    bool range = v.sweep == HY_RANGE || v.sweep == HY_INTERVAL;
    bool numeric = cast == cast_int || cast == cast_float;
    if (v.sweep == HY_GLOB || (range && !numeric)) return fail(c, "this sweep cannot be cast");
    out->sweep = v.sweep;
    out->node = cast_deep(c, cast, v.node);
    return out->node ? 0 : fail(c, "a value that cannot be cast");
}

static int run_int(Call *c, HyValue *out)
{
    return cast_value(c, cast_int, out);
}
static int run_float(Call *c, HyValue *out)
{
    return cast_value(c, cast_float, out);
}
static int run_str(Call *c, HyValue *out)
{
    return cast_value(c, cast_str, out);
}
static int run_bool(Call *c, HyValue *out)
{
    return cast_value(c, cast_bool, out);
}

/* --- sweeps ------------------------------------------------------------------------------------*/

static int run_choice(Call *c, HyValue *out)
{
    if (c->n == 0) return fail(c, "choices are missing");
    if (c->n == 1 && c->arg[0].sweep != HY_ONE) {
        if (c->arg[0].sweep != HY_SIMPLE_CHOICE) return fail(c, "a sweep within a choice");
        *out = c->arg[0];
        out->sweep = HY_CHOICE;
        return 0;
    }
    TRY(as_choice(c, out));
    for (const HyNode *v = out->node->first; v; v = v->next) {
        if (v->kind == HY_NULL) return fail(c, "null is no choice");
    }
    out->sweep = HY_CHOICE;
    return 0;
}

static HyNode *number_of(Call *c, int param, bool as_float)
{
    const HyNode *v = c->named[param].node;
    if (!v || c->named[param].sweep != HY_ONE || !is_number(v)) return NULL;
    return as_float ? hy_new_float(c->arena, hy_number(v)) : hy_copy(c->arena, v);
}

static int run_range(Call *c, HyValue *out)
{
    HyNode *list = hy_new(c->arena, HY_LIST);
    HyNode *part[3] = {number_of(c, 0, false), number_of(c, 1, false), number_of(c, 2, false)};
    for (int i = 0; i < 3; i++) {
        if (c->named[i].node && !part[i]) return fail(c, "takes numbers");
    }
    if (!part[0]) return fail(c, "takes start, stop and step");
    if (!part[1]) {
        part[1] = part[0];
        part[0] = hy_new_int(c->arena, "0");
    }
    if (!part[2]) part[2] = hy_new_int(c->arena, "1");
    for (int i = 0; i < 3; i++) hy_append(list, part[i]);
    *out = (HyValue){.sweep = HY_RANGE, .node = list};
    return 0;
}

static int run_interval(Call *c, HyValue *out)
{
    HyNode *list = hy_new(c->arena, HY_LIST), *start = number_of(c, 0, true),
           *end = number_of(c, 1, true);
    if (!start || !end) return fail(c, "takes a start and an end, both numbers");
    hy_append(list, start);
    hy_append(list, end);
    *out = (HyValue){.sweep = HY_INTERVAL, .node = list};
    return 0;
}

static HyNode *patterns(Call *c, int param)
{
    HyNode *v = c->named[param].node, *list = hy_new(c->arena, HY_LIST);
    if (!v) return list;
    if (c->named[param].sweep != HY_ONE) return NULL;
    if (v->kind == HY_TEXT) {
        hy_append(list, hy_new_text(c->arena, v->text));
        return list;
    }
    if (v->kind != HY_LIST) return NULL;
    for (const HyNode *x = v->first; x; x = x->next) {
        if (x->kind != HY_TEXT || x->quote) return NULL;
    }
    return v;
}

static int run_glob(Call *c, HyValue *out)
{
    HyNode *list = hy_new(c->arena, HY_LIST), *in = patterns(c, 0), *outside = patterns(c, 1);
    if (!c->named[0].node || !in || !outside) return fail(c, "takes a pattern or a list of them");
    hy_append(list, in);
    hy_append(list, outside);
    *out = (HyValue){.sweep = HY_GLOB, .node = list};
    return 0;
}

static int run_tag(Call *c, HyValue *out)
{
    HyValue last = c->named[0].node ? c->named[0] : c->n > 0 ? c->arg[c->n - 1] : (HyValue){0};
    int tags = c->named[0].node ? c->n : c->n - 1;
    if (c->n < 1 || last.sweep == HY_ONE || last.sweep == HY_GLOB) {
        return fail(c, "takes tags and then a sweep");
    }
    for (int i = 0; i < tags; i++) {
        if (c->arg[i].sweep != HY_ONE || c->arg[i].node->kind != HY_TEXT)
            return fail(c, "a tag is a text");
    }
    *out = last;
    return 0;
}

/* --- order -------------------------------------------------------------------------------------*/

/* What both take: list=, sweep=, or values. */
static int order_take(Call *c, HyValue *v)
{
    if (c->named[1].node) {
        *v = c->named[1];
        if (v->sweep != HY_ONE || v->node->kind != HY_LIST) return fail(c, "list= takes a list");
        return 0;
    }
    if (c->named[0].node) {
        *v = c->named[0];
        if (v->sweep == HY_ONE || v->sweep == HY_GLOB || v->sweep == HY_INTERVAL)
            return fail(c, "sweep= takes a choice or a range");
        return 0;
    }
    if (c->n == 0) return fail(c, "values are missing");
    if (c->n > 1) return as_choice(c, v);
    *v = c->arg[0];
    if (v->sweep == HY_GLOB || v->sweep == HY_INTERVAL) return fail(c, "not this kind of sweep");
    return 0;
}

/* New order of a list of at most this many. */
static void list_order(HyNode *list, HyNode **item, int n)
{
    list->first = list->last = NULL;
    for (int i = 0; i < n; i++) hy_append(list, item[i]);
}

static int list_items(Call *c, const HyNode *list, HyNode ***items)
{
    int n = 0;
    *items = hy_alloc(c->arena, ((size_t)hy_count(list) + 1) * sizeof **items);
    for (HyNode *x = list->first; x; x = x->next) (*items)[n++] = x;
    return n;
}

static bool comes_after(const HyNode *a, const HyNode *b)
{
    if (a->kind == HY_TEXT) return strcmp(a->text, b->text) > 0;
    long long x, y;
    if (hy_int_value(a, &x) && hy_int_value(b, &y)) return x > y;
    return hy_number(a) > hy_number(b);
}

static int sort_list(Call *c, HyNode *list, bool reverse)
{
    HyNode **item;
    int n = list_items(c, list, &item);
    for (int i = 0; n > 1 && i < n; i++) {
        bool text = item[i]->kind == HY_TEXT && !item[i]->quote;
        if (text ? item[0]->kind != HY_TEXT : !is_number(item[i]) || item[0]->kind == HY_TEXT)
            return fail(c, "values that have no order among each other");
    }
    for (int i = 1; i < n; i++) { /* stable */
        HyNode *v = item[i];
        int j = i;
        while (j > 0 && (reverse ? comes_after(v, item[j - 1]) : comes_after(item[j - 1], v))) {
            item[j] = item[j - 1];
            j--;
        }
        item[j] = v;
    }
    list_order(list, item, n);
    return 0;
}

static HyNode *number_new(Call *c, bool as_float, double v)
{
    if (as_float) return hy_new_float(c->arena, v);
    return hy_new_int(c->arena, hy_format(c->arena, "%.0f", v));
}

/* A range that runs the other way is turned round. */
static void sort_range(Call *c, HyNode *range, bool reverse)
{
    HyNode *s[3] = {range->first, range->first->next, range->last};
    double start = hy_number(s[0]), stop = hy_number(s[1]), step = hy_number(s[2]);
    bool as_float = s[0]->kind == HY_FLOAT || s[1]->kind == HY_FLOAT || s[2]->kind == HY_FLOAT;
    if (reverse ? start >= stop : start <= stop) return;
    double gap = reverse ? -fabs(step) : fabs(step);
    hy_replace(s[0], number_new(c, as_float, stop + gap));
    hy_replace(s[1], number_new(c, as_float, start + gap));
    hy_replace(s[2], number_new(c, as_float, -step));
}

static int run_sort(Call *c, HyValue *out)
{
    HyNode *flag = c->named[2].node;
    if (flag && (flag->kind != HY_BOOL || c->named[2].sweep))
        return fail(c, "reverse= true or false");
    bool reverse = flag && flag->truth;
    TRY(order_take(c, out));
    if (out->sweep == HY_RANGE) {
        sort_range(c, out->node, reverse);
        return 0;
    }
    if (out->sweep == HY_ONE && out->node->kind != HY_LIST) return 0;
    return sort_list(c, out->node, reverse);
}

static void shuffle_list(Call *c, HyNode *list)
{
    HyNode **item;
    int n = list_items(c, list, &item);
    Rng rng;
    rng_seed(&rng, (uint64_t)time(NULL), 0);
    for (int i = n - 1; i > 0; i--) {
        int j = (int)(rng_below(&rng, (uint64_t)i + 1));
        HyNode *v = item[i];
        item[i] = item[j];
        item[j] = v;
    }
    list_order(list, item, n);
}

static int run_shuffle(Call *c, HyValue *out)
{
    TRY(order_take(c, out));
    if (out->sweep == HY_ONE && out->node->kind != HY_LIST) {
        HyNode *list = hy_new(c->arena, HY_LIST);
        hy_append(list, out->node);
        out->node = list;
    }
    if (out->sweep == HY_RANGE) {
        out->shuffle = true;
        return 0;
    }
    shuffle_list(c, out->node);
    return 0;
}

static const Function functions[] = {
    {"int", {"value"}, true, run_int},
    {"float", {"value"}, true, run_float},
    {"str", {"value"}, true, run_str},
    {"bool", {"value"}, true, run_bool},
    {"choice", {NULL}, true, run_choice},
    {"range", {"start", "stop", "step"}, false, run_range},
    {"interval", {"start", "end"}, false, run_interval},
    {"glob", {"include", "exclude"}, false, run_glob},
    {"tag", {"sweep"}, true, run_tag},
    {"sort", {"sweep", "list", "reverse"}, true, run_sort},
    {"shuffle", {"sweep", "list"}, true, run_shuffle},
};

static int param_find(const Function *f, const char *name)
{
    for (int i = 0; i < 4 && f->params[i]; i++) {
        if (strcmp(f->params[i], name) == 0) return i;
    }
    return -1;
}

/* Quotes are taken off: within a function a text is a text. */
static void unquote(HyValue *v)
{
    if (v->node->kind == HY_TEXT) v->node->quote = 0;
}

/* A name given twice has its last value, as in Hydra; one that a place has taken is refused. */
static int bind(Call *c, HyValue *arg, const char *const *name, int n)
{
    int placed = 0;
    for (int i = 0; i < n; i++) {
        unquote(&arg[i]);
        if (!name[i] && c->function->any_number) {
            c->n++;
            continue;
        }
        int p = name[i] ? param_find(c->function, name[i]) : i;
        if (p < 0 || p > 3 || !c->function->params[p])
            return fail(c, "an argument it does not have");
        if (name[i] && p < placed) return fail(c, "an argument is given twice");
        placed += !name[i];
        c->named[p] = arg[i];
    }
    return 0;
}

int hy_function(HyArena *a, const char *function, HyValue *arg, const char *const *name, int n,
                HyValue *out, Err *err)
{
    const char *names[ARRAY_LEN(functions)];
    char shown[NAME_SHOWN_MAX];
    for (int i = 0; i < ARRAY_LEN(functions); i++) {
        names[i] = functions[i].name;
        if (strcmp(names[i], function) != 0) continue;
        Call call = {.arena = a, .function = &functions[i], .arg = arg, .err = err};
        *out = (HyValue){0};
        TRY(bind(&call, arg, name, n));
        return functions[i].run(&call, out);
    }
    const char *near = name_nearest(function, names, ARRAY_LEN(names));
    return err_set(err, "there is no function '%s'%s%s%s", name_show(shown, function),
                   near ? "; did you mean '" : "", near ? near : "", near ? "'?" : "");
}
