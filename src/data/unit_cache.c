/* A set-associative cache: key k lives in set k mod n_sets, in the place of the unit that was not
 * used for longest. One lock guards the table, none the decoding. */
#include "data/unit_cache.h"

#include <pthread.h>
#include <stdlib.h>
#include <sys/mman.h>

enum { MAX_WAYS = 8 };

typedef enum SlotState { SLOT_EMPTY, SLOT_FILLING, SLOT_READY } SlotState;

typedef struct Slot {
    int64_t key;
    uint64_t last; /* the turn of its last use */
    int holders;
    SlotState state;
} Slot;

struct UnitCache {
    pthread_mutex_t lock;
    pthread_cond_t changed;
    int64_t n_sets, ways, unit_bytes;
    uint64_t turn;
    Slot *slots; /* (n_sets, ways) */
    /* (ways, n_sets, unit_bytes): while the cache fills, memory is touched from its start on. */
    unsigned char *arena;
    size_t arena_size;
};

int unit_cache_open(UnitCache **out, int64_t unit_bytes, int64_t max_units, Err *err)
{
    UnitCache *c = *out = calloc(1, sizeof *c);
    if (c == NULL) return err_set(err, "no memory for a cache of chunks");
    pthread_mutex_init(&c->lock, NULL);
    pthread_cond_init(&c->changed, NULL);
    c->unit_bytes = unit_bytes;
    c->ways = max_units < 1 ? 1 : max_units < MAX_WAYS ? max_units : MAX_WAYS;
    c->n_sets = max_units / c->ways < 1 ? 1 : max_units / c->ways;
    c->arena_size = (size_t)(c->n_sets * c->ways) * (size_t)unit_bytes;
    c->slots = calloc((size_t)(c->n_sets * c->ways), sizeof *c->slots);
    if (c->slots == NULL) return err_set(err, "no memory for a cache of chunks");
    void *arena = mmap(NULL, c->arena_size, PROT_READ | PROT_WRITE,
                       MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (arena == MAP_FAILED)
        return err_set(err,
                       "no memory for chunks of %lld bytes: rewrite the dataset with smaller "
                       "ones (ttt data repack)",
                       (long long)unit_bytes);
    madvise(arena, c->arena_size, MADV_HUGEPAGE); /* fewer page faults; refused, it still works */
    c->arena = arena;
    return 0;
}

void unit_cache_close(UnitCache *c)
{
    if (c == NULL) return;
    if (c->arena != NULL) munmap(c->arena, c->arena_size);
    free(c->slots);
    pthread_cond_destroy(&c->changed);
    pthread_mutex_destroy(&c->lock);
    free(c);
}

static unsigned char *slot_bytes(const UnitCache *c, const Slot *slot)
{
    int64_t i = slot - c->slots, place = i % c->ways * c->n_sets + i / c->ways;
    return c->arena + place * c->unit_bytes;
}

/* The key's slot, or else the one to give up for it; NULL when all are held. */
static Slot *slot_choose(UnitCache *c, int64_t key)
{
    Slot *set = c->slots + key % c->n_sets * c->ways, *oldest = NULL;
    for (int i = 0; i < c->ways; i++)
        if (set[i].state != SLOT_EMPTY && set[i].key == key) return &set[i];
    for (int i = 0; i < c->ways; i++) {
        if (set[i].state == SLOT_EMPTY) return &set[i];
        if (set[i].holders == 0 && (oldest == NULL || set[i].last < oldest->last)) oldest = &set[i];
    }
    return oldest;
}

/* Called with the lock, which it lets go while filling. */
static int slot_fill(UnitCache *c, Slot *slot, int64_t key, UnitFill fill, void *context, Err *err)
{
    *slot = (Slot){.key = key, .state = SLOT_FILLING, .holders = 1};
    pthread_mutex_unlock(&c->lock);
    int status = fill(context, key, slot_bytes(c, slot), err);
    pthread_mutex_lock(&c->lock);
    slot->state = status == 0 ? SLOT_READY : SLOT_EMPTY;
    slot->holders--;
    pthread_cond_broadcast(&c->changed);
    return status;
}

int unit_cache_get(UnitCache *c, int64_t key, UnitFill fill, void *context, Unit *out, Err *err)
{
    int status = 0;
    pthread_mutex_lock(&c->lock);
    Slot *slot = slot_choose(c, key);
    while (status == 0 && (slot == NULL || slot->state != SLOT_READY || slot->key != key)) {
        if (slot == NULL || slot->state == SLOT_FILLING)
            pthread_cond_wait(&c->changed, &c->lock);
        else
            status = slot_fill(c, slot, key, fill, context, err);
        slot = slot_choose(c, key);
    }
    if (status == 0) {
        slot->holders++;
        slot->last = ++c->turn;
        *out = (Unit){slot_bytes(c, slot), slot - c->slots};
    }
    pthread_mutex_unlock(&c->lock);
    return status;
}

void unit_cache_put(UnitCache *c, Unit *unit)
{
    pthread_mutex_lock(&c->lock);
    if (--c->slots[unit->slot].holders == 0) pthread_cond_broadcast(&c->changed);
    pthread_mutex_unlock(&c->lock);
}
