/* Any bytes through the tokenizer and back: the same bytes, ids inside the vocabulary. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "data/tokenizer.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    Tokenizer *tok;
    Err err;
    CHECK(tokenizer_open(&tok, "bytes", &err) == 0, "%s", err.text);
    int32_t *ids = malloc((size + 1) * sizeof *ids);
    char *back = malloc(size + TOKENIZER_MAX_PIECE);
    CHECK(ids && back, "out of memory");
    int64_t n = tokenizer_encode(tok, data, size, ids);
    size_t used = 0;
    for (int64_t i = 0; i < n; i++) {
        CHECK(ids[i] >= 0 && ids[i] < tokenizer_vocab_size(tok), "id %d", (int)ids[i]);
        char piece[TOKENIZER_MAX_PIECE];
        int bytes = tokenizer_decode(tok, ids[i], piece);
        CHECK(bytes >= 0 && used + (size_t)bytes <= size, "decoded too much");
        memcpy(back + used, piece, (size_t)bytes);
        used += (size_t)bytes;
    }
    CHECK(used == size && (size == 0 || memcmp(back, data, size) == 0), "not the same bytes");
    free(ids);
    free(back);
    tokenizer_close(tok);
    return 0;
}
