/* CRC-32C (Castagnoli), as zarr chunks and TensorBoard's events have it. */
#ifndef TTT_BASE_CRC32C_H
#define TTT_BASE_CRC32C_H

#include <stdint.h>

uint32_t crc32c(const void *data, int64_t n);

#endif
