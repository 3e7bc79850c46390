/* Composition: read, merge in the order of the defaults, apply the overrides, and tell hydra's node
 * what was done. */
#include "hydra/compose.h"

#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/names.h"
#include "hydra/load.h"
#include "hydra/merge.h"
#include "hydra/own_keys.h"
#include "hydra/scalar.h"

static const char version[] = "1.3.8"; /* of the Hydra whose behaviour this is */

void hy_config_free(HyConfig *c)
{
    hy_arena_free(c->arena);
    memset(c, 0, sizeof *c);
}

HyEval hy_eval_job(HyConfig *c, Err *err)
{
    return (HyEval){
        .arena = c->arena, .root = c->job, .hydra = c->hydra, .now = c->now, .err = err};
}

HyEval hy_eval_all(HyConfig *c, Err *err)
{
    return (HyEval){
        .arena = c->arena, .root = c->all, .hydra = c->hydra, .now = c->now, .err = err};
}

const char *hy_config_text(HyConfig *c, const char *key, Err *err)
{
    HyNode *value;
    HyEval e = hy_eval_all(c, err);
    if (hy_select(&e, c->all, key, true, &value) < 0) {
        err_wrap(err, "%s", key);
        hy_one_line(err);
        return NULL;
    }
    if (value && value->kind == HY_TEXT) return value->text;
    if (value && !hy_is_container(value) && value->kind != HY_NULL) return hy_str(c->arena, value);
    err_set(err, "%s must be a text", key);
    return NULL;
}

/* --- overrides ---------------------------------------------------------------------------------*/

static int sweep_refuse(const HyOverride *o, Err *err)
{
    char shown[NAME_SHOWN_MAX];
    name_show(shown, o->line);
    if (o->value.sweep == HY_SIMPLE_CHOICE) {
        return err_set(err,
                       "override '%s': several values: write [a,b] for a list, quote it for a "
                       "text, or add -m to run a job for each",
                       shown);
    }
    return err_set(err, "override '%s': a sweep needs -m, which runs a job for each value", shown);
}

static int overrides_parse(HyConfig *c, const HyOptions *o, Err *err)
{
    c->n_overrides = o->n_overrides;
    c->override = hy_alloc(c->arena, ((size_t)o->n_overrides + 1) * sizeof *c->override);
    for (int i = 0; i < o->n_overrides; i++) {
        HyOverride *x = &c->override[i];
        TRY(hy_override_parse(c->arena, o->overrides[i], x, err));
        if (strstr(x->line, "${")) TRY(hy_check_reference(c->arena, x->line, err));
    }
    for (int i = 0; i < o->n_overrides; i++) {
        const HyOverride *x = &c->override[i];
        char shown[NAME_SHOWN_MAX];
        if (x->value.sweep == HY_ONE) continue;
        if (!o->multirun) return sweep_refuse(x, err);
        if (hy_override_is_hydra(x))
            return err_set(err, "override '%s': hydra's own keys cannot be swept over",
                           name_show(shown, x->line));
    }
    return 0;
}

/* --- hydra.searchpath --------------------------------------------------------------------------*/

static int searchpath_add(HyConfig *c, const HyNode *list, const char *provider, Err *err)
{
    if (list->kind != HY_LIST) return err_set(err, "hydra.searchpath must be a list of folders");
    for (const HyNode *x = list->first; x; x = x->next) {
        if (x->kind != HY_TEXT) return err_set(err, "hydra.searchpath must be a list of folders");
        HyEval e = {.arena = c->arena, .root = hy_new(c->arena, HY_MAP), .now = c->now, .err = err};
        HyNode *path = hy_new_text(c->arena, x->text);
        hy_set(e.root, HY_TEXT, "path", path);
        path = hy_follow(&e, path);
        if (!path || path->kind != HY_TEXT) return err_wrap(err, "hydra.searchpath");
        TRY(hy_repo_add(&c->repo, provider, path->text));
    }
    return 0;
}

static int searchpath_read(HyConfig *c, const char *primary, Err *err)
{
    HyFile *file;
    TRY(hy_config_load(&c->repo, primary, &file));
    if (file && file->root->kind != HY_MAP) {
        return err_set(err, "%s: the primary configuration must be a mapping", file->path);
    }
    for (int i = 0; i < c->n_overrides; i++) {
        const HyOverride *o = &c->override[i];
        if (o->change == HY_CHANGE && strcmp(o->key, "hydra.searchpath") == 0)
            return searchpath_add(c, o->value.node, "hydra.searchpath in command-line", err);
    }
    HyNode *list = file ? hy_find(file->root, "hydra.searchpath") : NULL;
    return list && list->kind != HY_NULL ? searchpath_add(c, list, "hydra.searchpath in main", err)
                                         : 0;
}

