/* Whole-file reads and atomic writes. A write goes to a temporary name beside the target, so that
 * the final rename never crosses a file system and a kill at any moment leaves the old file whole.
 */
#include "base/file.h"

#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static const char *next_step(int code)
{
    switch (code) {
    case ENOSPC:
    case EDQUOT:
        return "free some space or name a place on another disk";
    case EFBIG:
        return "raise the file size limit (ulimit -f) or name a place on another disk";
    case EACCES:
    case EPERM:
    case EROFS:
        return "check its permissions or name another place";
    case ENOENT:
        return "check the path";
    case ENOTDIR:
        return "a part of the path is not a folder: check it";
    case EISDIR:
        return "it is a folder: name a file";
    case ENAMETOOLONG:
        return "use a shorter path";
    case ENOMEM:
        return "end other programs or raise the limit (ulimit -v)";
    case EMFILE:
    case ENFILE:
        return "raise the limit of open files (ulimit -n)";
    default:
        return "check the path and the disk";
    }
}

int file_error(Err *err, const char *action, const char *path)
{
    enum { SHOWN = 1000 }; /* the reason must fit behind it */
    int code = errno;
    return err_set(err, "cannot %s %.*s%s: %s; %s", action, SHOWN, path,
                   strlen(path) > SHOWN ? "..." : "", strerror(code), next_step(code));
}

bool file_exists(const char *path)
{
    struct stat info;
    return stat(path, &info) == 0 && S_ISREG(info.st_mode);
}

bool path_is_name(const char *path)
{
    return path[0] && !strchr(path, '/') && strcmp(path, ".") != 0 && strcmp(path, "..") != 0;
}

int path_whole(char *out, size_t out_size, const char *path, Err *err)
{
    char here[PATH_MAX];
    if (!getcwd(here, sizeof here)) return file_error(err, "find", ".");
    while (strncmp(path, "./", 2) == 0) path += 2;
    return path_join(out, out_size, *path == '/' ? "" : here, path, err);
}

int path_join(char *out, size_t out_size, const char *folder, const char *name, Err *err)
{
    size_t length = strlen(folder);
    const char *slash = length > 0 && folder[length - 1] != '/' ? "/" : "";
    int used = snprintf(out, out_size, "%s%s%s", folder, slash, name);
    if (used < 0 || (size_t)used >= out_size)
        return err_set(err,
                       "the path %.200s%s%.200s is too long (limit %zu bytes): use a shorter one",
                       folder, slash, name, out_size - 1);
    return 0;
}

int path_parent(char *out, size_t out_size, const char *path, Err *err)
{
    const char *slash = strrchr(path, '/');
    if (!slash) return path_join(out, out_size, "", ".", err);
    size_t length = slash == path ? 1 : (size_t)(slash - path);
    if (length >= out_size)
        return err_set(err, "the path %.200s... is too long (limit %zu bytes): use a shorter one",
                       path, out_size - 1);
    memcpy(out, path, length);
    out[length] = '\0';
    return 0;
}

/* Fills file->path with the file to replace. Renaming over a device would destroy it, and over a
 * link would cut it off from the file it names. */
static int target_resolve(AtomicFile *file, const char *path, Err *err)
{
    struct stat info;
    TRY(path_join(file->path, sizeof file->path, "", path, err));
    if (stat(path, &info) != 0) return 0;
    if (S_ISDIR(info.st_mode))
        return err_set(err, "cannot write %s: it is a folder; name a file", path);
    if (!S_ISREG(info.st_mode))
        return err_set(err, "cannot write %s: it is a device or a pipe; name a file", path);
    if (lstat(path, &info) == 0 && S_ISLNK(info.st_mode)) {
        char *real_path = realpath(path, NULL);
        if (!real_path) return file_error(err, "follow the link", path);
        int status = path_join(file->path, sizeof file->path, "", real_path, err);
        free(real_path);
        return status;
    }
    return 0;
}

