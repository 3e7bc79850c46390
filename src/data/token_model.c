/* Parts of a token model that all kinds of files share. */
#include "data/token_model.h"

#include <stdlib.h>

#include "base/mem.h"

uint32_t byte_to_char(unsigned char byte)
{
    bool printable = (byte > ' ' && byte < 0x7f) || (byte > 0xa0 && byte != 0xad);
    if (printable) return byte;
    /* the others follow U+0100, in order: 0-32, 127-160, 173 */
    uint32_t place = byte <= ' ' ? byte : byte <= 0xa0 ? 33u + byte - 0x7fu : 67u;
    return 0x100 + place;
}

void token_model_added(TokenModel *m, AddedToken *list, int n)
{
    AddedToken *raw = calloc((size_t)n + 1, sizeof *raw);
    mem_need(raw != NULL, "added tokens");
    AddedToken *normalized = calloc((size_t)n + 1, sizeof *raw);
    mem_need(normalized != NULL, "added tokens");
    int n_raw = 0, n_normalized = 0;
    for (int i = 0; i < n; i++)
        if (list[i].normalized)
            normalized[n_normalized++] = list[i];
        else
            raw[n_raw++] = list[i];
    free(list);
    added_tokens_make(&m->raw, raw, n_raw);
    added_tokens_make(&m->normalized, normalized, n_normalized);
}

void token_model_free(TokenModel *m)
{
    if (m == NULL) return;
    bpe_free(&m->bpe);
    free(m->bits);
    added_tokens_free(&m->raw);
    added_tokens_free(&m->normalized);
    normalizer_free(m->normalizer);
    for (int i = 0; i < m->n_steps; i++) split_regex_free(m->step[i].regex);
    mem_free(m);
}
