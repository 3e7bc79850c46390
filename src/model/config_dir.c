/* Finding the folder of configurations. */
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/file.h"
#include "model/config.h"

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
