/* Sealed folders, one per step: written whole or not at all, verified before use, pruned. */
#include "run/checkpoint.h"

#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "base/mem.h"
#include "base/sha256.h"

enum { MAX_FILES = 64, SEAL_MAX = 1 << 20, HASH_BLOCK = 1 << 16 };

static const char writing[] = ".writing", removing[] = ".removing", seal[] = "COMPLETE";

int checkpoint_path(char out[PATH_MAX], const char *root, int64_t step, Err *err)
{
    char name[32];
    snprintf(name, sizeof name, "step-%08lld", (long long)step);
    return path_join(out, PATH_MAX, root, name, err);
}

/* The step that a folder's name stands for; -1 for any other name. */
static int64_t step_of(const char *name)
{
    if (strncmp(name, "step-", 5) != 0 || strspn(name + 5, "0123456789") != strlen(name + 5))
        return -1;
    size_t digits = strlen(name + 5);
    if (digits < 8 || digits > 18) return -1;
    return strtoll(name + 5, NULL, 10);
}

static int compare_steps(const void *a, const void *b)
{
    int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;
    return (x > y) - (x < y);
}

int64_t checkpoint_list(int64_t **steps, const char *root, Err *err)
{
    *steps = NULL;
    DIR *dir = opendir(root);
    if (!dir) return errno == ENOENT ? 0 : file_error(err, "list the folder", root);
    int64_t n = 0, capacity = 0;
    for (struct dirent *entry; (entry = readdir(dir));) {
        int64_t step = step_of(entry->d_name);
        if (step < 0) continue;
        if (n == capacity) {
            capacity = capacity ? 2 * capacity : 16;
            int64_t *larger = realloc(*steps, (size_t)capacity * sizeof **steps);
            mem_need(larger, "a list of checkpoints");
            *steps = larger;
        }
        (*steps)[n++] = step;
    }
    closedir(dir);
    if (n > 1) qsort(*steps, (size_t)n, sizeof **steps, compare_steps);
    return n;
}

static int hash_file(char hex[SHA256_HEX_SIZE], const char *path, Err *err)
{
    unsigned char block[HASH_BLOCK];
    FILE *file = fopen(path, "rbe");
    if (!file) return file_error(err, "open", path);
    Sha256 hash;
    sha256_init(&hash);
    size_t n;
    while ((n = fread(block, 1, sizeof block, file)) > 0) sha256_update(&hash, block, n);
    int failed = ferror(file);
    if (failed) file_error(err, "read", path);
    fclose(file);
    if (failed) return -1;
    sha256_hex(&hash, hex);
    return 0;
}

static int regular_file(const struct dirent *entry)
{
    return entry->d_name[0] != '.' && strcmp(entry->d_name, seal) != 0;
}

static int seal_line(char **at, const char *end, const char *folder, const char *name, Err *err)
{
    char path[PATH_MAX], hex[SHA256_HEX_SIZE];
    TRY(path_join(path, sizeof path, folder, name, err));
    TRY(hash_file(hex, path, err));
    int used = snprintf(*at, (size_t)(end - *at), "%s  %s\n", hex, name);
    CHECK(used > 0 && used < end - *at, "the seal of %s is too long", folder);
    *at += used;
    return 0;
}

int checkpoint_seal(const char *folder, Err *err)
{
    char text[MAX_FILES * (SHA256_HEX_SIZE + NAME_MAX + 3)], path[PATH_MAX];
    struct dirent **entries;
    TRY(path_join(path, sizeof path, folder, seal, err));
    int n = scandir(folder, &entries, regular_file, alphasort), status = 0;
    if (n < 0) return file_error(err, "list the folder", folder);
    CHECK(n <= MAX_FILES, "%s: %d files are more than a checkpoint has", folder, n);
    char *at = text;
    for (int i = 0; i < n; i++) {
        if (status == 0)
            status = seal_line(&at, text + sizeof text, folder, entries[i]->d_name, err);
        free(entries[i]);
    }
    free(entries);
    TRY(status);
    return file_write_atomic(path, text, (size_t)(at - text), err);
}

int checkpoint_begin(char out[PATH_MAX], const char *root, Err *err)
{
    TRY(path_join(out, PATH_MAX, root, writing, err));
    TRY(dir_remove(out, err));
    return dir_make(out, err);
}

void checkpoint_abort(const char *root)
{
    char path[PATH_MAX];
    Err ignored; /* the failure that led here is the one to report */
    if (path_join(path, sizeof path, root, writing, &ignored) == 0) dir_remove(path, &ignored);
}

