/* Hydra's flags: reading them, and showing a composition. */
#include "cli/hydra_flags.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/file.h"
#include "base/names.h"
#include "cli/output.h"
#include "hydra/emit.h"
#include "model/config.h"

enum { MAX_TABLE = 64 };

int hydra_flags_parse(int argc, char **argv, HydraFlags *f, const Option *own, int n)
{
    const Option hydra[] = {
        {"config-dir,cd", OPTION_TEXT, &f->config_dir, 0, 0},
        {"config-name,cn", OPTION_TEXT, &f->config_name, 0, 0},
        {"config-path,cp", OPTION_TEXT, &f->config_path, 0, 0},
        {"cfg,c", OPTION_TEXT, &f->cfg, 0, 0},
        {"package,p", OPTION_TEXT, &f->package, 0, 0},
        {"info,i", OPTION_WORD, &f->info, 0, 0},
        {"multirun,m", OPTION_FLAG, &f->multirun, 0, 0},
        {"resolve", OPTION_FLAG, &f->resolve, 0, 0},
        {"run,r", OPTION_FLAG, &f->run, 0, 0},
    };
    Option table[MAX_TABLE];
    CHECK(n + ARRAY_LEN(hydra) <= MAX_TABLE, "too many options");
    memcpy(table, hydra, sizeof hydra);
    memcpy(table + ARRAY_LEN(hydra), own, (size_t)n * sizeof *own);
    int operands = options_parse(argc, argv, table, n + ARRAY_LEN(hydra));
    if (operands < 0) return -1;
    static const char *const shows[] = {"job", "hydra", "all", NULL};
    static const char *const infos[] = {"all",    "defaults",   "defaults-tree",
                                        "config", "searchpath", NULL};
    const char *const *known[] = {shows, infos};
    const char *given[] = {f->cfg, f->info}, *what[] = {"cfg", "info"};
    for (int i = 0; i < 2; i++) {
        bool good = !given[i];
        for (int k = 0; known[i][k]; k++) good = good || strcmp(given[i], known[i][k]) == 0;
        if (good) continue;
        options_usage(argv[0], "--%s cannot show '%s'", what[i], given[i]);
        return -1;
    }
    return operands;
}

/* --- where -------------------------------------------------------------------------------------*/

static bool holds(const char *folder, const char *name)
{
    char path[PATH_MAX], file[PATH_MAX];
    Err ignored;
    snprintf(file, sizeof file, "%s.yaml", name);
    return path_join(path, sizeof path, folder, file, &ignored) == 0 && file_exists(path);
}

static int folder_take(HydraPlace *place, const char *folder, Err *err)
{
    if (!dir_exists(folder)) {
        char shown[NAME_SHOWN_MAX];
        return err_set(err, "no folder of configurations at %s", name_show(shown, folder));
    }
    if (access(folder, R_OK | X_OK) != 0) return file_error(err, "list the folder", folder);
    return path_join(place->folder, sizeof place->folder, folder, ".", err);
}

static bool is_same_folder(const char *a, const char *b)
{
    char x[PATH_MAX], y[PATH_MAX];
    return realpath(a, x) && realpath(b, y) && strcmp(x, y) == 0;
}

int hydra_place(HyOptions *o, HydraPlace *place, const HydraFlags *f, Err *err)
{
    char own[CFG_PATH];
    Err missing;
    bool found = config_dir_find(own, sizeof own, NULL, &missing) == 0;
    o->config_name = f->config_name ? f->config_name : "config";
    bool whole = f->config_dir && !f->config_path && holds(f->config_dir, o->config_name);
    const char *main = f->config_path ? f->config_path : whole ? f->config_dir : own;
    if (main == own && !found) return err_set(err, "%s", missing.text);
    if (f->config_dir) TRY(folder_take(place, f->config_dir, err));
    TRY(folder_take(place, main, err));
    size_t size = strlen(place->folder);
    place->folder[size - 2] = 0; /* without the "/." that joined it */
    place->ours = found && is_same_folder(main, own);
    o->n_folders = 0;
    o->folder[o->n_folders++] = (HyFolder){"main", place->folder};
    if (f->config_dir && main != f->config_dir)
        o->folder[o->n_folders++] = (HyFolder){"command-line", f->config_dir};
    return 0;
}

