/* The file of a submitted job: YAML with a few numbers and the tree, references still in it. */
#include "cli/submitted.h"

#include <limits.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "cli/hydra_keep.h"
#include "hydra/load.h"
#include "hydra/scalar.h"

static HyNode *number_of(HyArena *a, long long n)
{
    return hy_new_int(a, hy_format(a, "%lld", n));
}

int submitted_write(const char *path, HyConfig *h, const TrainOptions *options, Err *err)
{
    HyArena *a = h->arena;
    HyNode *job = hy_new(a, HY_MAP), *tree = hy_copy(a, h->all);
    if (!tree) return hy_check_size(a, err);
    hy_set(job, HY_TEXT, "submitted", number_of(a, (long long)h->now)); /* ${now:...} is this */
    hy_set(job, HY_TEXT, "threads", number_of(a, options->threads));
    hy_set(job, HY_TEXT, "max_sequences", number_of(a, options->max_sequences));
    hy_set(job, HY_TEXT, "config", tree);
    const char *text = hydra_keep_text(a, job);
    if (!text) return hy_check_size(a, err);
    return file_write_atomic(path, text, strlen(text), err);
}

static int number_take(const HyNode *job, const char *key, long long max, long long *out)
{
    const HyNode *value = hy_get(job, key);
    if (!value || value->kind != HY_INT || !hy_int_value(value, out)) return -1;
    return *out >= 0 && *out <= max ? 0 : -1;
}

/* Lines of overrides are no references, whatever they hold. */
static void overrides_close(HyNode *hydra)
{
    static const char *const lists[] = {"overrides.task", "overrides.hydra"};
    for (int i = 0; i < ARRAY_LEN(lists); i++) {
        const HyNode *list = hy_find(hydra, lists[i]);
        for (HyNode *x = list ? list->first : NULL; x; x = x->next)
            if (x->kind == HY_TEXT) x->final = true;
    }
}

static int tree_take(HyConfig *h, HyNode *tree, Err *err)
{
    h->all = tree;
    h->hydra = hy_get(tree, "hydra");
    if (!h->hydra || h->hydra->kind != HY_MAP) return -1;
    overrides_close(h->hydra);
    h->job = hy_copy(h->arena, tree);
    if (!h->job) return hy_check_size(h->arena, err);
    hy_remove(hy_get(h->job, "hydra"));
    return 0;
}

int submitted_parse(const char *text, size_t size, const char *name, HyConfig *h,
                    TrainOptions *options, Err *err)
{
    long long now, threads, sequences;
    memset(h, 0, sizeof *h);
    h->arena = hy_arena_new();
    HyNode *job = hy_load_text(h->arena, text, size, name, err);
    if (!job) return hy_one_line(err);
    err_set(err, "%s: not a job that `ttt train` has submitted; submit it again", name);
    HyNode *tree = job->kind == HY_MAP ? hy_get(job, "config") : NULL;
    if (!tree || tree->kind != HY_MAP) return -1;
    TRY(number_take(job, "submitted", LONG_MAX, &now));
    TRY(number_take(job, "threads", INT_MAX, &threads));
    TRY(number_take(job, "max_sequences", LLONG_MAX, &sequences));
    h->now = (time_t)now;
    options->threads = (int)threads;
    options->max_sequences = (int64_t)sequences;
    tree->parent = NULL; /* a root of its own: absolute references start here */
    tree->next = NULL;
    tree->key = NULL;
    return tree_take(h, tree, err);
}

int submitted_read(const char *path, HyConfig *h, TrainOptions *options, Err *err)
{
    char *text;
    size_t size;
    memset(h, 0, sizeof *h);
    TRY(file_read(path, &text, &size, HY_MAX_TEXT, err));
    int rc = submitted_parse(text, size, path, h, options, err);
    free(text);
    return rc;
}
