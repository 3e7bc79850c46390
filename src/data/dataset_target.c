/* The target of a new dataset, and the partial folder beside it. */
#include "data/dataset_target.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/file.h"
#include "base/names.h"

static const char lock_name[] = "lock";

static bool is_dataset_entry(const char *name)
{
    static const char *const names[] = {"dataset.json",   "train.bin",  "train.docs.jsonl",
                                        "val.docs.jsonl", "val.bin",    "zarr.json",
                                        "train",          "val",        ".zgroup",
                                        ".zattrs",        ".zmetadata", "tokenizer.json",
                                        "tokenizer.model"};
    for (int i = 0; i < ARRAY_LEN(names); i++)
        if (strcmp(name, names[i]) == 0) return true;
    return false;
}

static bool has_entry(const char *folder, const char *name)
{
    char path[PATH_MAX];
    struct stat st;
    Err ignored;
    return path_join(path, sizeof path, folder, name, &ignored) == 0 && lstat(path, &st) == 0;
}

/* A folder "train" may be anything: only one with an array in it is part of a dataset. */
static bool is_array_or_file(const char *folder, const char *name)
{
    char path[PATH_MAX];
    Err ignored;
    if (path_join(path, sizeof path, folder, name, &ignored) < 0) return false;
    return !dir_exists(path) || has_entry(path, "zarr.json") || has_entry(path, ".zarray");
}

/* Counts the folder's entries; fails on one that no dataset has. */
static int count_entries(const char *path, Err *err)
{
    DIR *dir = opendir(path);
    if (dir == NULL) return file_error(err, "read the folder", path);
    int n = 0;
    const struct dirent *entry;
    while ((entry = readdir(dir)) != NULL) {
        if (!path_is_name(entry->d_name)) continue;
        n++;
        if (is_dataset_entry(entry->d_name) && is_array_or_file(path, entry->d_name)) continue;
        char shown[NAME_SHOWN_MAX];
        err_set(err, "%s exists and holds more than a dataset (%s): name another folder", path,
                name_show(shown, entry->d_name));
        n = -1;
        break;
    }
    closedir(dir);
    return n;
}

static int target_check(DatasetTarget *t, bool force, Err *err)
{
    struct stat st;
    if (lstat(t->dir, &st) != 0) return 0;
    if (!S_ISDIR(st.st_mode))
        return err_set(err, "%s exists and is not a folder: name another", t->dir);
    int n = count_entries(t->dir, err);
    TRY(n);
    if (n > 0 && !force)
        return err_set(err, "%s exists: name another folder, or give --force to replace it",
                       t->dir);
    t->replaces = n > 0;
    return 0;
}

static int target_name(DatasetTarget *t, const char *dir, Err *err)
{
    TRY(path_join(t->dir, sizeof t->dir, "", dir, err));
    size_t length = strlen(t->dir);
    while (length > 1 && t->dir[length - 1] == '/') t->dir[--length] = 0;
    if (length == 0) return err_set(err, "the name of the dataset folder is empty: give one");
    return 0;
}

int dataset_partial_name(char *out, size_t size, const char *dir, Err *err)
{
    DatasetTarget t;
    TRY(target_name(&t, dir, err));
    return snprintf(out, size, "%s.partial", t.dir) < (int)size
               ? 0
               : err_set(err, "the path %.200s is too long: use a shorter one", dir);
}

/* What is removed before writing must be ours. */
static int partial_check(const DatasetTarget *t, Err *err)
{
    if (!has_entry(t->partial, ".") || has_entry(t->partial, lock_name)) return 0;
    if (rmdir(t->partial) == 0) return 0;
    return err_set(err, "%s is in the way and was not made by this program: move it", t->partial);
}

/* Two that write the same folder would make a mixture of it. The lock goes with its holder, killed
 * or not. */
static int take_lock(DatasetTarget *t, Err *err)
{
    char path[PATH_MAX];
    TRY(path_join(path, sizeof path, t->partial, lock_name, err));
    t->lock = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0666);
    if (t->lock < 0) return file_error(err, "create", path);
    if (flock(t->lock, LOCK_EX | LOCK_NB) == 0) return 0;
    if (errno != EWOULDBLOCK) return file_error(err, "lock", path);
    close(t->lock);
    t->lock = -1;
    return err_set(err,
                   "%s is being written by another process: wait for it, or name another "
                   "folder",
                   t->dir);
}

