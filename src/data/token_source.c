/* Token sources: the common part, and the kind without a file, random tokens. */
#include "data/token_source.h"

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
