/* A folder that appears whole or not at all: filled under another name beside it, then renamed. */
#ifndef TTT_RUN_NEW_FOLDER_H
#define TTT_RUN_NEW_FOLDER_H

#include <limits.h>
#include <stdbool.h>

#include "base/err.h"

typedef struct NewFolder {
    char path[PATH_MAX];
    char temp[PATH_MAX]; /* PATH.tmp-PID: where to write */
} NewFolder;

/* What is there may only be an empty folder; with force, one that holds nothing but a model. */
int new_folder_begin(NewFolder *f, const char *path, bool force, Err *err);
/* status: of the writing. 0: the folder takes its name; else all of it is removed. */
int new_folder_end(NewFolder *f, int status, Err *err);

#endif
