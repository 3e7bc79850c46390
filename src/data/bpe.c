/* Merging. Short pieces, nearly all, by looking for the lowest rank again and again; long ones with
 * a heap over a linked list, so that a megabyte of one letter takes n log n. */
#include "data/bpe.h"

#include <stdlib.h>
#include <string.h>

#include "base/mem.h"

enum { SHORT = 48 }; /* bytes; measured: the heap is faster above */

int32_t *ids_more(Ids *ids, size_t n)
{
    if (ids->room - ids->n < n) {
        size_t room = 2 * ids->room > ids->n + n ? 2 * ids->room : ids->n + n + 1024;
        int32_t *v = realloc(ids->v, room * sizeof *v);
        mem_need(v != NULL, "%zu token ids", room);
        ids->v = v;
        ids->room = room;
    }
    return ids->v + ids->n;
}

void ids_free(Ids *ids)
{
    free(ids->v);
    *ids = (Ids){0};
}

static uint64_t load(const unsigned char *p, size_t n)
{
    uint64_t x = 0;
    memcpy(&x, p, n);
    return x;
}

static uint64_t mix(uint64_t h, uint64_t k)
{
    h *= k;
    return h ^ h >> 29;
}

/* Multiply and fold, 8 bytes at a time; the last 8 may overlap those before. */
uint32_t bpe_hash(const unsigned char *p, size_t n)
{
    static const uint64_t k0 = 0x9e3779b97f4a7c15, k1 = 0xd6e8feb86659fd93;
    uint64_t h = n * k1;
    if (n >= 8) {
        const unsigned char *last = p + n - 8;
        for (; p < last; p += 8) h = mix(h ^ load(p, 8), k0);
        h = mix(h ^ load(last, 8), k1);
    } else if (n >= 4) {
        h = mix(h ^ load(p, 4) ^ load(p + n - 4, 4) << 32, k0);
    } else if (n > 0) {
        h = mix(h ^ p[0] ^ (uint64_t)p[n / 2] << 8 ^ (uint64_t)p[n - 1] << 16, k0);
    }
    return (uint32_t)(h ^ h >> 32);
}

int32_t bpe_find(const Bpe *b, const unsigned char *bytes, size_t n)
{
    if (n > BPE_MAX_TOKEN) return -1;
    uint32_t hash = bpe_hash(bytes, n);
    for (uint32_t i = hash & b->slot_mask;; i = (i + 1) & b->slot_mask) {
        BpeSlot slot = b->slots[i];
        if (slot.id < 0) return -1;
        if (slot.hash != hash) continue;
        size_t length;
        const unsigned char *token = bpe_bytes(b, slot.id, &length);
        if (length == n && memcmp(token, bytes, n) == 0)
            return b->kind[slot.id] & BPE_TEXT ? slot.id : -1;
    }
}

static uint32_t pair_hash(int32_t left, int32_t right)
{
    uint64_t key = (uint64_t)(uint32_t)left << 32 | (uint32_t)right;
    key *= 0x9e3779b97f4a7c15;
    return (uint32_t)(key >> 32) ^ (uint32_t)(key >> 15);
}

BpePair *bpe_pair_slot(const Bpe *b, int32_t left, int32_t right)
{
    for (uint32_t i = pair_hash(left, right) & b->pair_mask;; i = (i + 1) & b->pair_mask) {
        BpePair *pair = &b->pairs[i];
        if ((pair->left == left && pair->right == right) || pair->left < 0) return pair;
    }
}

const BpePair *bpe_pair(const Bpe *b, int32_t left, int32_t right)
{
    const BpePair *pair = bpe_pair_slot(b, left, right);
    return pair->left < 0 ? NULL : pair;
}

static uint32_t pair_rank(const Bpe *b, int32_t left, int32_t right, int32_t *id)
{
    const BpePair *pair = bpe_pair(b, left, right);
    *id = pair ? pair->id : -1;
    return pair ? pair->rank : UINT32_MAX;
}

static void merge_short(const Bpe *b, const unsigned char *piece, int n, Ids *out)
{
    int32_t id[SHORT], joined[SHORT]; /* joined: what the pair that begins here becomes */
    uint32_t rank[SHORT];
    for (int i = 0; i < n; i++) id[i] = b->of_byte[piece[i]];
    for (int i = 0; i + 1 < n; i++) rank[i] = pair_rank(b, id[i], id[i + 1], &joined[i]);
    while (n > 1) {
        int best = 0;
        for (int i = 1; i + 1 < n; i++)
            if (rank[i] < rank[best]) best = i;
        if (rank[best] == UINT32_MAX) break;
        id[best] = joined[best];
        for (int i = best + 1; i + 1 < n; i++) id[i] = id[i + 1];
        for (int i = best + 1; i + 2 < n; i++) {
            rank[i] = rank[i + 1];
            joined[i] = joined[i + 1];
        }
        n--;
        if (best > 0) rank[best - 1] = pair_rank(b, id[best - 1], id[best], &joined[best - 1]);
        if (best + 1 < n) rank[best] = pair_rank(b, id[best], id[best + 1], &joined[best]);
    }
    memcpy(ids_more(out, (size_t)n), id, (size_t)n * sizeof *id);
    out->n += (size_t)n;
}

