/* The token source of a dataset folder: the token file mapped, little-endian on every machine. */
#include "data/raw_source.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/file.h"
#include "data/dataset.h"
#include "data/doc_index.h"

typedef struct RawSource {
    TokenSource base;
    DatasetInfo info;
    DocIndex index;
    char path[PATH_MAX];        /* of the token file */
    const SplitInfo *split;     /* in info */
    const unsigned char *bytes; /* the mapping, size bytes; NULL when the file is empty */
    size_t size;
    int fd; /* of the mapped file, to see whether it is still as long; else -1 */
} RawSource;

static uint32_t token_at(const unsigned char *p, int token_size)
{
    uint32_t low = (uint32_t)p[0] | (uint32_t)p[1] << 8;
    return token_size == 2 ? low : low | (uint32_t)p[2] << 16 | (uint32_t)p[3] << 24;
}

/* Touching what is gone from a mapped file would end the process (SIGBUS). */
static int check_size(const RawSource *raw, Err *err)
{
    struct stat st;
    if (raw->fd < 0 || (fstat(raw->fd, &st) == 0 && st.st_size >= (off_t)raw->size)) return 0;
    return err_set(err, "%s was cut short while it was read; encode the dataset again", raw->path);
}

static int raw_read(const TokenSource *s, int64_t start, int64_t n, int32_t *out, Err *err)
{
    const RawSource *raw = (const RawSource *)s;
    int token_size = raw->info.token_size;
    const unsigned char *p = raw->bytes + start * token_size;
    TRY(check_size(raw, err));
    for (int64_t i = 0; i < n; i++, p += token_size) {
        uint32_t id = token_at(p, token_size);
        if (id >= (uint32_t)s->vocab_size)
            return err_set(err,
                           "%s: token %lld is %lld, outside the vocabulary of %d; the file is "
                           "damaged: encode the dataset again",
                           s->name, (long long)(start + i), (long long)(int32_t)id, s->vocab_size);
        out[i] = (int32_t)id;
    }
    return 0;
}

static void raw_close(TokenSource *s)
{
    RawSource *raw = (RawSource *)s;
    if (raw->bytes != NULL) munmap((void *)(uintptr_t)raw->bytes, raw->size);
    if (raw->fd >= 0) close(raw->fd);
    doc_index_free(&raw->index);
    free(raw);
}

/* Checks the open token file against dataset.json and maps it. */
static int raw_map(RawSource *raw, int fd, int64_t tokens, Err *err)
{
    struct stat st;
    if (fstat(fd, &st) != 0) return file_error(err, "read", raw->path);
    if (!S_ISREG(st.st_mode)) return err_set(err, "%s is not a file", raw->path);
    if (st.st_size != tokens * raw->info.token_size)
        return err_set(err,
                       "%s has %lld bytes, but dataset.json says %lld tokens of %d bytes: it "
                       "is cut off or foreign; encode the dataset again",
                       raw->path, (long long)st.st_size, (long long)tokens, raw->info.token_size);
    raw->size = (size_t)st.st_size;
    if (raw->size == 0) return 0;
    void *bytes = mmap(NULL, raw->size, PROT_READ, MAP_SHARED, fd, 0);
    if (bytes == MAP_FAILED) return file_error(err, "map", raw->path);
    raw->bytes = bytes;
    raw->fd = fd;
    return 0;
}

static int raw_load(RawSource *raw, const char *dir, const char *split, Err *err)
{
    char docs_path[PATH_MAX];
    int which = split_find(split, err);
    TRY(which);
    TRY(dataset_read(&raw->info, dir, err));
    const SplitInfo *info = raw->split = &raw->info.splits[which];
    TRY(path_join(raw->path, sizeof raw->path, dir, info->token_file, err));
    TRY(path_join(docs_path, sizeof docs_path, dir, info->docs_file, err));
    /* Non-blocking, so that a pipe in the file's place is refused and not waited for. */
    int fd = open(raw->path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (fd < 0) return file_error(err, "open", raw->path);
    int status = raw_map(raw, fd, info->tokens, err);
    if (raw->fd < 0) close(fd);
    TRY(status);
    if (!file_exists(docs_path)) {
        errno = ENOENT;
        return file_error(err, "open", docs_path);
    }
    return doc_index_read(&raw->index, docs_path, info->documents, info->tokens, err);
}

int raw_source_open(TokenSource **out, const char *dir, const char *split, Err *err)
{
    static const TokenSourceOps ops = {raw_read, raw_close};
    *out = NULL;
    RawSource *raw = calloc(1, sizeof *raw);
    if (raw == NULL) return err_set(err, "no memory for a token source");
    raw->base.ops = &ops;
    raw->fd = -1;
    if (raw_load(raw, dir, split, err) < 0) {
        raw_close(&raw->base);
        return -1;
    }
    raw->base = (TokenSource){.ops = &ops,
                              .name = raw->path,
                              .length = (int64_t)(raw->size / (size_t)raw->info.token_size),
                              .vocab_size = raw->info.vocab_size,
                              .bos = raw->info.bos,
                              .eos = raw->info.eos,
                              .tokenizer = raw->info.tokenizer,
                              .docs = raw->index.docs,
                              .n_docs = raw->index.n_docs};
    *out = &raw->base;
    return 0;
}
