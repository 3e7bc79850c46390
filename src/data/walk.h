/* The files that a list of files and folders stands for, in an order that does not depend on the
 * machine. */
#ifndef TTT_DATA_WALK_H
#define TTT_DATA_WALK_H

#include <stdint.h>

#include "base/err.h"

typedef struct FileEntry {
    char *path;
    const char *name; /* the end of path: below the folder that was given, or the file's own name */
} FileEntry;

typedef struct FileList {
    FileEntry *files; /* (n) */
    int64_t n, capacity;
    int64_t skipped_links, skipped_hidden, skipped_small, skipped_empty, skipped_special;
} FileList;

typedef struct WalkOptions {
    const char *const *extensions; /* (n_extensions), ".txt" or "txt"; none: every file */
    int n_extensions;
    int64_t min_bytes;        /* smaller files are skipped and counted */
    int64_t max_files;        /* stop after so many; 0: no limit */
    const char *leave_out[2]; /* folders not to enter, or NULL */
} WalkOptions;

/* Folders are walked recursively, names in byte order. In folders, hidden entries, symbolic links
 * and what is no file are skipped and counted, and the extensions apply; a file that is named
 * itself is taken whatever its name. A path that is missing or unreadable is an error. */
int walk_files(FileList *out, const char *const *paths, int n_paths, WalkOptions options, Err *err);
void file_list_free(FileList *list);

#endif
