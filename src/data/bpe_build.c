/* Making a Bpe from a list of tokens and merges. */
#include <stdlib.h>
#include <string.h>

#include "data/bpe.h"

/* A power of two at which n entries fill at most half. */
static uint32_t table_size(size_t n)
{
    uint32_t size = 1024;
    while (size < 2 * n) size *= 2;
    return size;
}

static int tables_alloc(Bpe *b, size_t bytes, size_t n, Err *err)
{
    b->slot_mask = table_size(n) - 1;
    b->start = calloc((size_t)b->n_ids + 1, sizeof *b->start);
    b->kind = calloc((size_t)b->n_ids + 1, 1);
    b->bytes = malloc(bytes + 1);
    b->slots = malloc((b->slot_mask + (size_t)1) * sizeof *b->slots);
    if (!b->start || !b->kind || !b->bytes || !b->slots)
        return err_set(err, "no memory for a vocabulary of %d tokens", b->n_ids);
    memset(b->slots, 0xff, (b->slot_mask + (size_t)1) * sizeof *b->slots);
    return 0;
}

/* Lengths to places, then the bytes to where they belong. */
static void bytes_place(Bpe *b, const BpeToken *tokens, size_t n, const unsigned char *text)
{
    for (size_t i = 0; i < n; i++) {
        b->start[tokens[i].id + 1] = tokens[i].length;
        b->kind[tokens[i].id] = tokens[i].kind | BPE_USED;
    }
    for (int32_t id = 0; id < b->n_ids; id++) b->start[id + 1] += b->start[id];
    for (size_t i = 0; i < n; i++)
        memcpy(b->bytes + b->start[tokens[i].id], text + tokens[i].at, tokens[i].length);
}

static int slots_fill(Bpe *b, const char *file, Err *err)
{
    for (int32_t id = 0; id < b->n_ids; id++) {
        if (!(b->kind[id] & BPE_TEXT)) continue;
        size_t n;
        const unsigned char *bytes = bpe_bytes(b, id, &n);
        int32_t twin = bpe_find(b, bytes, n);
        if (twin >= 0)
            return err_set(err, "%s: tokens %d and %d have the same bytes; use a sound copy", file,
                           twin, id);
        uint32_t hash = bpe_hash(bytes, n), i = hash & b->slot_mask;
        while (b->slots[i].id >= 0) i = (i + 1) & b->slot_mask;
        b->slots[i] = (BpeSlot){hash, id};
    }
    return 0;
}

static int bytes_find(Bpe *b, const char *file, Err *err)
{
    for (int c = 0; c < 256; c++) {
        unsigned char byte = (unsigned char)c;
        b->of_byte[c] = bpe_find(b, &byte, 1);
        if (b->of_byte[c] < 0)
            return err_set(err,
                           "%s: there is no token for the byte 0x%02x: a byte-level vocabulary has "
                           "all 256; use a sound copy",
                           file, (unsigned)c);
    }
    return 0;
}

static int tokens_check(Bpe *b, const BpeToken *tokens, size_t n, size_t *bytes, const char *file,
                        Err *err)
{
    *bytes = 0;
    for (size_t i = 0; i < n; i++) {
        const BpeToken *t = &tokens[i];
        if (t->id < 0 || t->id >= BPE_MAX_IDS)
            return err_set(err, "%s: token id %d is outside 0 to %d", file, t->id, BPE_MAX_IDS - 1);
        if (t->length == 0 || t->length > BPE_MAX_TOKEN)
            return err_set(err, "%s: token %d has %u bytes, not 1 to %d", file, t->id,
                           (unsigned)t->length, BPE_MAX_TOKEN);
        if (t->id >= b->n_ids) b->n_ids = t->id + 1;
        *bytes += t->length;
    }
    return *bytes <= UINT32_MAX / 2 ? 0 : err_set(err, "%s: more than 2 GB of tokens", file);
}

static int ids_unique(const Bpe *b, const BpeToken *tokens, size_t n, const char *file, Err *err)
{
    uint8_t *seen = calloc((size_t)b->n_ids + 1, 1);
    if (seen == NULL) return err_set(err, "no memory for a vocabulary");
    int status = 0;
    for (size_t i = 0; i < n && status == 0; i++)
        if (seen[tokens[i].id]++)
            status =
                err_set(err, "%s: two tokens have the id %d; use a sound copy", file, tokens[i].id);
    free(seen);
    return status;
}

static int place(Bpe *b, const BpeToken *tokens, size_t n, const unsigned char *text,
                 const char *file, Err *err)
{
    size_t bytes;
    TRY(tokens_check(b, tokens, n, &bytes, file, err));
    TRY(ids_unique(b, tokens, n, file, err));
    TRY(tables_alloc(b, bytes, n, err));
    bytes_place(b, tokens, n, text);
    TRY(slots_fill(b, file, err));
    return bytes_find(b, file, err);
}

int bpe_place(Bpe *b, const BpeToken *tokens, size_t n, const unsigned char *text, const char *file,
              Err *err)
{
    *b = (Bpe){0};
    if (place(b, tokens, n, text, file, err) == 0) return 0;
    bpe_free(b);
    return -1;
}

int bpe_pairs_begin(Bpe *b, size_t n, Err *err)
{
    b->pair_mask = table_size(n) - 1;
    b->pairs = malloc((b->pair_mask + (size_t)1) * sizeof *b->pairs);
    if (b->pairs == NULL) return err_set(err, "no memory for %zu merges", n);
    memset(b->pairs, 0xff, (b->pair_mask + (size_t)1) * sizeof *b->pairs);
    return 0;
}

void bpe_pairs_add(Bpe *b, BpePair pair)
{
    BpePair *there = bpe_pair_slot(b, pair.left, pair.right);
    *there = pair;
}

/* Both halves of every way to split every token, or only how many pairs there are. */
static size_t halves(Bpe *b, bool add)
{
    size_t count = 0, n, rest;
    for (int32_t id = 0; id < b->n_ids; id++) {
        const unsigned char *bytes = bpe_bytes(b, id, &n);
        if (!(b->kind[id] & BPE_TEXT)) continue;
        for (size_t k = 1; k < n; k++) {
            rest = n - k;
            int32_t left = bpe_find(b, bytes, k), right;
            if (left < 0 || (right = bpe_find(b, bytes + k, rest)) < 0) continue;
            count++;
            if (add) bpe_pairs_add(b, (BpePair){left, right, (uint32_t)id, id});
        }
    }
    return count;
}

int bpe_pairs_from_ranks(Bpe *b, Err *err)
{
    TRY(bpe_pairs_begin(b, halves(b, false), err));
    halves(b, true);
    return 0;
}

void bpe_keep_reachable(Bpe *b)
{
    Ids ids = {0};
    BpeWork work = {0};
    for (int32_t id = 0; id < b->n_ids; id++) {
        size_t n;
        const unsigned char *bytes = bpe_bytes(b, id, &n);
        if (n < 2 || !(b->kind[id] & BPE_TEXT)) continue;
        ids.n = 0;
        bpe_merge(b, &work, bytes, n, &ids);
        if (ids.n != 1 || ids.v[0] != id) b->kind[id] &= (uint8_t)~BPE_TEXT;
    }
    bpe_work_free(&work);
    ids_free(&ids);
}

void bpe_free(Bpe *b)
{
    free(b->start);
    free(b->kind);
    free(b->bytes);
    free(b->slots);
    free(b->pairs);
    *b = (Bpe){0};
}