int dataset_target_open(DatasetTarget *t, const char *dir, bool force, Err *err)
{
    *t = (DatasetTarget){.lock = -1};
    TRY(target_name(t, dir, err));
    TRY(target_check(t, force, err));
    char name[PATH_MAX];
    TRY(dataset_partial_name(name, sizeof name, dir, err));
    memcpy(t->partial, name, sizeof t->partial);
    TRY(partial_check(t, err));
    TRY(dir_make(name, err));
    return take_lock(t, err);
}

static int remove_entry(const char *folder, const char *name, Err *err)
{
    char path[PATH_MAX];
    struct stat st;
    TRY(path_join(path, sizeof path, folder, name, err));
    if (lstat(path, &st) != 0) return file_error(err, "read", path);
    if (S_ISDIR(st.st_mode)) return dir_remove(path, err);
    return unlink(path) == 0 ? 0 : file_error(err, "remove", path);
}

int dataset_target_clean(DatasetTarget *t, Err *err)
{
    DIR *dir = opendir(t->partial);
    if (dir == NULL) return file_error(err, "read the folder", t->partial);
    int status = 0;
    const struct dirent *entry;
    while (status == 0 && (entry = readdir(dir)) != NULL)
        if (path_is_name(entry->d_name) && strcmp(entry->d_name, lock_name) != 0)
            status = remove_entry(t->partial, entry->d_name, err);
    closedir(dir);
    return status;
}

/* Temporary names that killed runs left among the files of tokens. */
static int sweep_folder(const char *folder, Err *err)
{
    char path[PATH_MAX];
    DIR *dir = opendir(folder);
    if (dir == NULL) return errno == ENOENT ? 0 : file_error(err, "read the folder", folder);
    int status = 0;
    const struct dirent *entry;
    while (status == 0 && (entry = readdir(dir)) != NULL) {
        if (strstr(entry->d_name, ".tmp-") == NULL) continue;
        status = path_join(path, sizeof path, folder, entry->d_name, err);
        if (status == 0 && unlink(path) != 0) status = file_error(err, "remove", path);
    }
    closedir(dir);
    return status;
}

int dataset_target_sweep(const DatasetTarget *t, Err *err)
{
    static const char *const folders[] = {"", "train", "train/c", "val", "val/c"};
    char path[PATH_MAX];
    for (int i = 0; i < ARRAY_LEN(folders); i++) {
        TRY(path_join(path, sizeof path, t->partial, folders[i], err));
        TRY(sweep_folder(path, err));
    }
    return 0;
}

/* The old dataset steps aside first: a folder can only be renamed over an empty one. */
static int swap_in(DatasetTarget *t, Err *err)
{
    char aside[PATH_MAX];
    snprintf(aside, sizeof aside, "%s.old-%ld", t->dir, (long)getpid());
    if (t->replaces && rename(t->dir, aside) != 0) return file_error(err, "replace", t->dir);
    if (rename(t->partial, t->dir) != 0) {
        file_error(err, "create", t->dir);
        if (t->replaces && rename(aside, t->dir) != 0)
            err_wrap(err, "the dataset that was there is now %s", aside);
        return -1;
    }
    t->partial[0] = 0;
    return t->replaces ? dir_remove(aside, err) : 0;
}

int dataset_target_commit(DatasetTarget *t, Err *err)
{
    char parent[PATH_MAX];
    TRY(remove_entry(t->partial, lock_name, err));
    TRY(swap_in(t, err));
    TRY(path_parent(parent, sizeof parent, t->dir, err));
    return dir_sync(parent, err);
}

void dataset_target_close(DatasetTarget *t, bool keep)
{
    Err ignored;
    if (t->lock < 0) return; /* not opened, or another process's */
    if (t->partial[0] != 0 && !keep) dir_remove(t->partial, &ignored);
    close(t->lock);
    t->lock = -1;
}
