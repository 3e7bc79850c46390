/* By ISA-L, some gigabytes a second. */
#include "base/crc32c.h"

#include <isa-l/crc.h> // defines: crc32_iscsi

uint32_t crc32c_more(uint32_t before, const void *data, size_t n)
{
    enum { MOST = 1 << 30 }; /* the library counts in int */
    const unsigned char *at = data;
    uint32_t crc = ~before;
    while (n > 0) {
        size_t part = n < MOST ? n : MOST;
        crc = crc32_iscsi((unsigned char *)(uintptr_t)at, (int)part, crc);
        at += part;
        n -= part;
    }
    return ~crc;
}

uint32_t crc32c(const void *data, size_t n)
{
    return crc32c_more(0, data, n);
}
