/* Finding and reading configurations. */
#include "hydra/source.h"

#include <dirent.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/file.h"
#include "base/names.h"
#include "hydra/load.h"
#include "hydra/refer.h"

enum { HEADER_MAX = 512, MAX_OPTIONS = 1024, SHOWN = 6, MAX_BELOW = 8 };

int hy_repo_add(HyRepo *r, const char *provider, const char *path)
{
    static const char scheme[] = "file://";
    if (r->n == HY_MAX_FOLDERS) {
        return err_set(r->err, "more than %d folders of configurations", HY_MAX_FOLDERS);
    }
    if (strncmp(path, scheme, sizeof scheme - 1) == 0) path += sizeof scheme - 1;
    if (strstr(path, "://")) {
        char shown[NAME_SHOWN_MAX];
        return err_set(r->err, "configurations are read from folders only, not from '%s'",
                       name_show(shown, path));
    }
    r->folder[r->n++] = (HyFolder){provider, hy_copy_text(r->arena, path, strlen(path))};
    return 0;
}

static bool folder_path(char out[PATH_MAX], const HyFolder *folder, const char *name)
{
    Err ignored;
    return path_join(out, PATH_MAX, folder->path, name, &ignored) == 0;
}

static const HyBuiltin *builtin_find(const char *name)
{
    int n;
    const HyBuiltin *all = hy_builtins(&n);
    for (int i = 0; i < n; i++) {
        if (strcmp(all[i].name, name) == 0) return &all[i];
    }
    return NULL;
}

static bool is_below(const char *name, const char *group)
{
    size_t size = strlen(group);
    return size == 0 || (strncmp(name, group, size) == 0 && name[size] == '/');
}

bool hy_group_exists(const HyRepo *r, const char *group)
{
    int n;
    char path[PATH_MAX];
    const HyBuiltin *all = hy_builtins(&n);
    for (int i = 0; i < n; i++) {
        if (is_below(all[i].name, group)) return true;
    }
    for (int i = 0; i < r->n; i++) {
        if (folder_path(path, &r->folder[i], group) && dir_exists(path)) return true;
    }
    return false;
}

/* The file of a configuration, in the first folder that has it. */
static bool file_find(const HyRepo *r, const char *name, char path[PATH_MAX])
{
    const char *file = hy_format(r->arena, "%s%s", name, text_ends(name, ".yaml") ? "" : ".yaml");
    for (int i = 0; i < r->n; i++) {
        if (folder_path(path, &r->folder[i], file) && file_exists(path)) return true;
    }
    return false;
}

bool hy_config_exists(const HyRepo *r, const char *name)
{
    char path[PATH_MAX];
    return builtin_find(name) || file_find(r, name, path);
}

/* --- reading -----------------------------------------------------------------------------------*/

static int header_fail(const HyRepo *r, const HyFile *file)
{
    return err_set(r->err, "%s: a header line is `# @package NAME`", file->path);
}

/* "# @key value": comments that start with '@' before anything else but empty lines. */
static int header_line(HyRepo *r, HyFile *file, char *line, bool *more)
{
    char *words[3] = {NULL}, *rest = line + strspn(line, " \t");
    int n = 0;
    *more = true;
    if (!*rest) return 0;
    char *at = rest + strspn(rest, "#");
    at += strspn(at, " \t");
    *more = *rest == '#' && rest[1 + strspn(rest + 1, " \t")] == '@';
    if (!*more) return 0;
    for (char *word; (word = strsep(&at, " ")) != NULL;) {
        word[strcspn(word, "\t\r")] = 0;
        if (*word && n == 2) return header_fail(r, file);
        if (*word) words[n++] = word;
    }
    if (n < 2) return header_fail(r, file);
    if (strcmp(words[0], "@package") == 0) {
        file->package = hy_copy_text(r->arena, words[1], strlen(words[1]));
    }
    return 0;
}

static int header_read(HyRepo *r, HyFile *file, const char *text, size_t size)
{
    char *head = hy_copy_text(r->arena, text, size < HEADER_MAX ? size : HEADER_MAX);
    bool more = true;
    for (char *line; more && (line = strsep(&head, "\n")) != NULL;) {
        TRY(header_line(r, file, line, &more));
    }
    return 0;
}

static int references_check(HyRepo *r, const HyNode *node)
{
    if (hy_is_reference(node) && hy_check_reference(r->arena, node->text, r->err) < 0) {
        return err_wrap(r->err, "%s: '%s'", hy_where(r->arena, node), hy_full_key(r->arena, node));
    }
    for (const HyNode *c = node->first; c; c = c->next) TRY(references_check(r, c));
    return 0;
}

static int file_parse(HyRepo *r, HyFile *file, const char *text, size_t size)
{
    file->root = hy_load_text(r->arena, text, size, file->path, r->err);
    if (!file->root) return -1;
    TRY(header_read(r, file, text, size));
    TRY(references_check(r, file->root));
    HyNode *defaults = hy_get(file->root, "defaults");
    if (!defaults) return 0;
    if (defaults->kind != HY_LIST) {
        return err_set(r->err, "%s: defaults must be a list", hy_where(r->arena, defaults));
    }
    hy_remove(defaults);
    file->defaults = defaults;
    return 0;
}

