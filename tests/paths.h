/* The repository's own files, and folders for what a test writes. */
#ifndef TTT_TESTS_PATHS_H
#define TTT_TESTS_PATHS_H

#include <limits.h>
#include <stdio.h>
#include <stdlib.h>

/* A path that lasts until the next call. */
static inline const char *source_file(const char *name)
{
    static char path[PATH_MAX];
    const char *root = getenv("TTT_SOURCE_DIR");
    int n = snprintf(path, sizeof path, "%s/%s", root ? root : ".", name);
    return n < (int)sizeof path ? path : "(a path that is too long)";
}

/* A new folder, for dir_remove to take away. */
static inline int temp_folder(char *path, size_t size)
{
    const char *base = getenv("TMPDIR");
    snprintf(path, size, "%s/ttt-test-XXXXXX", base ? base : "/tmp");
    return mkdtemp(path) ? 0 : -1;
}

#endif
