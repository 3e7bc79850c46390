/* Opening a set: the index is JSON with a "weight_map" from tensor to file name. */
#include "base/st_set.h"

#include <jansson.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "base/mem.h"
#include "base/names.h"

enum { INDEX_MAX = 1 << 26, MAX_FILES = 4096 };

typedef struct Place {
    const StTensor *tensor;
    int file;
} Place;

struct StSet {
    char path[PATH_MAX];
    int n_files, n;
    StFile *files[MAX_FILES];
    char *paths[MAX_FILES];
    Place *places; /* (n), in the order of names */
};

static int bad_index(const char *path, Err *err, const char *what, const char *name)
{
    char shown[NAME_SHOWN_MAX];
    return err_set(err, "%s: %s '%s'; the index is damaged or of other files: get it again", path,
                   what, name_show(shown, name));
}

static int file_add(StSet *set, const char *path, Err *err)
{
    char *copy = strdup(path);
    mem_need(copy, "a list of files");
    set->paths[set->n_files] = copy;
    if (st_open(&set->files[set->n_files], path, err) < 0) {
        free(copy);
        return -1;
    }
    set->n_files++;
    return 0;
}

static int compare_places(const void *a, const void *b)
{
    return strcmp(((const Place *)a)->tensor->name, ((const Place *)b)->tensor->name);
}

static void places_fill(StSet *set)
{
    int n = 0;
    for (int f = 0; f < set->n_files; f++) n += st_count(set->files[f]);
    set->places = calloc((size_t)n + 1, sizeof *set->places);
    mem_need(set->places, "%d tensors", n);
    for (int f = 0; f < set->n_files; f++)
        for (int i = 0; i < st_count(set->files[f]); i++)
            set->places[set->n++] = (Place){st_at(set->files[f], i), f};
    qsort(set->places, (size_t)n, sizeof *set->places, compare_places);
}

/* Opens each file that the map names, once. */
static int shards_open(StSet *set, json_t *map, Err *err)
{
    char folder[PATH_MAX], path[PATH_MAX];
    const char *tensor;
    json_t *value, *seen = json_object();
    int status = path_parent(folder, sizeof folder, set->path, err);
    json_object_foreach(map, tensor, value)
    {
        const char *name = json_string_value(value);
        if (status < 0) break;
        if (!name || !path_is_name(name)) /* nothing that leads elsewhere */
            status = bad_index(set->path, err, "no plain file name for the tensor", tensor);
        else if (json_object_get(seen, name))
            continue;
        else if (set->n_files == MAX_FILES)
            status = err_set(err, "%s names more than %d files: merge some", set->path, MAX_FILES);
        else if ((status = path_join(path, sizeof path, folder, name, err)) == 0 &&
                 (status = file_add(set, path, err)) == 0)
            json_object_set_new(seen, name, json_integer(set->n_files - 1));
    }
    json_decref(seen);
    return status;
}

/* Every tensor of the map is in its file, and no file holds another. */
static int map_check(const StSet *set, json_t *map, Err *err)
{
    for (int i = 0; i < set->n; i++) {
        const char *name = set->places[i].tensor->name, *file = st_set_file(set, i);
        const char *wanted = json_string_value(json_object_get(map, name));
        if (i > 0 && compare_places(&set->places[i - 1], &set->places[i]) == 0)
            return bad_index(set->path, err, "two of its files hold the tensor", name);
        if (!wanted || strcmp(strrchr(file, '/') + 1, wanted) != 0)
            return bad_index(file, err, "the index does not put into this file the tensor", name);
    }
    const char *name;
    json_t *value;
    json_object_foreach(map, name, value)
    {
        if (st_set_find(set, name) < 0)
            return bad_index(set->path, err, "none of its files holds the tensor", name);
    }
    return 0;
}

static int index_open(StSet *set, Err *err)
{
    char *text;
    size_t size;
    json_error_t why;
    TRY(file_read(set->path, &text, &size, INDEX_MAX, err));
    json_t *root = json_loadb(text, size, JSON_REJECT_DUPLICATES, &why);
    free(text);
    if (!root) return bad_index(set->path, err, "it is not JSON:", why.text);
    json_t *map = json_object_get(root, "weight_map");
    int status = json_object_size(map) > 0
                     ? shards_open(set, map, err)
                     : bad_index(set->path, err, "it has no object of tensors", "weight_map");
    if (status == 0) {
        places_fill(set);
        status = map_check(set, map, err);
    }
    json_decref(root);
    return status;
}

/* Where the tensors of a folder are: its one file, or the index of several. */
static int folder_look(StSet *set, const char *folder, Err *err)
{
    static const char *const names[] = {"model.safetensors.index.json", "model.safetensors"};
    for (int i = 0; i < ARRAY_LEN(names); i++) {
        TRY(path_join(set->path, sizeof set->path, folder, names[i], err));
        if (file_exists(set->path)) return 0;
    }
    return err_set(err, "%s holds neither %s nor %s; name the .safetensors file", folder, names[1],
                   names[0]);
}

static int set_load(StSet *set, const char *path, Err *err)
{
    if (dir_exists(path))
        TRY(folder_look(set, path, err));
    else
        TRY(path_join(set->path, sizeof set->path, "", path, err));
    if (text_ends(set->path, ".json")) return index_open(set, err);
    TRY(file_add(set, set->path, err));
    places_fill(set);
    return 0;
}

int st_set_open(StSet **out, const char *path, Err *err)
{
    StSet *set = calloc(1, sizeof *set);
    mem_need(set, "%s", path);
    if (set_load(set, path, err) < 0) {
        st_set_close(set);
        return -1;
    }
    *out = set;
    return 0;
}

void st_set_close(StSet *set)
{
    if (!set) return;
    for (int f = 0; f < set->n_files; f++) {
        st_close(set->files[f]);
        free(set->paths[f]);
    }
    free(set->places);
    free(set);
}

const char *st_set_path(const StSet *set)
{
    return set->path;
}

int st_set_count(const StSet *set)
{
    return set->n;
}

const StTensor *st_set_at(const StSet *set, int i)
{
    CHECK(i >= 0 && i < set->n, "tensor %d of %d", i, set->n);
    return set->places[i].tensor;
}

const char *st_set_file(const StSet *set, int i)
{
    CHECK(i >= 0 && i < set->n, "tensor %d of %d", i, set->n);
    return set->paths[set->places[i].file];
}

int st_set_find(const StSet *set, const char *name)
{
    const StTensor tensor = {.name = name};
    const Place key = {&tensor, 0};
    const Place *found =
        bsearch(&key, set->places, (size_t)set->n, sizeof *set->places, compare_places);
    return found ? (int)(found - set->places) : -1;
}

const char *st_set_meta(const StSet *set, const char *key)
{
    const char *value = NULL;
    for (int f = 0; f < set->n_files && !value; f++) value = st_meta(set->files[f], key);
    return value;
}