/* --- showing -----------------------------------------------------------------------------------*/

bool hydra_flags_show(const HydraFlags *f)
{
    return f->cfg || f->info;
}

static void title(const char *text)
{
    printf("\n%s\n", text);
    for (size_t i = 0; text[i]; i++) putchar('*');
    putchar('\n');
}

static const char *cell(const HyPart *p, int column)
{
    if (column == 0) return p->config;
    if (column == 1) return p->package;
    if (column == 2) return p->is_self ? "True" : "False";
    return p->parent ? p->parent : "";
}

static void rule_show(int width)
{
    for (int k = 0; k < width; k++) putchar('-');
    putchar('\n');
}

/* As Hydra prints it, the blank at the end of the heading too. */
static void defaults_show(const HyConfig *c)
{
    static const char *const names[] = {"Config path", "Package", "_self_", "Parent"};
    int width[ARRAY_LEN(names)], all = 2;
    for (int k = 0; k < ARRAY_LEN(names); k++) {
        width[k] = (int)strlen(names[k]);
        for (int i = 0; i < c->defaults.n; i++) {
            int size = (int)strlen(cell(&c->defaults.part[i], k));
            if (size > width[k]) width[k] = size;
        }
        all += width[k] + 3;
    }
    title("Defaults List");
    for (int i = -1; i < c->defaults.n; i++) {
        putchar('|');
        for (int k = 0; k < ARRAY_LEN(names); k++)
            printf(" %-*s |", width[k], i < 0 ? names[k] : cell(&c->defaults.part[i], k));
        fputs(i < 0 ? " \n" : "\n", stdout);
        if (i < 0) rule_show(all);
    }
    rule_show(all);
}

static void searchpath_show(const HyConfig *c)
{
    title("Config search path");
    printf("| %-34s | %s\n", "Provider", "Search path");
    printf("| %-34s | built-in\n", "hydra");
    for (int i = 0; i < c->repo.n; i++)
        printf("| %-34s | file://%s\n", c->repo.folder[i].provider, c->repo.folder[i].path);
}

/* The part of the tree that --cfg names, under its own keys as Hydra shows it. */
static int tree_show(HyConfig *c, const HydraFlags *f, const char *what, Err *err)
{
    HyEval e = strcmp(what, "job") == 0 ? hy_eval_job(c, err) : hy_eval_all(c, err);
    HyNode *tree = strcmp(what, "job") == 0 ? c->job : c->all;
    const char *key = "";
    if (f->package && strcmp(f->package, "_global_") != 0) key = f->package;
    if (strcmp(what, "hydra") == 0 && !*key) key = "hydra";
    if (f->resolve && !(tree = hy_resolve(&e, tree, false))) return -1;
    if (*key) {
        HyNode *part = hy_find(tree, key), *shown = hy_new(c->arena, HY_MAP);
        if (!part) return err_set(err, "--package: there is no '%s'", key);
        if (!(part = hy_copy(c->arena, part))) return hy_check_size(c->arena, err);
        if (f->package) printf("# @package %s\n", key);
        hy_set(shown, HY_TEXT, key, part);
        tree = f->package && hy_is_container(part) ? part : shown;
    }
    fputs(hy_yaml(c->arena, tree), stdout);
    return 0;
}

int hydra_show(HyConfig *c, const HydraFlags *f, Err *err)
{
    if (f->cfg) TRY(tree_show(c, f, f->cfg, err));
    bool all = f->info && strcmp(f->info, "all") == 0;
    if (f->info && (all || strcmp(f->info, "searchpath") == 0)) searchpath_show(c);
    if (f->info && (all || strcmp(f->info, "defaults-tree") == 0)) {
        title("Defaults Tree");
        fputs(hy_defaults_tree(c->arena, &c->defaults), stdout);
    }
    if (f->info && (all || strcmp(f->info, "defaults") == 0)) defaults_show(c);
    if (f->info && (all || strcmp(f->info, "config") == 0)) {
        title("Config");
        TRY(tree_show(c, f, "job", err));
    }
    return output_flush(err);
}
