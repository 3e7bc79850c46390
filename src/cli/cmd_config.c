/* ttt config: prints a composed configuration, or the table of all keys. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli/command.h"
#include "cli/hydra_flags.h"
#include "cli/output.h"
#include "hydra/emit.h"
#include "model/config_table.h"
#include "model/config_tree.h"

static const char help[] =
    "usage: ttt config [options] [OVERRIDE...]\n"
    "       ttt config --keys\n"
    "\n"
    "Composes a configuration as Hydra does and prints it. In ttt's own tree every value is "
    "checked\n"
    "against the table of keys, and references are filled in; another tree (--config-dir) has no\n"
    "table, and keeps its references unless --resolve is given.\n"
    "\n"
    "  OVERRIDE            model.suffix_len=2, model=small, +experiment=tiny/pretrain-tiny-e2e,\n"
    "                      ~key, ++key=value, 'key=[a, b]': the grammar of Hydra 1.3 "
    "(docs/hydra.md)\n"
    "  --config-dir DIR    folder with config.yaml and its groups (default: $TTT_CONFIG_DIR,\n"
    "                      ./configs, or the one beside the program)\n"
    "  --config-name NAME  the configuration in it (config)\n"
    "  --resolve           fill in references\n"
    "  --strict            refuse values that are still ??? (to be given)\n"
    "  --format FORMAT     yaml (default) or json\n"
    "  --schema            check another tree by ttt's table too\n"
    "  --keys              the table of all keys in Markdown: type, default, meaning\n"
    "  -m, --multirun      print the overrides of each job of a sweep, a JSON list per line\n"
    "  -cp DIR, -c WHAT, -i WHAT, -p KEY, -r: as in `ttt help train`\n"
    "\n"
    "example: ttt config +experiment=125m/pretrain/pretrain-125m-e2e training.total_steps=100\n";

typedef struct Arguments {
    HydraFlags hydra;
    const char *format;
    bool strict, keys, schema;
} Arguments;

static int keys_print(void)
{
    char *text = config_keys_markdown();
    fputs(text, stdout);
    free(text);
    return output_finish("config");
}

/* The tree to print: with the table its checked values, else what was composed. */
static HyNode *tree_make(HyConfig *h, const Arguments *a, bool checked, Err *err)
{
    Config c;
    HyEval e = hy_eval_job(h, err);
    HyNode *tree = h->job;
    if (checked) {
        if (config_take(&c, h, err) < 0 || config_check(&c, err) < 0) return NULL;
        tree = config_typed(h, &c, err);
    } else if (a->hydra.resolve) {
        tree = hy_resolve(&e, h->job, a->strict);
    }
    if (!tree || !a->strict) return tree;
    int rc = checked ? config_check_missing(h, tree, err) : hy_check_missing(h->arena, tree, err);
    return rc < 0 ? NULL : tree;
}

static int jobs_print(HyConfig *h, Err *err)
{
    const HyNode *jobs = hy_sweep(h, err);
    if (!jobs) return -1;
    for (const HyNode *job = jobs->first; job; job = job->next) {
        const char *line = "";
        for (const HyNode *o = job->first; o; o = o->next) {
            const char *text = hy_json(h->arena, o);
            line = hy_format(h->arena, "%s%s%.*s", line, *line ? ", " : "",
                             (int)strcspn(text, "\n"), text);
        }
        printf("[%s]\n", line);
    }
    return output_flush(err);
}

static int print(HyConfig *h, const Arguments *a, const HydraPlace *place, Err *err)
{
    if (hydra_flags_show(&a->hydra)) return hydra_show(h, &a->hydra, err);
    if (a->hydra.multirun) return jobs_print(h, err);
    HyNode *tree = tree_make(h, a, a->schema || place->ours, err);
    if (!tree) return -1;
    bool json = strcmp(a->format, "json") == 0;
    fputs(json ? hy_json(h->arena, tree) : hy_yaml(h->arena, tree), stdout);
    return output_flush(err);
}

static int compose(const Arguments *a, char **overrides, int n, Err *err)
{
    HyConfig h = {0};
    HydraPlace place;
    char *base = config_base();
    HyOptions o = config_options("", base, (const char *const *)overrides, n);
    o.job = "config";
    o.multirun = a->hydra.multirun;
    int rc = hydra_place(&o, &place, &a->hydra, err);
    if (rc == 0 && !a->schema && !place.ours) o.base = NULL;
    if (rc == 0) rc = hy_compose(&h, &o, err);
    if (rc == 0) rc = print(&h, a, &place, err);
    hy_config_free(&h);
    free(base);
    return rc;
}

static int run(int argc, char **argv)
{
    Err err;
    Arguments a = {.format = "yaml"};
    const Option table[] = {
        {"format", OPTION_TEXT, &a.format, 0, 0},
        {"strict", OPTION_FLAG, &a.strict, 0, 0},
        {"schema", OPTION_FLAG, &a.schema, 0, 0},
        {"keys", OPTION_FLAG, &a.keys, 0, 0},
    };
    int n = hydra_flags_parse(argc, argv, &a.hydra, table, ARRAY_LEN(table));
    if (n < 0) return EXIT_USAGE;
    if (strcmp(a.format, "yaml") != 0 && strcmp(a.format, "json") != 0)
        return options_usage("config", "--format takes yaml or json");
    if (a.keys && n > 0) return options_usage("config", "--keys takes no overrides");
    if (a.keys) return keys_print();
    return compose(&a, argv + 1, n, &err) < 0 ? command_fail("config", &err) : EXIT_DONE;
}

const Command command_config = {
    .name = "config",
    .summary = "print a composed configuration, or all keys",
    .help = help,
    .run = run,
};
