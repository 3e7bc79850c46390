/* The zarr token source: the array, and the documents where dataset.json names them. */
#include "data/zarr_source.h"

#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "base/names.h"
#include "data/doc_index.h"

typedef struct ZarrSource {
    TokenSource base;
    ZarrArray *array;
    DatasetInfo info;
    DocIndex index;
    char path[PATH_MAX]; /* of the array's folder */
} ZarrSource;

static bool has_file(const char *dir, const char *name)
{
    char path[PATH_MAX];
    Err ignored;
    return path_join(path, sizeof path, dir, name, &ignored) == 0 && file_exists(path);
}

bool zarr_group_there(const char *dir)
{
    static const char *const names[] = {"zarr.json",     ".zgroup",       "train/zarr.json",
                                        "train/.zarray", "val/zarr.json", "val/.zarray"};
    if (has_file(dir, "dataset.json")) return false;
    for (int i = 0; i < ARRAY_LEN(names); i++)
        if (has_file(dir, names[i])) return true;
    return false;
}

static int source_read(const TokenSource *s, int64_t start, int64_t n, int32_t *out, Err *err)
{
    int32_t limit = s->vocab_size > 0 ? s->vocab_size : INT32_MAX;
    return zarr_array_read(((const ZarrSource *)s)->array, start, n, limit, out, err);
}

static void source_close(TokenSource *s)
{
    ZarrSource *z = (ZarrSource *)s;
    zarr_array_close(z->array);
    doc_index_free(&z->index);
    free(z);
}

static int no_array(const char *dir, const char *split, Err *err)
{
    char shown[NAME_SHOWN_MAX];
    if (has_file(dir, "zarr.json") || has_file(dir, ".zgroup"))
        return err_set(err,
                       "%s: no array '%s' there (neither zarr.json nor .zarray in %s/%s); name a "
                       "split it has, or fetch the rest of it",
                       dir, name_show(shown, split), dir, shown);
    return err_set(err, "%s: no array '%s' there; name the folder that holds train and val", dir,
                   name_show(shown, split));
}

static int load_array(ZarrSource *z, const char *dir, const char *split, Err *err)
{
    if (split[0] == 0 || split[0] == '.' || strchr(split, '/') != NULL)
        return no_array(dir, split, err);
    TRY(path_join(z->path, sizeof z->path, dir, split, err));
    if (!zarr_meta_there(z->path)) return no_array(dir, split, err);
    return zarr_array_open(&z->array, z->path, 0, err);
}

static int load_documents(ZarrSource *z, const char *dir, const SplitInfo *split, Err *err)
{
    char path[PATH_MAX];
    int64_t length = zarr_array_meta(z->array)->length;
    if (length != split->tokens)
        return err_set(err,
                       "%s holds %lld tokens, but dataset.json says %lld: one of them is foreign; "
                       "encode the dataset again",
                       z->path, (long long)length, (long long)split->tokens);
    TRY(path_join(path, sizeof path, dir, split->docs_file, err));
    if (!file_exists(path)) {
        errno = ENOENT;
        return file_error(err, "open", path);
    }
    return doc_index_read(&z->index, path, split->documents, split->tokens, err);
}

static int source_load(ZarrSource *z, const char *dir, const char *split, const DatasetInfo *info,
                       Err *err)
{
    int which = 0;
    if (info != NULL) {
        which = split_find(split, err);
        TRY(which);
        z->info = *info;
    }
    TRY(load_array(z, dir, split, err));
    return info == NULL ? 0 : load_documents(z, dir, &info->splits[which], err);
}

static const TokenSourceOps zarr_ops = {source_read, source_close};

int zarr_source_open(TokenSource **out, const char *dir, const char *split, const DatasetInfo *info,
                     Err *err)
{
    *out = NULL;
    ZarrSource *z = calloc(1, sizeof *z);
    if (z == NULL) return err_set(err, "no memory for a token source");
    z->base.ops = &zarr_ops;
    if (source_load(z, dir, split, info, err) < 0) {
        source_close(&z->base);
        return -1;
    }
    z->base = (TokenSource){.ops = &zarr_ops,
                            .name = z->path,
                            .length = zarr_array_meta(z->array)->length,
                            .vocab_size = z->info.vocab_size,
                            .bos = info == NULL ? -1 : z->info.bos,
                            .eos = info == NULL ? -1 : z->info.eos,
                            .tokenizer = z->info.tokenizer,
                            .docs = z->index.docs,
                            .n_docs = z->index.n_docs};
    *out = &z->base;
    return 0;
}

ZarrArray *zarr_source_array(const TokenSource *s)
{
    return s->ops == &zarr_ops ? ((const ZarrSource *)s)->array : NULL;
}
