/* The token source of a dataset folder: little-endian on every machine. Read, not mapped: a file
 * that is cut short or a disk that fails is then an error like any other. */
#include "data/raw_source.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/file.h"
#include "data/dataset.h"
#include "data/doc_index.h"

enum { BLOCK = 1 << 14 }; /* tokens that are read at a time */

typedef struct RawSource {
    TokenSource base;
    DatasetInfo info;
    DocIndex index;
    char path[PATH_MAX]; /* of the token file */
    int64_t tokens;
    int fd; /* of the token file; -1: not open */
} RawSource;

static uint32_t token_at(const unsigned char *p, int token_size)
{
    uint32_t low = (uint32_t)p[0] | (uint32_t)p[1] << 8;
    return token_size == 2 ? low : low | (uint32_t)p[2] << 16 | (uint32_t)p[3] << 24;
}

static int bytes_read(const RawSource *raw, off_t at, unsigned char *out, size_t size, Err *err)
{
    while (size > 0) {
        ssize_t got = pread(raw->fd, out, size, at);
        if (got < 0 && errno == EINTR) continue;
        if (got < 0) return file_error(err, "read", raw->path);
        if (got == 0)
            return err_set(err, "%s was cut short while it was read; encode the dataset again",
                           raw->path);
        out += got;
        at += got;
        size -= (size_t)got;
    }
    return 0;
}

/* Tokens start to start + n - 1, n at most BLOCK. */
static int block_read(const TokenSource *s, int64_t start, int64_t n, int32_t *out, Err *err)
{
    const RawSource *raw = (const RawSource *)s;
    int token_size = raw->info.token_size;
    unsigned char bytes[4 * BLOCK], *p = bytes;
    TRY(bytes_read(raw, start * token_size, bytes, (size_t)(n * token_size), err));
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

static int raw_read(const TokenSource *s, int64_t start, int64_t n, int32_t *out, Err *err)
{
    for (int64_t done = 0; done < n; done += BLOCK) {
        int64_t count = n - done < BLOCK ? n - done : BLOCK;
        TRY(block_read(s, start + done, count, out + done, err));
    }
    return 0;
}

static void raw_close(TokenSource *s)
{
    RawSource *raw = (RawSource *)s;
    if (raw->fd >= 0) close(raw->fd);
    doc_index_free(&raw->index);
    free(raw);
}

/* Checks the open token file against dataset.json. */
static int raw_check(const RawSource *raw, int64_t tokens, Err *err)
{
    struct stat st;
    if (fstat(raw->fd, &st) != 0) return file_error(err, "read", raw->path);
    if (!S_ISREG(st.st_mode)) return err_set(err, "%s is not a file", raw->path);
    if (st.st_size != tokens * raw->info.token_size)
        return err_set(err,
                       "%s has %lld bytes, but dataset.json says %lld tokens of %d bytes: it "
                       "is cut off or foreign; encode the dataset again",
                       raw->path, (long long)st.st_size, (long long)tokens, raw->info.token_size);
    return 0;
}

static int raw_load(RawSource *raw, const char *dir, const char *split, Err *err)
{
    char docs_path[PATH_MAX];
    int which = split_find(split, err);
    TRY(which);
    TRY(dataset_read(&raw->info, dir, err));
    const SplitInfo *info = &raw->info.splits[which];
    TRY(path_join(raw->path, sizeof raw->path, dir, info->token_file, err));
    TRY(path_join(docs_path, sizeof docs_path, dir, info->docs_file, err));
    /* Non-blocking, so that a pipe in the file's place is refused and not waited for. */
    raw->fd = open(raw->path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (raw->fd < 0) return file_error(err, "open", raw->path);
    TRY(raw_check(raw, info->tokens, err));
    raw->tokens = info->tokens;
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
                              .length = raw->tokens,
                              .vocab_size = raw->info.vocab_size,
                              .bos = raw->info.bos,
                              .eos = raw->info.eos,
                              .tokenizer = raw->info.tokenizer,
                              .docs = raw->index.docs,
                              .n_docs = raw->index.n_docs};
    *out = &raw->base;
    return 0;
}
