/* CRC-32C: tells that bytes were damaged, not that they were meant. */
#ifndef TTT_BASE_CRC32C_H
#define TTT_BASE_CRC32C_H

#include <stddef.h>
#include <stdint.h>

uint32_t crc32c(const void *data, size_t n);
/* Of what had the checksum `before` (0: nothing) and n bytes more. */
uint32_t crc32c_more(uint32_t before, const void *data, size_t n);

#endif
