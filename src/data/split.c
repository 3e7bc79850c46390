/* The split by fraction: documents in an order drawn by the seed, each held out if that brings the
 * held-out size nearer to what was asked for. */
#include "data/split.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "data/mix.h"

/* Items with their place in the drawn order; equal documents have equal keys and stand together. */
typedef struct Drawn {
    uint64_t key;
    SplitItem *item;
} Drawn;

static int by_key(const void *a, const void *b)
{
    const Drawn *x = a, *y = b;
    if (x->key != y->key) return x->key < y->key ? -1 : 1;
    return memcmp(x->item->digest, y->item->digest, SPLIT_DIGEST);
}

static Drawn *draw_order(SplitItem *items, int64_t n, uint64_t seed, Err *err)
{
    Drawn *drawn = malloc(((size_t)n + 1) * sizeof *drawn);
    if (drawn == NULL) {
        err_set(err, "no memory to split %lld documents", (long long)n);
        return NULL;
    }
    for (int64_t i = 0; i < n; i++) {
        uint64_t head = 0;
        for (int k = 0; k < 8; k++) head = head << 8 | items[i].digest[k];
        drawn[i] = (Drawn){mix64(mix64(seed) ^ head), &items[i]};
    }
    qsort(drawn, (size_t)n, sizeof *drawn, by_key);
    return drawn;
}

/* The end of the run of equal documents that begins at i. */
static int64_t run_end(const Drawn *drawn, int64_t n, int64_t i)
{
    int64_t end = i + 1;
    while (end < n && by_key(&drawn[i], &drawn[end]) == 0) end++;
    return end;
}

static int64_t run_size(const Drawn *drawn, int64_t i, int64_t end)
{
    return drawn[i].item->size * (end - i);
}

static void run_take(Drawn *drawn, int64_t i, int64_t end)
{
    for (; i < end; i++) drawn[i].item->val = true;
}

/* Holds out the smallest run: what is left to do when every document is over twice the target. */
static void take_smallest(Drawn *drawn, int64_t n)
{
    int64_t best = 0;
    for (int64_t i = 0; i < n; i = run_end(drawn, n, i))
        if (run_size(drawn, i, run_end(drawn, n, i)) <
            run_size(drawn, best, run_end(drawn, n, best)))
            best = i;
    run_take(drawn, best, run_end(drawn, n, best));
}

int split_by_fraction(SplitItem *items, int64_t n, double fraction, uint64_t seed, Err *err)
{
    double total = 0, held = 0;
    for (int64_t i = 0; i < n; i++) {
        items[i].val = false;
        total += (double)items[i].size;
    }
    Drawn *drawn = draw_order(items, n, seed, err);
    if (drawn == NULL) return -1;
    int64_t left = 0;
    for (int64_t i = 0; i < n; i = run_end(drawn, n, i)) left++;
    bool several = left > 1;
    for (int64_t i = 0, end; i < n; i = end) {
        end = run_end(drawn, n, i);
        double size = (double)run_size(drawn, i, end), gap = fraction * total - held;
        if (left < 2 || fabs(gap - size) >= fabs(gap)) continue;
        run_take(drawn, i, end);
        held += size;
        left--;
    }
    if (held == 0 && several && fraction > 0) take_smallest(drawn, n);
    free(drawn);
    return 0;
}

int64_t split_count_shared(SplitItem *items, int64_t n, Err *err)
{
    Drawn *drawn = draw_order(items, n, 0, err);
    if (drawn == NULL) return -1;
    int64_t shared = 0;
    for (int64_t i = 0, end; i < n; i = end) {
        end = run_end(drawn, n, i);
        int64_t val = 0;
        for (int64_t k = i; k < end; k++) val += drawn[k].item->val;
        if (val < end - i) shared += val;
    }
    free(drawn);
    return shared;
}
