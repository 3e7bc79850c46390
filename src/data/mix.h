/* A 64-bit mixing function: a bijection in which every input bit reaches every output bit. Unlike
 * a generator it has no state, so what is drawn at a position needs only the position. */
#ifndef TTT_DATA_MIX_H
#define TTT_DATA_MIX_H

#include <stdint.h>

static inline uint64_t mix64(uint64_t x)
{
    x += 0x9e3779b97f4a7c15u; /* splitmix64: its increment, then its finalizer */
    x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9u;
    x = (x ^ (x >> 27)) * 0x94d049bb133111ebu;
    return x ^ (x >> 31);
}

#endif
