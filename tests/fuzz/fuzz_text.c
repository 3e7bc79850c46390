/* Any bytes through each kind of tokenizer and back: the same bytes, ids inside the vocabulary, the
 * same ids however the text is cut. The first byte says how. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../tiny_tokenizer.h"
#include "data/token_stream.h"

static Ids encode(const Tokenizer *tok, const uint8_t *text, size_t n, size_t step)
{
    Err err;
    const int32_t *ids;
    int64_t k;
    Ids out = {0};
    ids_more(&out, n + 1);
    TokenStream *s = token_stream_new(tok, false);
    for (size_t at = 0; at < n; at += step) {
        k = token_stream_push(s, text + at, n - at < step ? n - at : step, &ids, &err);
        CHECK(k >= 0 && out.n + (size_t)k <= n, "too many ids");
        if (k > 0) memcpy(out.v + out.n, ids, (size_t)k * sizeof *ids);
        out.n += (size_t)k;
    }
    k = token_stream_end(s, &ids, &err);
    CHECK(k >= 0 && out.n + (size_t)k <= n, "too many ids");
    if (k > 0) memcpy(out.v + out.n, ids, (size_t)k * sizeof *ids);
    out.n += (size_t)k;
    token_stream_free(s);
    return out;
}

static void round_trip(const Tokenizer *tok, const uint8_t *text, size_t n, size_t step)
{
    char *back = malloc(n + TOKENIZER_MAX_PIECE);
    CHECK(back, "no memory");
    Ids whole = encode(tok, text, n, n + 1), parts = encode(tok, text, n, step);
    size_t used = 0;
    CHECK(whole.n == parts.n, "cutting changes the ids");
    for (size_t i = 0; i < whole.n; i++) {
        CHECK(whole.v[i] == parts.v[i], "cutting changes the ids");
        CHECK(whole.v[i] >= 0 && whole.v[i] < tokenizer_vocab_size(tok), "id %d", whole.v[i]);
        used += (size_t)tokenizer_decode(tok, whole.v[i], back + used);
        CHECK(used <= n, "more bytes than there were");
    }
    CHECK(used == n && memcmp(back, text, n) == 0, "other bytes came back");
    ids_free(&whole);
    ids_free(&parts);
    free(back);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static Tokenizer *tok[TINY_TOKENIZERS]; /* made with the first input, kept */
    if (tok[0] == NULL)
        for (int i = 0; i < TINY_TOKENIZERS; i++) tok[i] = tiny_tokenizer(i);
    if (size == 0) return 0;
    round_trip(tok[data[0] % TINY_TOKENIZERS], data + 1, size - 1, data[0] / 16 + 1u);
    return 0;
}