int atomic_open(AtomicFile *file, const char *path, Err *err)
{
    file->fd = -1;
    TRY(target_resolve(file, path, err));
    int used = snprintf(file->temp, sizeof file->temp, "%s.tmp-%ld", file->path, (long)getpid());
    if (used < 0 || (size_t)used >= sizeof file->temp)
        return err_set(err, "the path %.200s... is too long: use a shorter one", path);
    /* What a killed process with this number left behind goes; O_EXCL then follows no link. */
    unlink(file->temp);
    file->fd = open(file->temp, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
    if (file->fd < 0) return file_error(err, "create", file->temp);
    return 0;
}

void atomic_abort(AtomicFile *file)
{
    if (file->fd < 0) return;
    close(file->fd);
    unlink(file->temp);
    file->fd = -1;
}

static int atomic_fail(AtomicFile *file, const char *action, Err *err)
{
    file_error(err, action, file->path);
    atomic_abort(file);
    return -1;
}

int atomic_patch(AtomicFile *file, size_t at, const void *data, size_t size, Err *err)
{
    CHECK(file->fd >= 0, "write to %s after it was committed or aborted", file->path);
    const char *from = data;
    for (size_t done = 0; done < size;) {
        ssize_t n = pwrite(file->fd, from + done, size - done, (off_t)(at + done));
        if (n < 0 && errno == EINTR) continue;
        if (n < 0) return atomic_fail(file, "write", err);
        done += (size_t)n;
    }
    return 0;
}

int atomic_write(AtomicFile *file, const void *data, size_t size, Err *err)
{
    CHECK(file->fd >= 0, "write to %s after it was committed or aborted", file->path);
    const char *at = data;
    while (size > 0) {
        ssize_t n = write(file->fd, at, size);
        if (n < 0 && errno == EINTR) continue;
        if (n < 0) return atomic_fail(file, "write", err);
        at += n;
        size -= (size_t)n;
    }
    return 0;
}

int atomic_commit(AtomicFile *file, Err *err)
{
    char folder[PATH_MAX];
    CHECK(file->fd >= 0, "commit of %s after it was committed or aborted", file->path);
    if (fsync(file->fd) != 0) return atomic_fail(file, "write", err);
    int closed = close(file->fd);
    file->fd = -1;
    if (closed != 0 || rename(file->temp, file->path) != 0) {
        file_error(err, "write", file->path);
        unlink(file->temp);
        return -1;
    }
    TRY(path_parent(folder, sizeof folder, file->path, err));
    return dir_sync(folder, err);
}

int file_append(int fd, const char *path, const void *data, size_t size, Err *err)
{
    struct stat before;
    if (fstat(fd, &before) != 0) return file_error(err, "append to", path);
    ssize_t n;
    do n = write(fd, data, size);
    while (n < 0 && errno == EINTR);
    if (n == (ssize_t)size) return 0;
    int code = n >= 0 ? ENOSPC : errno; /* a regular file takes a part only when it is full */
    if (n > 0 && ftruncate(fd, before.st_size) != 0) code = errno;
    errno = code;
    return file_error(err, "append to", path);
}

int file_write_atomic(const char *path, const void *data, size_t size, Err *err)
{
    AtomicFile file;
    TRY(atomic_open(&file, path, err));
    TRY(atomic_write(&file, data, size, err));
    return atomic_commit(&file, err);
}

/* Reads to the end of fd into a buffer that doubles, because pipes and /proc tell no size. Returns
 * the buffer, or NULL with errno set: EFBIG stands for "more than max_size". */
static char *read_all(int fd, size_t hint, size_t max_size, size_t *size)
{
    size_t capacity = (hint < max_size ? hint : max_size) + 1, used = 0;
    char *buffer = malloc(capacity + 1);
    while (buffer) {
        ssize_t n = read(fd, buffer + used, capacity - used);
        if (n < 0 && errno == EINTR) continue;
        if (n < 0) break;
        used += (size_t)n;
        if (n == 0) {
            buffer[used] = '\0';
            *size = used;
            return buffer;
        }
        if (used > max_size) {
            errno = EFBIG;
            break;
        }
        if (used < capacity) continue;
        capacity = capacity > max_size / 2 ? max_size + 1 : 2 * capacity;
        char *larger = realloc(buffer, capacity + 1);
        if (!larger) break;
        buffer = larger;
    }
    free(buffer);
    return NULL;
}

int file_read(const char *path, char **data, size_t *size, size_t max_size, Err *err)
{
    CHECK(max_size < SIZE_MAX / 4, "file_read: absurd limit");
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0) return file_error(err, "open", path);
    struct stat info;
    size_t hint = 0, used = 0;
    if (fstat(fd, &info) == 0 && S_ISREG(info.st_mode)) hint = (size_t)info.st_size;
    if (hint == 0) hint = 4096;
    char *buffer = read_all(fd, hint, max_size, &used);
    int code = errno;
    close(fd);
    errno = code;
    if (!buffer && code == EFBIG)
        return err_set(err, "%s has more than the %zu bytes allowed here: is it the right file?",
                       path, max_size);
    if (!buffer) return file_error(err, "read", path);
    *data = buffer;
    *size = used;
    return 0;
}
