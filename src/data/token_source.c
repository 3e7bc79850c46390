/* Token sources: the common part, and the two kinds without a file, memory and random. */
#include "data/token_source.h"

#include <stdio.h>
#include <stdlib.h>

#include "data/dataset.h"
#include "data/mix.h"
#include "data/raw_source.h"
#include "data/zarr_source.h"

int token_source_open(TokenSource **out, const char *path, const char *split, Err *err)
{
    DatasetInfo info;
    *out = NULL;
    if (zarr_group_there(path)) return zarr_source_open(out, path, split, NULL, err);
    TRY(dataset_read(&info, path, err));
    if (info.is_zarr) return zarr_source_open(out, path, split, &info, err);
    return raw_source_open(out, path, split, err);
}

void token_source_declare(TokenSource *s, int32_t vocab_size, int32_t bos)
{
    if (s->vocab_size == 0) s->vocab_size = vocab_size;
    if (s->bos < 0) s->bos = bos;
}

void token_source_close(TokenSource *s)
{
    if (s != NULL) s->ops->close(s);
}

int64_t token_source_length(const TokenSource *s)
{
    return s->length;
}

int token_source_read(const TokenSource *s, int64_t start, int64_t n, int32_t *out, Err *err)
{
    if (start < 0 || n < 0 || start > s->length || n > s->length - start)
        return err_set(err, "%s: no %lld tokens from %lld on; it holds %lld", s->name, (long long)n,
                       (long long)start, (long long)s->length);
    return n == 0 ? 0 : s->ops->read(s, start, n, out, err);
}

int64_t doc_count(const TokenSource *s)
{
    return s->n_docs;
}

Document doc_info(const TokenSource *s, int64_t i)
{
    CHECK(i >= 0 && i < s->n_docs, "%s: no document %lld", s->name, (long long)i);
    return s->docs[i];
}

/* --- memory ----------------------------------------------------------------------------------- */

enum { MEMORY_NAME = 32 };

typedef struct MemorySource {
    TokenSource base;
    const int32_t *tokens; /* (base.length), the caller's */
    Document *docs;
    char (*names)[MEMORY_NAME]; /* (n_docs) */
} MemorySource;

static int memory_read(const TokenSource *s, int64_t start, int64_t n, int32_t *out, Err *err)
{
    const MemorySource *m = (const MemorySource *)s;
    for (int64_t i = 0; i < n; i++) {
        int32_t id = m->tokens[start + i];
        if (id < 0 || id >= s->vocab_size)
            return err_set(err, "%s: token %lld is %d, outside the vocabulary of %d", s->name,
                           (long long)(start + i), id, s->vocab_size);
        out[i] = id;
    }
    return 0;
}

static void memory_close(TokenSource *s)
{
    MemorySource *m = (MemorySource *)s;
    free(m->docs);
    free(m->names);
    free(m);
}

/* Tokens before the first BOS belong to no document. */
static int memory_index(MemorySource *m, Err *err)
{
    int64_t n_docs = 0, k = 0;
    for (int64_t i = 0; i < m->base.length; i++) n_docs += m->tokens[i] == m->base.bos;
    if (n_docs == 0) return 0;
    m->docs = calloc((size_t)n_docs, sizeof *m->docs);
    m->names = calloc((size_t)n_docs, sizeof *m->names);
    if (m->docs == NULL || m->names == NULL)
        return err_set(err, "no memory for %lld documents", (long long)n_docs);
    for (int64_t i = 0; i < m->base.length; i++) {
        if (m->tokens[i] == m->base.bos) {
            snprintf(m->names[k], MEMORY_NAME, "document %lld", (long long)k);
            m->docs[k] = (Document){.name = m->names[k], .start = i};
            k++;
        }
        if (k > 0) m->docs[k - 1].length++;
    }
    m->base.docs = m->docs;
    m->base.n_docs = n_docs;
    return 0;
}

int token_source_from_memory(TokenSource **out, const int32_t *tokens, int64_t n,
                             int32_t vocab_size, int32_t bos, Err *err)
{
    static const TokenSourceOps ops = {memory_read, memory_close};
    *out = NULL;
    MemorySource *m = calloc(1, sizeof *m);
    if (m == NULL) return err_set(err, "no memory for a token source");
    m->base = (TokenSource){.ops = &ops,
                            .name = "tokens in memory",
                            .length = n,
                            .vocab_size = vocab_size,
                            .bos = bos,
                            .eos = -1,
                            .tokenizer = ""};
    m->tokens = tokens;
    if (memory_index(m, err) < 0) {
        memory_close(&m->base);
        return -1;
    }
    *out = &m->base;
    return 0;
}

/* --- random ----------------------------------------------------------------------------------- */

typedef struct DummySource {
    TokenSource base;
    uint64_t seed;
} DummySource;

static int dummy_read(const TokenSource *s, int64_t start, int64_t n, int32_t *out, Err *err)
{
    (void)err;
    const DummySource *d = (const DummySource *)s;
    uint64_t key = mix64(d->seed);
    for (int64_t i = 0; i < n; i++) {
        uint64_t bits = mix64(key + (uint64_t)(start + i)) >> 32;
        out[i] = (int32_t)((bits * (uint64_t)s->vocab_size) >> 32);
    }
    return 0;
}

static void dummy_close(TokenSource *s)
{
    free(s);
}

int token_source_dummy(TokenSource **out, int64_t length, int32_t vocab_size, uint64_t seed,
                       Err *err)
{
    static const TokenSourceOps ops = {dummy_read, dummy_close};
    *out = NULL;
    if (length < 0 || vocab_size < 1)
        return err_set(err, "dummy dataset: length %lld and vocabulary %d must be positive",
                       (long long)length, vocab_size);
    DummySource *d = calloc(1, sizeof *d);
    if (d == NULL) return err_set(err, "no memory for a token source");
    d->base = (TokenSource){.ops = &ops,
                            .name = "dummy dataset",
                            .length = length,
                            .vocab_size = vocab_size,
                            .bos = -1,
                            .eos = -1,
                            .tokenizer = ""};
    d->seed = seed;
    *out = &d->base;
    return 0;
}
