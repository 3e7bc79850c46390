/* The jobs of a sweep: the product of all values, the last override turning fastest. */
#include <fnmatch.h>
#include <math.h>
#include <string.h>

#include "base/names.h"
#include "base/rng.h"
#include "hydra/compose.h"
#include "hydra/decimal.h"
#include "hydra/scalar.h"

enum { MAX_JOBS = 10000 };

typedef struct Axis Axis;
struct Axis {
    const char *key;
    HyNode *values; /* whole overrides, as texts */
    Axis *next;
};

static int fail(const HyOverride *o, const char *what, Err *err)
{
    char shown[NAME_SHOWN_MAX];
    return err_set(err, "override '%s': %s", name_show(shown, o->line), what);
}

static int add(HyConfig *c, const HyOverride *o, HyNode *list, int *n, const char *text, Err *err)
{
    if (++*n > MAX_JOBS) return fail(o, "more than 10000 values", err);
    const char *key = hy_override_key(c->arena, o);
    hy_append(list, hy_new_text(c->arena, hy_format(c->arena, "%s=%s", key, text)));
    return hy_check_size(c->arena, err);
}

static int add_whole_range(HyConfig *c, const HyOverride *o, HyNode *list, Err *err)
{
    const HyNode *from = o->value.node->first, *to = from->next, *by = to->next;
    long long at, end, step;
    int n = 0;
    if (!hy_int_value(from, &at) || !hy_int_value(to, &end) || !hy_int_value(by, &step))
        return fail(o, "a range beyond 64 bits", err);
    if (step == 0) return fail(o, "a range whose step is 0", err);
    while (step > 0 ? at < end : at > end) {
        TRY(add(c, o, list, &n, hy_format(c->arena, "%lld", at), err));
        if (__builtin_add_overflow(at, step, &at)) break;
    }
    return 0;
}

static int add_range(HyConfig *c, const HyOverride *o, HyNode *list, Err *err)
{
    const HyNode *from = o->value.node->first, *to = from->next, *by = to->next;
    double start = hy_number(from), stop = hy_number(to), step = hy_number(by);
    Decimal at, end, more;
    int n = 0;
    if (from->kind != HY_FLOAT && to->kind != HY_FLOAT && by->kind != HY_FLOAT)
        return add_whole_range(c, o, list, err);
    if (!isfinite(start) || !isfinite(stop) || !isfinite(step) || step == 0)
        return fail(o, "a range takes finite numbers and a step that is not 0", err);
    decimal_set(&at, start);
    decimal_set(&end, stop);
    decimal_set(&more, step);
    while (step > 0 ? decimal_compare(&at, &end) < 0 : decimal_compare(&at, &end) > 0) {
        char text[40];
        const char *shown = hy_float_repr(decimal_get(&at), text);
        TRY(add(c, o, list, &n, shown, err));
        decimal_add(&at, &more);
    }
    return 0;
}

static bool matches(const HyNode *patterns, const char *name)
{
    for (const HyNode *p = patterns->first; p; p = p->next) {
        if (fnmatch(p->text, name, 0) == 0) return true;
    }
    return false;
}

static int add_glob(HyConfig *c, const HyOverride *o, HyNode *list, Err *err)
{
    int n = 0;
    const HyNode *in = o->value.node->first, *outside = o->value.node->last;
    const HyNode *options = hy_group_options(&c->repo, o->key, false);
    for (const HyNode *x = options->first; x; x = x->next) {
        if (matches(in, x->text) && !matches(outside, x->text))
            TRY(add(c, o, list, &n, x->text, err));
    }
    return 0;
}

static int axis_fill(HyConfig *c, const HyOverride *o, HyNode *list, Err *err)
{
    int n = 0;
    switch (o->value.sweep) {
    case HY_ONE:
        return add(c, o, list, &n, hy_override_text(c->arena, o->value.node), err);
    case HY_RANGE:
        return add_range(c, o, list, err);
    case HY_GLOB:
        return add_glob(c, o, list, err);
    case HY_INTERVAL:
        return fail(o, "an interval has no end of values; name them", err);
    case HY_SIMPLE_CHOICE:
    case HY_CHOICE:
        break;
    }
    for (const HyNode *x = o->value.node->first; x; x = x->next)
        TRY(add(c, o, list, &n, hy_override_text(c->arena, x), err));
    return 0;
}

static void shuffle(HyConfig *c, HyNode *list)
{
    int n = hy_count(list), i = 0;
    HyNode **item = hy_alloc(c->arena, ((size_t)n + 1) * sizeof *item);
    Rng rng;
    for (HyNode *x = list->first; x; x = x->next) item[i++] = x;
    rng_seed(&rng, (uint64_t)c->now, 1);
    list->first = list->last = NULL;
    for (; n > 0; n--) {
        i = (int)rng_below(&rng, (uint64_t)n);
        hy_append(list, item[i]);
        item[i] = item[n - 1];
    }
}

/* A key given twice keeps its first place and takes its last values. */
static int axes_make(HyConfig *c, Axis **axes, Err *err)
{
    for (int i = 0; i < c->n_overrides; i++) {
        const HyOverride *o = &c->override[i];
        Axis **at = axes;
        if (hy_override_is_hydra(o)) continue;
        const char *key = hy_override_key(c->arena, o);
        while (*at && strcmp((*at)->key, key) != 0) at = &(*at)->next;
        if (!*at) *at = hy_alloc(c->arena, sizeof **at);
        (*at)->key = key;
        (*at)->values = hy_new(c->arena, HY_LIST);
        TRY(axis_fill(c, o, (*at)->values, err));
        if (o->value.shuffle) shuffle(c, (*at)->values);
    }
    return 0;
}

/* Each job so far, once per value of the next axis. */
static int multiply(HyConfig *c, HyNode **jobs, const Axis *axis, Err *err)
{
    HyNode *more = hy_new(c->arena, HY_LIST);
    if ((long)hy_count(*jobs) * hy_count(axis->values) > MAX_JOBS)
        return err_set(err, "a sweep of more than %d jobs", MAX_JOBS);
    for (const HyNode *job = (*jobs)->first; job; job = job->next) {
        for (const HyNode *v = axis->values->first; v; v = v->next) {
            HyNode *made = hy_copy(c->arena, job), *value = hy_copy(c->arena, v);
            if (!made || !value) return hy_check_size(c->arena, err);
            hy_append(made, value);
            hy_append(more, made);
        }
    }
    *jobs = more;
    return 0;
}

HyNode *hy_sweep(HyConfig *c, Err *err)
{
    Axis *axes = NULL;
    HyNode *jobs = hy_new(c->arena, HY_LIST);
    hy_append(jobs, hy_new(c->arena, HY_LIST));
    if (axes_make(c, &axes, err) < 0) return NULL;
    for (const Axis *x = axes; x; x = x->next) {
        if (multiply(c, &jobs, x, err) < 0) return NULL;
    }
    return jobs;
}