int hy_config_load(HyRepo *r, const char *name, HyFile **out)
{
    char path[PATH_MAX], *text = NULL;
    size_t size = 0;
    for (*out = r->files; *out; *out = (*out)->next) {
        if (strcmp((*out)->name, name) == 0) return 0;
    }
    const HyBuiltin *builtin = builtin_find(name);
    if (!builtin && !file_find(r, name, path)) return 0;
    HyFile *file = hy_alloc(r->arena, sizeof *file);
    file->name = hy_copy_text(r->arena, name, strlen(name));
    file->path = builtin ? hy_format(r->arena, "built-in %s", name)
                         : hy_copy_text(r->arena, path, strlen(path));
    if (!builtin) TRY(file_read(path, &text, &size, HY_MAX_TEXT, r->err));
    int rc = builtin ? file_parse(r, file, builtin->text, strlen(builtin->text))
                     : file_parse(r, file, text, size);
    free(text);
    TRY(rc);
    file->next = r->files;
    r->files = *out = file;
    return 0;
}

/* --- listing -----------------------------------------------------------------------------------*/

static int compare(const void *a, const void *b)
{
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

typedef struct Names {
    const HyRepo *repo;
    const char *name[MAX_OPTIONS];
    int n;
} Names;

static void names_add(Names *names, const char *prefix, const char *name, size_t size)
{
    if (names->n == MAX_OPTIONS) return;
    names->name[names->n++] = hy_format(names->repo->arena, "%s%.*s", prefix, (int)size, name);
}

static void list_folder(Names *names, const char *folder, const char *prefix, int below)
{
    DIR *dir = opendir(folder);
    if (!dir) return;
    for (struct dirent *entry; (entry = readdir(dir)) != NULL;) {
        char path[PATH_MAX];
        Err ignored;
        const char *name = entry->d_name;
        if (*name == '.' || path_join(path, sizeof path, folder, name, &ignored) < 0) continue;
        if (text_ends(name, ".yaml") && file_exists(path))
            names_add(names, prefix, name, strlen(name) - 5);
        if (below > 0 && dir_exists(path))
            list_folder(names, path, hy_format(names->repo->arena, "%s%s/", prefix, name),
                        below - 1);
    }
    closedir(dir);
}

static void list_builtins(Names *names, const char *group, bool below)
{
    int n;
    const HyBuiltin *all = hy_builtins(&n);
    for (int i = 0; i < n; i++) {
        if (!is_below(all[i].name, group)) continue;
        const char *rest = all[i].name + strlen(group) + (*group ? 1 : 0);
        if (below || !strchr(rest, '/')) names_add(names, "", rest, strlen(rest));
    }
}

HyNode *hy_group_options(const HyRepo *r, const char *group, bool below)
{
    Names *names = hy_alloc(r->arena, sizeof *names);
    HyNode *out = hy_new(r->arena, HY_LIST);
    names->repo = r;
    list_builtins(names, group, below);
    for (int i = 0; i < r->n; i++) {
        char path[PATH_MAX];
        if (folder_path(path, &r->folder[i], group))
            list_folder(names, path, "", below ? MAX_BELOW : 0);
    }
    qsort(names->name, (size_t)names->n, sizeof names->name[0], compare);
    for (int i = 0; i < names->n; i++) {
        if (i > 0 && strcmp(names->name[i], names->name[i - 1]) == 0) continue;
        hy_append(out, hy_new_text(r->arena, names->name[i]));
    }
    return out;
}

static const char *base_name(const char *path)
{
    const char *slash = strrchr(path, '/');
    return slash ? slash + 1 : path;
}

/* One whose last part is the same was meant with its folders; else the nearest spelling. */
static const char *option_nearest(HyArena *a, const HyNode *options, const char *option)
{
    int n = 0;
    const char **known = hy_alloc(a, ((size_t)hy_count(options) + 1) * sizeof *known);
    for (const HyNode *o = options->first; o; o = o->next) {
        known[n++] = o->text;
        if (strcmp(base_name(o->text), base_name(option)) == 0) return o->text;
    }
    return name_nearest(option, known, n);
}

/* A group that cannot be searched, or something of the option's name that is no file: -1. */
static int option_blocked(const HyRepo *r, const char *group, const char *option, const char *place)
{
    const char *file = hy_format(r->arena, "%s%s%s.yaml", group, *group ? "/" : "", option);
    for (int i = 0; i < r->n; i++) {
        char path[PATH_MAX];
        struct stat info;
        if (folder_path(path, &r->folder[i], group) && dir_exists(path) &&
            access(path, R_OK | X_OK) != 0) {
            file_error(r->err, "list the folder", path);
            return err_wrap(r->err, "%s", place);
        }
        if (folder_path(path, &r->folder[i], file) && lstat(path, &info) == 0 && !file_exists(path))
            return err_set(r->err, "%s: %s is there, but is no file that can be read", place, path);
    }
    return 0;
}

int hy_option_unknown(const HyRepo *r, const char *group, const char *option, const char *place)
{
    TRY(option_blocked(r, group, option, place));
    char shown[NAME_SHOWN_MAX];
    const HyNode *options = hy_group_options(r, group, true);
    const char *near = option_nearest(r->arena, options, option), *some = "";
    int n = 0;
    for (const HyNode *o = options->first; o; o = o->next) {
        if (n++ < SHOWN) some = hy_format(r->arena, "%s%s%.80s", some, n > 1 ? ", " : "", o->text);
    }
    return err_set(r->err, "%s: no %.64s '%s'%s%s%s there is %s%s", place,
                   *group ? group : "configuration", name_show(shown, option),
                   near ? "; did you mean '" : "", near ? near : "", near ? "'?" : ";",
                   n > 0 ? some : "none", n > SHOWN ? ", ..." : "");
}
