/* Decoded pieces of a dataset ("units", all of one size), kept up to a bound. Threads may share
 * one; a unit that two want is decoded once. */
#ifndef TTT_DATA_UNIT_CACHE_H
#define TTT_DATA_UNIT_CACHE_H

#include <stdint.h>

#include "base/err.h"

typedef struct UnitCache UnitCache;

/* A unit, held until it is put back. */
typedef struct Unit {
    const unsigned char *bytes;
    int64_t slot;
} Unit;

/* Fills out with the unit of that key; runs outside the cache's lock. Returns 1 for a unit that
 * cannot be kept. */
typedef int (*UnitFill)(void *context, int64_t key, unsigned char *out, Err *err);

/* Room for at most max_units of unit_bytes each. Memory is taken as units come. */
int unit_cache_open(UnitCache **out, int64_t unit_bytes, int64_t max_units, Err *err);
void unit_cache_close(UnitCache *cache); /* NULL is fine */

/* Keys that follow on each other fill the cache evenly. A thread holds one unit at a time. Returns
 * what `fill` did if not 0: then there is no unit to put back. */
int unit_cache_get(UnitCache *cache, int64_t key, UnitFill fill, void *context, Unit *out,
                   Err *err);
void unit_cache_put(UnitCache *cache, Unit *unit);

#endif