/* --- long pieces --------------------------------------------------------------------------------
 */

static void work_grow(BpeWork *w, size_t n)
{
    if (w->room >= n) return;
    bpe_work_free(w);
    w->heap = malloc(3 * n * sizeof *w->heap); /* two new pairs for each merge, at most */
    w->rank = malloc(n * sizeof *w->rank);
    w->id = malloc(3 * n * sizeof *w->id);
    mem_need(w->heap && w->rank && w->id, "a piece of %zu bytes", n);
    w->next = w->id + n;
    w->previous = w->next + n;
    w->room = n;
}

void bpe_work_free(BpeWork *w)
{
    free(w->heap);
    free(w->rank);
    free(w->id);
    *w = (BpeWork){0};
}

static void heap_sink(uint64_t *heap, size_t n, size_t at)
{
    uint64_t moving = heap[at];
    for (size_t child; (child = 2 * at + 1) < n; at = child) {
        child += child + 1 < n && heap[child + 1] < heap[child];
        if (heap[child] >= moving) break;
        heap[at] = heap[child];
    }
    heap[at] = moving;
}

static void heap_push(uint64_t *heap, size_t *n, uint64_t key)
{
    size_t at = (*n)++;
    for (size_t parent; at > 0 && heap[parent = (at - 1) / 2] > key; at = parent)
        heap[at] = heap[parent];
    heap[at] = key;
}

static uint64_t heap_pop(uint64_t *heap, size_t *n)
{
    uint64_t least = heap[0];
    heap[0] = heap[--*n];
    if (*n > 0) heap_sink(heap, *n, 0);
    return least;
}

/* Keys are rank << 32 | place: the lowest rank first, then the leftmost. One whose rank is no
 * longer that of its place is out of date. */
static size_t heap_start(const Bpe *b, BpeWork *w, const unsigned char *piece, size_t n)
{
    size_t heaped = 0;
    int32_t unused;
    for (size_t i = 0; i < n; i++) {
        w->id[i] = b->of_byte[piece[i]];
        w->next[i] = (int32_t)i + 1;
        w->previous[i] = (int32_t)i - 1;
    }
    w->rank[n - 1] = UINT32_MAX;
    for (size_t i = 0; i + 1 < n; i++) {
        w->rank[i] = pair_rank(b, w->id[i], w->id[i + 1], &unused);
        if (w->rank[i] != UINT32_MAX) w->heap[heaped++] = (uint64_t)w->rank[i] << 32 | i;
    }
    for (size_t i = heaped / 2; i-- > 0;) heap_sink(w->heap, heaped, i);
    return heaped;
}

static void rank_again(const Bpe *b, BpeWork *w, int32_t at, int32_t n, size_t *heaped)
{
    int32_t unused, right = w->next[at];
    w->rank[at] = right < n ? pair_rank(b, w->id[at], w->id[right], &unused) : UINT32_MAX;
    if (w->rank[at] != UINT32_MAX)
        heap_push(w->heap, heaped, (uint64_t)w->rank[at] << 32 | (uint32_t)at);
}

static void merge_long(const Bpe *b, BpeWork *w, const unsigned char *piece, size_t size, Ids *out)
{
    work_grow(w, size);
    size_t heaped = heap_start(b, w, piece, size);
    int32_t n = (int32_t)size;
    while (heaped > 0) {
        uint64_t key = heap_pop(w->heap, &heaped);
        int32_t at = (int32_t)(key & UINT32_MAX), right;
        if (w->rank[at] != key >> 32) continue;
        right = w->next[at];
        w->id[at] = bpe_pair(b, w->id[at], w->id[right])->id;
        w->rank[right] = UINT32_MAX;
        w->next[at] = w->next[right];
        if (w->next[at] < n) w->previous[w->next[at]] = at;
        rank_again(b, w, at, n, &heaped);
        if (w->previous[at] >= 0) rank_again(b, w, w->previous[at], n, &heaped);
    }
    int32_t *ids = ids_more(out, size);
    for (int32_t i = 0; i < n; i = w->next[i]) *ids++ = w->id[i];
    out->n = (size_t)(ids - out->v);
}

void bpe_merge(const Bpe *b, BpeWork *w, const unsigned char *piece, size_t n, Ids *out)
{
    for (; n > BPE_MAX_PIECE; piece += BPE_MAX_PIECE, n -= BPE_MAX_PIECE)
        merge_long(b, w, piece, BPE_MAX_PIECE, out);
    if (n > SHORT)
        merge_long(b, w, piece, n, out);
    else if (n > 0)
        merge_short(b, piece, (int)n, out);
}

void bpe_encode(const Bpe *b, BpeWork *w, const unsigned char *piece, size_t n, Ids *out)
{
    int32_t whole = bpe_find(b, piece, n);
    if (whole < 0) {
        bpe_merge(b, w, piece, n, out);
        return;
    }
    *ids_more(out, 1) = whole;
    out->n++;
}