/* --- merging -----------------------------------------------------------------------------------*/

static int part_merge(HyConfig *c, HyEval *e, const HyPart *part)
{
    HyFile *file;
    TRY(hy_config_load(&c->repo, part->config, &file));
    CHECK(file, "a configuration that was there is gone: %s", part->config);
    bool builtin = strcmp(part->config, "hydra/config") == 0;
    HyNode *values = hy_copy(c->arena, file->root);
    if (!values) return hy_check_size(c->arena, e->err);
    values = hy_embed(c->arena, part->package, values, e->err);
    if (!values) return err_wrap(e->err, "%s: its package", file->path);
    if (!part->primary && !builtin && hy_find(values, "hydra.searchpath")) {
        return err_set(e->err, "%s: hydra.searchpath is for the primary configuration only",
                       file->path);
    }
    return hy_merge(e, c->all, values, false);
}

static int base_merge(HyConfig *c, HyEval *e, const char *base)
{
    if (!base) return 0;
    const HyNode *values = hy_load_text(c->arena, base, strlen(base), "default", e->err);
    return values ? hy_merge(e, c->all, values, false) : -1;
}

static int values_apply(HyConfig *c, HyEval *e)
{
    for (int i = 0; i < c->defaults.n_values; i++) TRY(hy_apply(e, c->defaults.value[i]));
    return 0;
}

/* --- what hydra's node tells -------------------------------------------------------------------*/

static HyNode *text_of(HyConfig *c, const char *text)
{
    return hy_new_text(c->arena, hy_copy_text(c->arena, text, strlen(text)));
}

static void put_if_missing(HyConfig *c, const char *key, HyNode *value)
{
    const HyNode *old = hy_find(c->hydra, key);
    if (!old || hy_is_missing(old)) hy_put(c->arena, c->hydra, key, value);
}

