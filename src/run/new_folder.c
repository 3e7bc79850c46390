/* Names, what may be replaced, and the last rename. */
#include "run/new_folder.h"

#include <dirent.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/file.h"
#include "run/train_folder.h"

static bool known_file(const char *name)
{
    static const char *const known[] = {"config.yaml",           "config.json", "model.safetensors",
                                        "optimizer.safetensors", "state.json",  "tokenizer.json",
                                        "tokenizer.model",       "COMPLETE"};
    for (int i = 0; i < ARRAY_LEN(known); i++)
        if (strcmp(known[i], name) == 0) return true;
    return false;
}

static int place_check(const char *path, bool force, Err *err)
{
    if (access(path, F_OK) != 0) return 0;
    DIR *dir = opendir(path);
    if (!dir) return file_error(err, "take the folder", path);
    bool empty = true, foreign = false;
    for (struct dirent *entry; (entry = readdir(dir));) {
        if (!path_is_name(entry->d_name)) continue;
        empty = false;
        foreign |= !known_file(entry->d_name);
    }
    closedir(dir);
    if (empty || (force && !foreign)) return 0;
    return err_set(err, "%s is there already%s; name another folder%s", path,
                   foreign ? " and holds other things than a model" : "",
                   foreign ? "" : " or replace it with --force");
}

int new_folder_begin(NewFolder *f, const char *path, bool force, Err *err)
{
    char parent[PATH_MAX];
    TRY(path_join(f->path, sizeof f->path, "", path, err));
    for (size_t n = strlen(f->path); n > 1 && f->path[n - 1] == '/'; n--) f->path[n - 1] = '\0';
    int used = snprintf(f->temp, sizeof f->temp, "%s.tmp-%ld", f->path, (long)getpid());
    if (used < 0 || used >= (int)sizeof f->temp)
        return err_set(err, "the path %.200s... is too long", path);
    TRY(place_check(f->path, force, err));
    TRY(path_parent(parent, sizeof parent, f->path, err));
    TRY(dir_make(parent, err));
    return dir_make(f->temp, err);
}

int new_folder_end(NewFolder *f, int status, Err *err)
{
    Err ignored; /* the failure that led there is the one to report */
    if (status == 0) status = dir_sync(f->temp, err);
    if (status == 0) status = folder_replace(f->temp, f->path, err);
    if (status < 0) dir_remove(f->temp, &ignored);
    return status;
}
