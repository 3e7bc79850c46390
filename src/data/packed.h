/* Token ids in little memory: the lower 16 bits of each, and as many bits more as the vocabulary
 * needs. What a cache holds of them, and what is read from it, is half of what int32 takes. */
#ifndef TTT_DATA_PACKED_H
#define TTT_DATA_PACKED_H

#include "data/zarr_meta.h"

/* How n ids are packed: n times 16 bits, then `high` bits (0, 1, 2, 4, 8) of each. Id i has its
 * high bits in byte i mod m of the m bytes, so that ids side by side are handled side by side. */
typedef struct Packing {
    int64_t n;
    int high;
} Packing;

enum { NOT_PACKED = -1 };

/* The high bits of ids below `limit`; NOT_PACKED when integers of `size` bytes take no more. */
int packing_high(int32_t limit, int size);
/* A multiple of 64. */
int64_t packing_bytes(Packing p);

/* Both return false when one of the n integers does not fit; out is undefined then. */
bool pack_ints(Packing p, IntType type, const unsigned char *src, unsigned char *out);
/* src: (4, n) bytes, the lowest of every integer first. */
bool pack_planes(Packing p, const unsigned char *src, unsigned char *out);

/* Ids [from, from + count). Returns the first whose value is not below limit, counted from `from`,
 * or -1 when all are. */
int64_t unpack(Packing p, const unsigned char *packed, int64_t from, int64_t count, int32_t limit,
               int32_t *out);
/* The same from what pack_planes is given; all ids are stored, whatever is returned. */
int64_t unpack_planes(int64_t n, const unsigned char *src, int64_t from, int64_t count,
                      int32_t limit, int32_t *out);

#endif
