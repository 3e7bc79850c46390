/* A hash table over one block of bytes. */
#include "data/bpe_words.h"

#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "data/bpe.h"

static void slots_grow(WordList *w)
{
    size_t mask = w->mask ? 2 * w->mask + 1 : ((size_t)1 << 16) - 1;
    uint32_t *slot = calloc(mask + 1, sizeof *slot);
    mem_need(slot != NULL, "%zu pieces of text", mask);
    for (size_t i = 0; i < w->n; i++) {
        size_t at = w->word[i].hash & mask;
        while (slot[at]) at = (at + 1) & mask;
        slot[at] = (uint32_t)i + 1;
    }
    free(w->slot);
    w->slot = slot;
    w->mask = mask;
}

static void word_add(WordList *w, const unsigned char *piece, size_t n, uint32_t hash)
{
    if (w->n == w->room) {
        w->room = w->room ? 2 * w->room : 1 << 14;
        w->word = realloc(w->word, w->room * sizeof *w->word);
        mem_need(w->word != NULL && w->n < UINT32_MAX - 1, "%zu pieces", w->room);
    }
    if (w->bytes_room - w->n_bytes < n) {
        w->bytes_room = 2 * w->bytes_room + n + (1 << 16);
        w->bytes = realloc(w->bytes, w->bytes_room);
        mem_need(w->bytes != NULL, "%zu bytes of pieces", w->bytes_room);
    }
    memcpy(w->bytes + w->n_bytes, piece, n);
    w->word[w->n++] = (Word){.count = 1, .at = w->n_bytes, .n = (uint32_t)n, .hash = hash};
    w->n_bytes += n;
}

void words_count(WordList *w, const unsigned char *piece, size_t n)
{
    if (w->mask == 0 || 2 * w->n > w->mask) slots_grow(w);
    uint32_t hash = bpe_hash(piece, n);
    for (size_t at = hash & w->mask;; at = (at + 1) & w->mask) {
        if (w->slot[at] == 0) {
            word_add(w, piece, n, hash);
            w->slot[at] = (uint32_t)w->n;
            return;
        }
        Word *word = &w->word[w->slot[at] - 1];
        if (word->hash != hash || word->n != n || memcmp(w->bytes + word->at, piece, n) != 0)
            continue;
        word->count++;
        return;
    }
}

void words_start(WordList *w)
{
    free(w->slot);
    w->slot = NULL;
    w->mask = 0;
    w->ids = malloc((w->n_bytes + 1) * sizeof *w->ids);
    mem_need(w->ids != NULL, "%zu ids", w->n_bytes);
    for (size_t i = 0; i < w->n_bytes; i++) w->ids[i] = w->bytes[i];
}

void words_free(WordList *w)
{
    free(w->word);
    free(w->bytes);
    free(w->slot);
    free(w->ids);
    *w = (WordList){0};
}
