/* The list of bfloat16 copies: few and long, so that a walk through it costs nothing beside one
 * product. */
#include "backend/bf16_copy.h"

#include <stdlib.h>

#include "backend/machine.h"
#include "base/mem.h"

typedef struct Copy {
    const real *of; /* (n) */
    size_t n;
    int keepers;
    uint16_t *data; /* (n) */
} Copy;

struct Bf16Copies {
    int n, room;
    Copy *copy;
};

static size_t bytes_for(size_t n)
{
    return reals_for(n * sizeof(uint16_t)) * sizeof(real);
}

size_t bf16_copy_bytes(const Backend *be, size_t n)
{
    return backend_rounds(be) ? bytes_for(n) : 0;
}

static Copy *copy_of(const Backend *be, const real *x)
{
    struct Bf16Copies *all = be->bf16_copies;
    for (int i = 0; all && i < all->n; i++)
        if (all->copy[i].of == x) return &all->copy[i];
    return NULL;
}

static Copy *copy_new(Backend *be)
{
    if (!be->bf16_copies) be->bf16_copies = calloc(1, sizeof *be->bf16_copies);
    struct Bf16Copies *all = be->bf16_copies;
    mem_need(all, "a list of rounded weights");
    if (all->n == all->room) {
        all->room = all->room ? 2 * all->room : 8;
        all->copy = realloc(all->copy, (size_t)all->room * sizeof *all->copy);
        mem_need(all->copy, "a list of rounded weights");
    }
    return &all->copy[all->n++];
}

void bf16_copy_keep(Backend *be, const real *x, size_t n)
{
    if (!backend_rounds(be) || n == 0) return;
    Copy *c = copy_of(be, x);
    if (!c) {
        c = copy_new(be);
        *c = (Copy){.of = x, .n = n, .data = be->machine->alloc(be, bytes_for(n), false)};
    }
    CHECK(c->n == n, "a copy of %zu elements is kept, not of %zu", c->n, n);
    c->keepers++;
    bf16_copy_refresh(be, x, n);
}

void bf16_copy_refresh(Backend *be, const real *x, size_t n)
{
    struct Bf16Copies *all = be->bf16_copies;
    for (int i = 0; all && i < all->n; i++) {
        Copy *c = &all->copy[i];
        if (!c->data || x + n <= c->of || x >= c->of + c->n) continue;
        size_t from = x > c->of ? (size_t)(x - c->of) : 0;
        size_t to = x + n < c->of + c->n ? (size_t)(x + n - c->of) : c->n;
        be->machine->round_bf16(be, c->data + from, c->of + from, to - from, 1, 0);
    }
}

static void copy_free(Backend *be, Copy *c)
{
    be->machine->free(be, c->data, bytes_for(c->n));
}

void bf16_copy_drop(Backend *be, const real *x)
{
    Copy *c = copy_of(be, x);
    if (!c || --c->keepers > 0) return;
    copy_free(be, c);
    *c = be->bf16_copies->copy[--be->bf16_copies->n];
}

void bf16_copies_free(Backend *be)
{
    struct Bf16Copies *all = be->bf16_copies;
    for (int i = 0; all && i < all->n; i++) copy_free(be, &all->copy[i]);
    if (all) free(all->copy);
    free(all);
}

const uint16_t *bf16_copy_find(const Backend *be, const real *x, size_t n)
{
    const struct Bf16Copies *all = be->bf16_copies;
    for (int i = 0; all && i < all->n; i++) {
        const Copy *c = &all->copy[i];
        if (x >= c->of && x + n <= c->of + c->n) return c->data + (x - c->of);
    }
    return NULL;
}
