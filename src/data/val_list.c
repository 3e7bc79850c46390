/* The split by a list of names. */
#include "data/val_list.h"

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "base/names.h"

enum { MAX_LIST = 1 << 26 };

/* Whether path is line, or lies in the folder line. */
static bool line_names(const char *line, size_t length, const char *path)
{
    return strncmp(path, line, length) == 0 && (path[length] == 0 || path[length] == '/');
}

static const char *without_dot(const char *path)
{
    return strncmp(path, "./", 2) == 0 ? path + 2 : path;
}

/* How many files the line names; they are marked. */
static int64_t line_apply(SplitItem *items, const FileList *files, const char *line)
{
    int64_t found = 0;
    line = without_dot(line);
    size_t length = strlen(line);
    while (length > 0 && line[length - 1] == '/') length--;
    for (int64_t i = 0; i < files->n; i++) {
        const FileEntry *file = &files->files[i];
        if (!line_names(line, length, file->name) &&
            !line_names(line, length, without_dot(file->path)))
            continue;
        items[i].val = true;
        found++;
    }
    return found;
}

static int text_apply(SplitItem *items, const FileList *files, char *text, const char *path,
                      Err *err)
{
    int number = 0;
    for (char *line = text; line != NULL;) {
        char *next = strchr(line, '\n');
        if (next != NULL) *next++ = 0;
        size_t length = strlen(line);
        if (length > 0 && line[length - 1] == '\r') line[--length] = 0;
        number++;
        char shown[NAME_SHOWN_MAX];
        if (length > 0 && line_apply(items, files, line) == 0)
            return err_set(err,
                           "%s:%d: no document '%s' among the files read; names are as `ttt "
                           "data docs` lists them",
                           path, number, name_show(shown, line));
        line = next;
    }
    return 0;
}

int split_by_list(SplitItem *items, const FileList *files, const char *path, Err *err)
{
    char *text;
    size_t size;
    TRY(file_read(path, &text, &size, MAX_LIST, err));
    for (int64_t i = 0; i < files->n; i++) items[i].val = false;
    int status = strlen(text) == size
                     ? text_apply(items, files, text, path, err)
                     : err_set(err, "%s: not a text file; list one document a line", path);
    free(text);
    return status;
}
