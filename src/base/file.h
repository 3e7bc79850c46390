/* Files and folders: whole reads with a bound, and writes that are complete or did not happen. */
#ifndef TTT_BASE_FILE_H
#define TTT_BASE_FILE_H

#include <limits.h>
#include <stdbool.h>
#include <stddef.h>

#include "base/err.h"

/* Sets "cannot ACTION PATH: reason; next step" from errno, and returns -1. */
int file_error(Err *err, const char *action, const char *path);

/* A file under a temporary name (PATH.tmp-PID) until it is committed. Zeroing the struct is not
 * needed: atomic_open sets every field. A failing call removes the temporary file itself, and PATH
 * stays as it was; abort afterwards, or after commit, does nothing. */
typedef struct AtomicFile {
    int fd; /* -1 once committed, aborted or failed */
    char path[PATH_MAX];
    char temp[PATH_MAX];
} AtomicFile;

/* Refuses folders, devices and pipes. A symbolic link is followed: the file it names is replaced.*/
int atomic_open(AtomicFile *file, const char *path, Err *err);
int atomic_write(AtomicFile *file, const void *data, size_t size, Err *err);
/* Writes over bytes that were written before. */
int atomic_patch(AtomicFile *file, size_t at, const void *data, size_t size, Err *err);
/* Syncs, renames over PATH and syncs the folder. */
int atomic_commit(AtomicFile *file, Err *err);
void atomic_abort(AtomicFile *file);

/* Appends all or, by cutting the file back to where it was, nothing. fd: opened with O_APPEND; path
 * is for messages. */
int file_append(int fd, const char *path, const void *data, size_t size, Err *err);

int file_write_atomic(const char *path, const void *data, size_t size, Err *err);
/* Reads a whole file (a pipe too) of at most max_size bytes. *data ends with a NUL that *size does
 * not count; the caller frees it. On failure both are left alone. */
int file_read(const char *path, char **data, size_t *size, size_t max_size, Err *err);
bool file_exists(const char *path); /* a regular file, links followed */

bool dir_exists(const char *path);
/* Makes the folder and its missing parents; one that is there already is fine. */
int dir_make(const char *path, Err *err);
/* Removes a folder with all it holds; one that is not there is fine. Links inside are removed,
 * never followed; PATH itself must not be a link. */
int dir_remove(const char *path, Err *err);
/* Makes the names in a folder (new files, renames) survive a power cut. */
int dir_sync(const char *path, Err *err);

/* Whether it names something in a folder itself: not empty, no slash, not "." nor "..". */
bool path_is_name(const char *path);
/* out = the whole path: behind the working directory where it is relative. Fails when too long. */
int path_whole(char *out, size_t out_size, const char *path, Err *err);
/* out = "FOLDER/NAME" with one slash between; NAME alone when FOLDER is "". Fails when too long. */
int path_join(char *out, size_t out_size, const char *folder, const char *name, Err *err);
/* out = the folder that holds PATH: "." for a bare name. Fails when too long. */
int path_parent(char *out, size_t out_size, const char *path, Err *err);

#endif
