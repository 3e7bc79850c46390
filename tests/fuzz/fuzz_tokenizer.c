/* Tokenizer files of strangers, both kinds: opened, and where one opens, a text goes through it:
 * the same ids however it is cut, ids inside the vocabulary. An input is a file as it is, or a good
 * one with something put in the place of a few bytes: no fuzzer would find all 256 tokens. */
#include <stdlib.h>
#include <string.h>

#include "../tiny_tokenizer.h"
#include "data/token_stream.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static int64_t encode(const Tokenizer *tok, const uint8_t *text, size_t n, size_t step,
                      int32_t out[4096])
{
    Err err;
    const int32_t *ids;
    int64_t total = 0, k;
    TokenStream *s = token_stream_new(tok, true);
    for (size_t at = 0; at < n; at += step) {
        k = token_stream_push(s, text + at, n - at < step ? n - at : step, &ids, &err);
        if (k < 0) break;
        CHECK(total + k <= 4096, "too many ids");
        if (k > 0) memcpy(out + total, ids, (size_t)k * sizeof *ids);
        total += k;
    }
    k = token_stream_end(s, &ids, &err);
    if (k > 0) memcpy(out + total, ids, (size_t)k * sizeof *ids);
    token_stream_free(s);
    return k < 0 ? -1 : total + k;
}

static void try_file(const char *text, size_t size)
{
    static const char sample[] =
        "I'LL go \xe4\xb8\xad\xcc\x81 12345 \n\n  <a>\xff \xc3 b <|end_of_text|>";
    Err err = {""};
    Tokenizer *tok;
    if (tokenizer_read(&tok, text, size, "input", &err) < 0) {
        CHECK(err.text[0] != 0, "a failure without a message");
        return;
    }
    int32_t whole[4096], parts[4096];
    char piece[TOKENIZER_MAX_PIECE];
    size_t n = sizeof sample - 1;
    int64_t k = encode(tok, (const uint8_t *)sample, n, n, whole);
    CHECK(encode(tok, (const uint8_t *)sample, n, 3, parts) == k, "cutting changes the ids");
    for (int64_t i = 0; i < k; i++) {
        CHECK(whole[i] == parts[i], "cutting changes the ids");
        CHECK(whole[i] >= 0 && whole[i] < tokenizer_vocab_size(tok), "id %d", (int)whole[i]);
        tokenizer_spell(tok, whole[i], piece);
    }
    tokenizer_close(tok);
}

/* data: where (2 bytes), how many bytes go, what comes instead. */
static void try_changed(int kind, const uint8_t *data, size_t size)
{
    size_t n, at = (size_t)data[0] << 8 | data[1], gone = data[2];
    char *good = tiny_text(kind, &n), *text = malloc(n + size);
    CHECK(text, "no memory");
    at %= n;
    if (gone > n - at) gone = n - at;
    memcpy(text, good, at);
    memcpy(text + at, data + 3, size - 3);
    memcpy(text + at + size - 3, good + at + gone, n - at - gone);
    try_file(text, n - gone + size - 3);
    free(good);
    free(text);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const char kinds[] = {[TINY_RANKS] = 'R', [TINY_JSON] = 'J', [TINY_REGEX] = 'X'};
    for (int kind = TINY_RANKS; size > 3 && kind < ARRAY_LEN(kinds); kind++)
        if (data[0] == (uint8_t)kinds[kind]) {
            try_changed(kind, data + 1, size - 1);
            return 0;
        }
    try_file((const char *)data, size);
    return 0;
}
