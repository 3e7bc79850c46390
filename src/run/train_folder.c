/* Paths of a run, its lock, and moving an old run aside. */
#include "run/train_folder.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/file.h"
#include "base/log.h"

enum { MAX_OLD = 1000, LOCK_TRIES = 10 };

/* out = BASE/FAMILY/NAME; a name with a slash brings its own family. */
static int run_path(char out[PATH_MAX], const char *base, const char *family, const char *name,
                    Err *err)
{
    char middle[PATH_MAX];
    TRY(path_join(middle, sizeof middle, base, strchr(name, '/') ? "" : family, err));
    return path_join(out, PATH_MAX, middle, name, err);
}

static bool checkpoints_elsewhere(const TrainingConfig *t)
{
    Config defaults;
    config_defaults(&defaults);
    return t->checkpoint_path[0] &&
           strcmp(t->checkpoint_path, defaults.training.checkpoint_path) != 0;
}

int train_folder_checkpoints(char out[PATH_MAX], const TrainingConfig *t, const char *name,
                             Err *err)
{
    char run[PATH_MAX];
    if (checkpoints_elsewhere(t))
        return run_path(out, t->checkpoint_path, t->exp_folder, name, err);
    TRY(run_path(run, t->exp_dir, t->exp_folder, name, err));
    return path_join(out, PATH_MAX, run, "checkpoints", err);
}

static int lock_refused(int fd, const char *folder, Err *err)
{
    char holder[32] = "";
    if (pread(fd, holder, sizeof holder - 1, 0) < 0) holder[0] = '\0';
    long pid = strtol(holder, NULL, 10);
    return err_set(err,
                   "process %ld is training in %s; wait for it, stop it (kill %ld), or choose "
                   "another training.exp_name",
                   pid, folder, pid);
}

/* 1 when the lock is ours, 0 when the folder was moved away meanwhile. */
static int lock_try(int *out, const char *folder, Err *err)
{
    char path[PATH_MAX], text[32];
    struct stat opened, named;
    TRY(dir_make(folder, err));
    TRY(path_join(path, sizeof path, folder, "lock", err));
    int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0666);
    if (fd < 0) return file_error(err, "create", path);
    int status = 0;
    if (flock(fd, LOCK_EX | LOCK_NB) != 0)
        status =
            errno == EWOULDBLOCK ? lock_refused(fd, folder, err) : file_error(err, "lock", path);
    else if (fstat(fd, &opened) == 0 && stat(path, &named) == 0)
        status = opened.st_ino == named.st_ino && opened.st_dev == named.st_dev;
    int size = snprintf(text, sizeof text, "%-10ld\n", (long)getpid());
    if (status == 1 && pwrite(fd, text, (size_t)size, 0) != size)
        status = file_error(err, "write", path);
    if (status == 1)
        *out = fd;
    else
        close(fd);
    return status;
}

static int folder_lock(int *out, const char *folder, Err *err)
{
    for (int i = 0; i < LOCK_TRIES; i++) {
        int status = lock_try(out, folder, err);
        if (status != 0) return status < 0 ? -1 : 0;
    }
    return err_set(err, "%s keeps being moved away; stop the other trainers", folder);
}

static int move_aside(const char *folder, Err *err)
{
    char old[PATH_MAX];
    for (int i = 1; i <= MAX_OLD; i++) {
        int used = snprintf(old, sizeof old, "%s.old-%d", folder, i);
        if (used < 0 || used >= (int)sizeof old)
            return err_set(err, "the path %.200s... is too long: use a shorter one", folder);
        if (access(old, F_OK) == 0) continue;
        if (rename(folder, old) != 0) return file_error(err, "rename", folder);
        log_info("ttt train: %s is now %s", folder, old);
        return 0;
    }
    return err_set(err, "%s.old-1 to .old-%d are all there; remove some", folder, MAX_OLD);
}

/* Locks a folder; when fresh, moves what it held aside first, under the old folder's lock. */
static int folder_take(int *lock, const char *folder, bool fresh, Err *err)
{
    bool old = dir_exists(folder);
    TRY(folder_lock(lock, folder, err));
    if (!fresh || !old) return 0;
    TRY(move_aside(folder, err));
    close(*lock);
    *lock = -1;
    return folder_lock(lock, folder, err);
}

int train_folder_open_at(TrainFolder *f, const char *folder, bool fresh, Err *err)
{
    f->locks[0] = f->locks[1] = -1;
    TRY(path_join(f->run, sizeof f->run, "", folder, err));
    TRY(path_join(f->checkpoints, sizeof f->checkpoints, folder, "checkpoints", err));
    TRY(folder_take(&f->locks[0], f->run, fresh, err));
    return dir_make(f->checkpoints, err);
}

int train_folder_path(char out[PATH_MAX], const TrainingConfig *t, Err *err)
{
    if (!t->exp_name[0]) return err_set(err, "the run has no name; add training.exp_name=NAME");
    return run_path(out, t->exp_dir, t->exp_folder, t->exp_name, err);
}

int train_folder_open(TrainFolder *f, const TrainingConfig *t, bool fresh, Err *err)
{
    f->locks[0] = f->locks[1] = -1;
    TRY(train_folder_path(f->run, t, err));
    TRY(train_folder_checkpoints(f->checkpoints, t, t->exp_name, err));
    TRY(folder_take(&f->locks[0], f->run, fresh, err));
    if (!checkpoints_elsewhere(t)) return dir_make(f->checkpoints, err);
    return folder_take(&f->locks[1], f->checkpoints, fresh, err);
}

int train_folder_keep(const TrainFolder *f, const TrainFile *file, int n, bool replace, Err *err)
{
    for (int i = 0; i < n; i++) {
        char path[PATH_MAX], parent[PATH_MAX];
        TRY(path_join(path, sizeof path, f->run, file[i].name, err));
        if (!replace && file_exists(path)) continue;
        TRY(path_parent(parent, sizeof parent, path, err));
        TRY(dir_make(parent, err));
        TRY(file_write_atomic(path, file[i].text, strlen(file[i].text), err));
    }
    return 0;
}

void train_folder_close(TrainFolder *f)
{
    for (int i = 0; i < ARRAY_LEN(f->locks); i++) {
        if (f->locks[i] >= 0) close(f->locks[i]);
        f->locks[i] = -1;
    }
}

int folder_replace(const char *from, const char *to, Err *err)
{
    char parent[PATH_MAX], gone[PATH_MAX];
    TRY(path_parent(parent, sizeof parent, to, err));
    TRY(path_join(gone, sizeof gone, parent, ".replaced", err));
    TRY(dir_remove(gone, err));
    if (rename(to, gone) != 0 && errno != ENOENT) return file_error(err, "replace", to);
    if (rename(from, to) != 0) return file_error(err, "write", to);
    TRY(dir_sync(parent, err));
    return dir_remove(gone, err);
}