/* Takes a folder out of sight before its files go, so that none is ever seen half removed. */
static int folder_remove(const char *root, const char *folder, Err *err)
{
    char gone[PATH_MAX];
    TRY(path_join(gone, sizeof gone, root, removing, err));
    TRY(dir_remove(gone, err));
    if (rename(folder, gone) != 0 && errno != ENOENT) return file_error(err, "remove", folder);
    return dir_remove(gone, err);
}

int checkpoint_commit(const char *root, int64_t step, Err *err)
{
    char from[PATH_MAX], to[PATH_MAX];
    TRY(path_join(from, sizeof from, root, writing, err));
    TRY(checkpoint_path(to, root, step, err));
    TRY(checkpoint_seal(from, err));
    TRY(folder_remove(root, to, err));
    if (rename(from, to) != 0) return file_error(err, "write the checkpoint", to);
    return dir_sync(root, err);
}

/* One line of COMPLETE: 64 hexadecimal digits, two spaces, a name without slashes. */
static int verify_line(const char *folder, char *line, Err *err)
{
    char path[PATH_MAX], hex[SHA256_HEX_SIZE];
    const char *name = line + SHA256_HEX_SIZE + 1;
    if (strspn(line, "0123456789abcdef") != SHA256_HEX_SIZE - 1 ||
        strncmp(line + SHA256_HEX_SIZE - 1, "  ", 2) != 0 || !*name || strchr(name, '/'))
        return err_set(err, "%s/%s is not a list of digests", folder, seal);
    line[SHA256_HEX_SIZE - 1] = '\0';
    TRY(path_join(path, sizeof path, folder, name, err));
    TRY(hash_file(hex, path, err));
    if (strcmp(hex, line) != 0) return err_set(err, "%s is damaged", path);
    return 0;
}

int checkpoint_verify(const char *folder, Err *err)
{
    char path[PATH_MAX], *text;
    size_t size;
    TRY(path_join(path, sizeof path, folder, seal, err));
    if (!file_exists(path)) return err_set(err, "%s is incomplete", folder);
    TRY(file_read(path, &text, &size, SEAL_MAX, err));
    int status = 0;
    if (size == 0 || text[size - 1] != '\n' || strlen(text) != size)
        status = err_set(err, "%s is damaged", path);
    char *rest = text;
    for (char *line; status == 0 && *rest && (line = strsep(&rest, "\n"));)
        status = verify_line(folder, line, err);
    free(text);
    return status;
}

int checkpoint_find(int64_t *step, const char *root, int64_t wanted, CheckpointSkipped *skipped,
                    void *context, Err *err)
{
    int64_t *steps, n = checkpoint_list(&steps, root, err);
    if (n < 0) return -1;
    int found = 0;
    for (int64_t i = n - 1; i >= 0 && !found; i--) {
        char folder[PATH_MAX];
        Err why;
        if (wanted >= 0 && steps[i] != wanted) continue;
        *step = steps[i];
        found = checkpoint_path(folder, root, steps[i], &why) == 0 &&
                checkpoint_verify(folder, &why) == 0;
        if (!found && skipped) skipped(context, folder, why.text);
    }
    free(steps);
    return found;
}

static int set_one_aside(const char *root, int64_t step, Err *err)
{
    char from[PATH_MAX], to[PATH_MAX];
    TRY(checkpoint_path(from, root, step, err));
    TRY(path_join(to, sizeof to - 8, "", from, err));
    strcat(to, ".invalid");
    TRY(dir_remove(to, err));
    if (rename(from, to) != 0) return file_error(err, "rename", from);
    return 0;
}

int checkpoint_set_aside(const char *root, int64_t step, Err *err)
{
    int64_t *steps, n = checkpoint_list(&steps, root, err);
    if (n < 0) return -1;
    int status = 0;
    for (int64_t i = 0; i < n && status == 0; i++)
        if (steps[i] > step) status = set_one_aside(root, steps[i], err);
    free(steps);
    return status;
}

int checkpoint_prune(const char *root, int64_t freq, Err *err)
{
    int64_t *steps, n = checkpoint_list(&steps, root, err);
    if (n < 0) return -1;
    int status = 0;
    for (int64_t i = 0; i < n - CHECKPOINT_NEWEST && status == 0; i++) {
        char folder[PATH_MAX];
        /* In this order the product cannot overflow. */
        if (steps[i] % freq == 0 && steps[i] / freq % CHECKPOINT_MILESTONE == 0) continue;
        status = checkpoint_path(folder, root, steps[i], err);
        if (status == 0) status = folder_remove(root, folder, err);
    }
    free(steps);
    return status;
}