static int compare_texts(const void *a, const void *b)
{
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

static bool is_excluded(const HyNode *keys, const char *key)
{
    for (const HyNode *x = keys ? keys->first : NULL; x; x = x->next) {
        if (x->kind == HY_TEXT && strcmp(x->text, key) == 0) return true;
    }
    return false;
}

static const char *setting(HyConfig *c, const char *key, const char *fallback)
{
    const HyNode *value = hy_find(c->hydra, key);
    return value && value->kind == HY_TEXT ? value->text : fallback;
}

/* The overrides as part of a folder's name: sorted, with the separators that are configured. */
static const char *override_dirname(HyConfig *c)
{
    HyArena *a = c->arena;
    int n = 0;
    const char **line = hy_alloc(a, ((size_t)c->n_overrides + 1) * sizeof *line), *all = "";
    const char *item = setting(c, "job.config.override_dirname.item_sep", ",");
    const char *pair = setting(c, "job.config.override_dirname.kv_sep", "=");
    const HyNode *excluded = hy_find(c->hydra, "job.config.override_dirname.exclude_keys");
    for (int i = 0; i < c->n_overrides; i++) {
        const HyOverride *o = &c->override[i];
        if (!hy_override_is_hydra(o) && !is_excluded(excluded, o->key)) line[n++] = o->line;
    }
    qsort(line, (size_t)n, sizeof *line, compare_texts);
    for (int i = 0; i < n; i++) {
        all = hy_format(a, "%s%s", all, i ? item : "");
        for (const char *s = line[i]; *s;) {
            size_t size = strcspn(s, "=");
            all = hy_format(a, "%s%.*s%s", all, (int)size, s, s[size] ? pair : "");
            s += size + (s[size] == '=');
        }
    }
    return all;
}

static void sources_tell(HyConfig *c)
{
    HyNode *list = hy_new(c->arena, HY_LIST);
    for (int i = -1; i < c->repo.n; i++) {
        HyNode *source = hy_new(c->arena, HY_MAP);
        const HyFolder *f = i < 0 ? NULL : &c->repo.folder[i];
        char path[PATH_MAX];
        const char *shown = f && realpath(f->path, path) ? path : f ? f->path : "hydra.conf";
        hy_set(source, HY_TEXT, "path", text_of(c, shown));
        hy_set(source, HY_TEXT, "schema", text_of(c, f ? "file" : "pkg"));
        hy_set(source, HY_TEXT, "provider", text_of(c, f ? f->provider : "hydra"));
        hy_append(list, source);
    }
    hy_put(c->arena, c->hydra, "runtime.config_sources", list);
}

static void hydra_tell(HyConfig *c, const HyOptions *o)
{
    HyArena *a = c->arena;
    HyNode *task = hy_new(a, HY_LIST), *own = hy_new(a, HY_LIST);
    char cwd[PATH_MAX];
    for (int i = 0; i < c->n_overrides; i++)
        hy_append(hy_override_is_hydra(&c->override[i]) ? own : task,
                  text_of(c, c->override[i].line));
    const char *name = o->job ? o->job : "app";
    hy_put(a, c->hydra, "overrides.task", task);
    hy_put(a, c->hydra, "overrides.hydra", own);
    for (HyNode *x = task->first; x; x = x->next) x->final = true;
    for (HyNode *x = own->first; x; x = x->next) x->final = true;
    put_if_missing(c, "job.name", text_of(c, name));
    HyNode *dirname = text_of(c, override_dirname(c));
    dirname->final = true;
    hy_put(a, c->hydra, "job.override_dirname", dirname);
    hy_put(a, c->hydra, "job.config_name", text_of(c, o->config_name));
    if (o->num >= 0) {
        hy_put(a, c->hydra, "job.num", hy_new_int(a, hy_format(a, "%ld", o->num)));
        hy_put(a, c->hydra, "job.id", hy_new_text(a, hy_format(a, "%ld", o->num)));
    }
    hy_put(a, c->hydra, "mode", text_of(c, o->multirun || o->num >= 0 ? "MULTIRUN" : "RUN"));
    hy_put(a, c->hydra, "runtime.version", text_of(c, version));
    hy_put(a, c->hydra, "runtime.version_base", text_of(c, "1.3"));
    hy_put(a, c->hydra, "runtime.cwd", text_of(c, getcwd(cwd, sizeof cwd) ? cwd : "."));
    hy_put(a, c->hydra, "runtime.choices", hy_copy(a, c->defaults.choices));
    if (o->output_dir) hy_put(a, c->hydra, "runtime.output_dir", text_of(c, o->output_dir));
    sources_tell(c);
}

static int compose(HyConfig *c, const HyOptions *o, Err *err)
{
    for (int i = 0; i < o->n_folders; i++)
        TRY(hy_repo_add(&c->repo, o->folder[i].provider, o->folder[i].path));
    TRY(overrides_parse(c, o, err));
    TRY(searchpath_read(c, o->config_name, err));
    TRY(hy_defaults(&c->repo, o->config_name, c->override, c->n_overrides, o->multirun,
                    &c->defaults));
    HyEval e = {.arena = c->arena, .root = c->all, .now = c->now, .err = err};
    TRY(base_merge(c, &e, o->base));
    for (int i = 0; i < c->defaults.n; i++) TRY(part_merge(c, &e, &c->defaults.part[i]));
    TRY(values_apply(c, &e));
    c->hydra = hy_get(c->all, "hydra");
    if (!c->hydra || c->hydra->kind != HY_MAP) return err_set(err, "the key 'hydra' is taken");
    const HyNode *mode = hy_get(c->hydra, "mode");
    c->wants_multirun = mode && mode->kind == HY_TEXT && strcmp(mode->text, "MULTIRUN") == 0;
    TRY(hy_own_keys_check(c->arena, c->hydra, err));
    hydra_tell(c, o);
    c->job = hy_copy(c->arena, c->all);
    if (!c->job) return hy_check_size(c->arena, err);
    hy_remove(hy_get(c->job, "hydra"));
    return hy_check_size(c->arena, err);
}

int hy_compose(HyConfig *c, const HyOptions *o, Err *err)
{
    memset(c, 0, sizeof *c);
    c->arena = hy_arena_new();
    c->now = o->now;
    c->all = hy_new(c->arena, HY_MAP);
    c->repo = (HyRepo){.arena = c->arena, .err = err};
    return compose(c, o, err) < 0 ? hy_one_line(err) : 0;
}
