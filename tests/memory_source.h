/* A token source of a test's own tokens, which outlive it. It lists no documents. */
#ifndef TTT_TESTS_MEMORY_SOURCE_H
#define TTT_TESTS_MEMORY_SOURCE_H

#include <stdlib.h>

#include "data/token_source.h"

typedef struct MemorySource {
    TokenSource base;
    const int32_t *tokens; /* (base.length) */
} MemorySource;

static int memory_source_read(const TokenSource *s, int64_t start, int64_t n, int32_t *out,
                              Err *err)
{
    const MemorySource *m = (const MemorySource *)s;
    for (int64_t i = 0; i < n; i++) {
        int32_t id = m->tokens[start + i];
        if (id < 0 || id >= s->vocab_size)
            return err_set(err, "token %lld is %d, outside the vocabulary of %d",
                           (long long)(start + i), id, s->vocab_size);
        out[i] = id;
    }
    return 0;
}

static void memory_source_close(TokenSource *s)
{
    free(s);
}

static TokenSource *memory_source(const int32_t *tokens, int64_t n, int32_t vocab_size, int32_t bos)
{
    static const TokenSourceOps ops = {memory_source_read, memory_source_close};
    MemorySource *m = calloc(1, sizeof *m);
    CHECK(m, "no memory");
    m->base = (TokenSource){.ops = &ops,
                            .name = "tokens in memory",
                            .length = n,
                            .vocab_size = vocab_size,
                            .bos = bos,
                            .eos = -1,
                            .tokenizer = ""};
    m->tokens = tokens;
    return &m->base;
}

#endif
