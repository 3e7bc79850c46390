/* CRC-32C by ISA-L. */
#include "base/crc32c.h"

#include <isa-l/crc.h> // defines: crc32_iscsi

uint32_t crc32c(const void *data, int64_t n)
{
    const unsigned char *at = data;
    uint32_t crc = ~(uint32_t)0;
    for (; n > 0; n -= 1 << 30, at += 1 << 30) /* the library counts in int */
        crc = crc32_iscsi((unsigned char *)(uintptr_t)at, n < 1 << 30 ? (int)n : 1 << 30, crc);
    return ~crc;
}
