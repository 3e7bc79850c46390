/* The recursive walk of folders. Symbolic links inside them are not followed: that rules out loops,
 * ways out of the tree and documents that come twice. */
#include "data/walk.h"

#include <dirent.h>
#include <limits.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/file.h"

typedef struct Walker {
    FileList *list;
    WalkOptions options;
    bool leaves_out[2];
    struct stat left_out[2];
    char path[PATH_MAX]; /* the entry being looked at: one buffer however deep the folders are */
    size_t name_at;      /* where its name begins */
} Walker;

static int list_add(Walker *w, Err *err)
{
    FileList *list = w->list;
    if (list->n == list->capacity) {
        int64_t capacity = list->capacity == 0 ? 64 : 2 * list->capacity;
        FileEntry *files = realloc(list->files, (size_t)capacity * sizeof *files);
        if (files == NULL) return err_set(err, "no memory for a list of files");
        list->files = files;
        list->capacity = capacity;
    }
    char *path = strdup(w->path);
    if (path == NULL) return err_set(err, "no memory for a list of files");
    list->files[list->n++] = (FileEntry){path, path + w->name_at};
    return 0;
}

static bool extension_fits(const WalkOptions *o, const char *path)
{
    size_t length = strlen(path);
    for (int i = 0; i < o->n_extensions; i++) {
        const char *bare = o->extensions[i] + (o->extensions[i][0] == '.');
        size_t n = strlen(bare);
        if (n + 1 >= length || path[length - n - 1] != '.') continue;
        if (strcmp(path + length - n, bare) == 0) return true;
    }
    return o->n_extensions == 0;
}

static bool is_full(const Walker *w)
{
    return w->options.max_files > 0 && w->list->n >= w->options.max_files;
}

static int visit_file(Walker *w, const struct stat *st, Err *err)
{
    if (st->st_size == 0)
        w->list->skipped_empty++;
    else if (st->st_size < w->options.min_bytes)
        w->list->skipped_small++;
    else
        return list_add(w, err);
    return 0;
}

static int visit_folder(Walker *w, Err *err);

static bool is_left_out(const Walker *w, const struct stat *st)
{
    for (int i = 0; i < 2; i++)
        if (w->leaves_out[i] && st->st_ino == w->left_out[i].st_ino &&
            st->st_dev == w->left_out[i].st_dev)
            return true;
    return false;
}

/* The entry w->path of a folder. */
static int visit_entry(Walker *w, Err *err)
{
    struct stat st;
    if (lstat(w->path, &st) != 0) return file_error(err, "read", w->path);
    if (S_ISLNK(st.st_mode)) {
        w->list->skipped_links++;
        return 0;
    }
    if (S_ISDIR(st.st_mode)) {
        return is_left_out(w, &st) ? 0 : visit_folder(w, err);
    }
    if (!S_ISREG(st.st_mode)) {
        w->list->skipped_special++;
        return 0;
    }
    return extension_fits(&w->options, w->path) ? visit_file(w, &st, err) : 0;
}

static int by_bytes(const struct dirent **a, const struct dirent **b)
{
    return strcmp((*a)->d_name, (*b)->d_name);
}

static int is_named_entry(const struct dirent *entry)
{
    return strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0;
}

/* Puts name behind the folder in w->path, whose length is given, and visits it. */
static int visit_name(Walker *w, size_t length, const char *name, Err *err)
{
    if (name[0] == '.') {
        w->list->skipped_hidden++;
        return 0;
    }
    if (length + strlen(name) + 2 > sizeof w->path)
        return err_set(err, "the path %.200s.../%s is too long: move the folder further up",
                       w->path, name);
    w->path[length] = '/';
    strcpy(w->path + length + 1, name);
    int status = visit_entry(w, err);
    w->path[length] = 0;
    return status;
}

static int visit_folder(Walker *w, Err *err)
{
    struct dirent **entries;
    size_t length = strlen(w->path);
    int n = scandir(w->path, &entries, is_named_entry, by_bytes);
    if (n < 0) return file_error(err, "read the folder", w->path);
    int status = 0;
    for (int i = 0; i < n; i++) {
        if (status == 0 && !is_full(w)) status = visit_name(w, length, entries[i]->d_name, err);
        free(entries[i]);
    }
    free(entries);
    return status;
}

static int visit_argument(Walker *w, const char *path, Err *err)
{
    struct stat st;
    TRY(path_join(w->path, sizeof w->path, "", path, err));
    if (stat(path, &st) != 0) return file_error(err, "read", path);
    size_t length = strlen(w->path);
    if (S_ISDIR(st.st_mode)) {
        while (length > 0 && w->path[length - 1] == '/') w->path[--length] = 0;
        if (length == 0) return err_set(err, "'/' is too much to read: name the folders meant");
        w->name_at = length + 1;
        return visit_folder(w, err);
    }
    if (!S_ISREG(st.st_mode))
        return err_set(err, "%s is neither a file nor a folder; save it to a file first", path);
    const char *slash = strrchr(w->path, '/');
    w->name_at = slash == NULL ? 0 : (size_t)(slash + 1 - w->path);
    return visit_file(w, &st, err);
}

int walk_files(FileList *out, const char *const *paths, int n_paths, WalkOptions options, Err *err)
{
    memset(out, 0, sizeof *out);
    Walker *w = calloc(1, sizeof *w);
    if (w == NULL) return err_set(err, "no memory to walk folders");
    w->list = out;
    w->options = options;
    for (int i = 0; i < 2; i++)
        w->leaves_out[i] =
            options.leave_out[i] != NULL && stat(options.leave_out[i], &w->left_out[i]) == 0;
    int status = 0;
    for (int i = 0; i < n_paths && status == 0 && !is_full(w); i++)
        status = visit_argument(w, paths[i], err);
    free(w);
    if (status < 0) file_list_free(out);
    return status;
}

void file_list_free(FileList *list)
{
    for (int64_t i = 0; i < list->n; i++) free(list->files[i].path);
    free(list->files);
    memset(list, 0, sizeof *list);
}
