/* Finding configuration folders and the options in them. */
#include "model/config_group.h"

#include <dirent.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/file.h"
#include "base/names.h"
#include "model/config.h"

enum { MAX_OPTIONS = 256, OPTION_MAX = 256, OPTIONS_SHOWN = 6, MAX_FOLDERS = 8 };

typedef struct Options {
    int n;
    char name[MAX_OPTIONS][OPTION_MAX];
} Options;

/* A relative path that stays below its folder. */
static bool is_inside(const char *path)
{
    if (!*path || *path == '/' || strlen(path) >= OPTION_MAX) return false;
    for (const char *s = path; s; s = strchr(s, '/') ? strchr(s, '/') + 1 : NULL) {
        if (s[0] == '.' || s[0] == '/') return false;
    }
    return true;
}

bool group_exists(const char *config_dir, const char *group)
{
    char path[PATH_MAX];
    Err ignored;
    if (!is_inside(group)) return false;
    return path_join(path, sizeof path, config_dir, group, &ignored) == 0 && dir_exists(path);
}

static void options_add(Options *o, const char *prefix, const char *name)
{
    int size = (int)strlen(name) - (int)strlen(".yaml");
    if (size < 1 || strcmp(name + size, ".yaml") != 0 || o->n == MAX_OPTIONS) return;
    int n = snprintf(o->name[o->n], OPTION_MAX, "%s%.*s", prefix, size, name);
    if (n < OPTION_MAX) o->n++;
}

static void options_list(Options *o, const char *folder, const char *prefix, int depth)
{
    DIR *dir = opendir(folder);
    if (!dir) return;
    for (struct dirent *entry; (entry = readdir(dir)) != NULL;) {
        char path[PATH_MAX], below[OPTION_MAX];
        Err ignored;
        if (entry->d_name[0] == '.') continue;
        options_add(o, prefix, entry->d_name);
        if (path_join(path, sizeof path, folder, entry->d_name, &ignored) < 0) continue;
        int n = snprintf(below, sizeof below, "%s%s/", prefix, entry->d_name);
        if (n < OPTION_MAX && depth > 0 && dir_exists(path)) {
            options_list(o, path, below, depth - 1);
        }
    }
    closedir(dir);
}

static int compare(const void *a, const void *b)
{
    return strcmp(a, b);
}

static const char *base_name(const char *path)
{
    const char *slash = strrchr(path, '/');
    return slash ? slash + 1 : path;
}

/* One whose last part is the same was meant with its folders; else the nearest spelling. */
static const char *option_nearest(const Options *o, const char *option)
{
    const char *known[MAX_OPTIONS];
    for (int i = 0; i < o->n; i++) {
        known[i] = o->name[i];
        if (strcmp(base_name(known[i]), base_name(option)) == 0) return known[i];
    }
    return name_nearest(option, known, o->n);
}

static int option_unknown(const char *folder, const char *group, const char *option, Err *err)
{
    Options *o = calloc(1, sizeof *o);
    CHECK(o, "out of memory while listing configurations");
    options_list(o, folder, "", MAX_FOLDERS);
    qsort(o->name, (size_t)o->n, sizeof o->name[0], compare);
    const char *near = option_nearest(o, option);
    char some[OPTIONS_SHOWN * (OPTION_MAX + 2)] = "", shown[NAME_SHOWN_MAX];
    size_t used = 0;
    for (int i = 0; i < o->n && i < OPTIONS_SHOWN; i++) {
        used +=
            (size_t)snprintf(some + used, sizeof some - used, "%s%s", i ? ", " : "", o->name[i]);
    }
    err_set(err, "no %.64s '%s' in %.256s%s%s%s there is %.1024s%s", group,
            name_show(shown, option), folder, near ? "; did you mean '" : "", near ? near : "",
            near ? "'?" : ";", o->n > 0 ? some : "none", o->n > OPTIONS_SHOWN ? ", ..." : "");
    free(o);
    return -1;
}

YamlDoc *group_read(const char *config_dir, const char *group, const char *option, Err *err)
{
    char folder[PATH_MAX], file[OPTION_MAX + 8], path[PATH_MAX];
    if (path_join(folder, sizeof folder, config_dir, group, err) < 0) return NULL;
    snprintf(file, sizeof file, "%s.yaml", option);
    bool fits = is_inside(option) && path_join(path, sizeof path, folder, file, err) == 0;
    if (!fits || !file_exists(path)) {
        option_unknown(folder, group, option, err);
        return NULL;
    }
    return yaml_read(path, err);
}

/* --- the folder itself -------------------------------------------------------------------------*/

static bool has_config(const char *folder)
{
    char path[PATH_MAX];
    Err ignored;
    return path_join(path, sizeof path, folder, "config.yaml", &ignored) == 0 && file_exists(path);
}

static int dir_take(char *out, int size, const char *folder, Err *err)
{
    if (snprintf(out, (size_t)size, "%s", folder) < size) return 0;
    return err_set(err, "the path of the configuration folder is too long: %.200s", folder);
}

/* ../configs as seen from the folder of the running program. */
static bool beside_program(char *out, size_t size)
{
    char program[PATH_MAX], folder[PATH_MAX];
    Err ignored;
    ssize_t n = readlink("/proc/self/exe", program, sizeof program - 1);
    if (n < 0) return false;
    program[n] = 0;
    if (path_parent(folder, sizeof folder, program, &ignored) < 0) return false;
    return path_join(out, size, folder, "../configs", &ignored) == 0 && has_config(out);
}

int config_dir_find(char *out, int size, const char *given, Err *err)
{
    char found[PATH_MAX];
    const char *named = given ? given : getenv("TTT_CONFIG_DIR");
    if (named && *named) {
        if (has_config(named)) return dir_take(out, size, named, err);
        return err_set(err, "no config.yaml in %.200s; name a folder of configurations by %s",
                       named, given ? "--config-dir" : "TTT_CONFIG_DIR");
    }
    if (has_config("configs")) return dir_take(out, size, "configs", err);
    if (beside_program(found, sizeof found)) return dir_take(out, size, found, err);
#ifdef TTT_SOURCE_DIR
    if (has_config(TTT_SOURCE_DIR "/configs")) {
        return dir_take(out, size, TTT_SOURCE_DIR "/configs", err);
    }
#endif
    return err_set(err, "no folder of configurations; name one by --config-dir or TTT_CONFIG_DIR");
}
