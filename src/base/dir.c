/* Folders: make, remove, sync. Removal works on open folders (openat, unlinkat), so that a link put
 * in the way meanwhile cannot lead it out of the tree. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/file.h"

/* Each level of the tree holds one open folder. */
enum { MAX_DEPTH = 64 };

bool dir_exists(const char *path)
{
    struct stat info;
    return stat(path, &info) == 0 && S_ISDIR(info.st_mode);
}

static int make_one(const char *path, Err *err)
{
    if (mkdir(path, 0777) == 0) return 0;
    int reason = errno; /* looking at the path changes it */
    if (dir_exists(path)) return 0;
    errno = reason;
    if (errno == EEXIST)
        return err_set(err, "cannot make the folder %s: a file has that name; name another", path);
    return file_error(err, "make the folder", path);
}

int dir_make(const char *path, Err *err)
{
    char part[PATH_MAX];
    if (path[0] == '\0') return err_set(err, "cannot make a folder: its name is empty; give one");
    TRY(path_join(part, sizeof part, "", path, err));
    for (char *at = part + 1; *at; at++) {
        if (*at != '/') continue;
        *at = '\0';
        TRY(make_one(part, err));
        *at = '/';
    }
    return make_one(part, err);
}

int dir_sync(const char *path, Err *err)
{
    int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0) return file_error(err, "open the folder", path);
    int failed = fsync(fd), code = errno;
    close(fd);
    errno = code;
    /* Some network file systems cannot sync folders and say EINVAL. */
    if (failed && code != EINVAL) return file_error(err, "sync the folder", path);
    return 0;
}

static int remove_inside(int fd, const char *path, int depth, Err *err);

static int remove_entry(int fd, const char *folder, const char *name, int depth, Err *err)
{
    char path[PATH_MAX];
    TRY(path_join(path, sizeof path, folder, name, err));
    if (unlinkat(fd, name, 0) == 0 || errno == ENOENT) return 0;
    if (errno != EISDIR && errno != EPERM) return file_error(err, "remove", path);
    if (depth >= MAX_DEPTH)
        return err_set(err, "cannot remove %s: more than %d folders deep; remove it by hand", path,
                       MAX_DEPTH);
    int child = openat(fd, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (child < 0) return file_error(err, "remove", path);
    TRY(remove_inside(child, path, depth + 1, err));
    if (unlinkat(fd, name, AT_REMOVEDIR) != 0) return file_error(err, "remove the folder", path);
    return 0;
}

/* Empties the open folder fd, and closes it. */
static int remove_inside(int fd, const char *path, int depth, Err *err)
{
    DIR *dir = fdopendir(fd);
    if (!dir) {
        file_error(err, "list the folder", path);
        close(fd);
        return -1;
    }
    int status = 0;
    const struct dirent *entry;
    while (status == 0 && (errno = 0, entry = readdir(dir))) {
        if (!path_is_name(entry->d_name)) continue;
        status = remove_entry(fd, path, entry->d_name, depth, err);
    }
    if (status == 0 && errno != 0) status = file_error(err, "list the folder", path);
    closedir(dir);
    return status;
}

int dir_remove(const char *path, Err *err)
{
    char bare[PATH_MAX]; /* "link/" would follow the link */
    TRY(path_join(bare, sizeof bare, "", path, err));
    for (size_t n = strlen(bare); n > 0 && bare[n - 1] == '/'; n--) bare[n - 1] = '\0';
    if (bare[0] == '\0') return err_set(err, "cannot remove '%s': name a folder", path);
    int fd = open(bare, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (fd < 0 && errno == ENOENT) return 0;
    if (fd < 0 && (errno == ENOTDIR || errno == ELOOP))
        return err_set(err, "cannot remove %s: it is not a folder, or a link; remove it by hand",
                       path);
    if (fd < 0) return file_error(err, "remove the folder", path);
    TRY(remove_inside(fd, bare, 0, err));
    if (rmdir(bare) != 0) return file_error(err, "remove the folder", path);
    return 0;
}
