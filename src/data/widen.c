/* One loop for every integer type: called with constants, so that each becomes a loop of its own
 * that the compiler turns into vector instructions. */
#include "data/widen.h"

#include <string.h>

static inline __attribute__((always_inline)) uint64_t load(const unsigned char *p, int size,
                                                           bool is_signed, bool big_endian)
{
    uint8_t one;
    uint16_t two;
    uint32_t four;
    uint64_t eight;
    /* memcpy of a constant size is one load; bytes are turned where file and machine differ. */
    bool turn = big_endian != (__BYTE_ORDER__ == __ORDER_BIG_ENDIAN__);
    switch (size) {
    case 1:
        memcpy(&one, p, 1);
        return is_signed ? (uint64_t)(int64_t)(int8_t)one : one;
    case 2:
        memcpy(&two, p, 2);
        if (turn) two = __builtin_bswap16(two);
        return is_signed ? (uint64_t)(int64_t)(int16_t)two : two;
    case 4:
        memcpy(&four, p, 4);
        if (turn) four = __builtin_bswap32(four);
        return is_signed ? (uint64_t)(int64_t)(int32_t)four : four;
    default:
        memcpy(&eight, p, 8);
        return turn ? __builtin_bswap64(eight) : eight;
    }
}

/* Negative numbers are above every limit once they are unsigned. Blocks keep the loop free of
 * exits. */
static inline __attribute__((always_inline)) int64_t widen_as(const unsigned char *src, int64_t n,
                                                              int32_t limit, int32_t *restrict out,
                                                              int size, bool is_signed,
                                                              bool big_endian)
{
    enum { BLOCK = 1024 };
    for (int64_t at = 0; at < n; at += BLOCK) {
        int64_t end = n - at < BLOCK ? n : at + BLOCK;
        uint32_t bad = 0;
        for (int64_t i = at; i < end; i++) {
            uint64_t value = load(src + i * size, size, is_signed, big_endian);
            if (size == 8)
                bad |= value >= (uint64_t)limit;
            else
                bad |= (uint32_t)value >= (uint32_t)limit;
            out[i] = (int32_t)(uint32_t)value;
        }
        if (!bad) continue;
        while (load(src + at * size, size, is_signed, big_endian) < (uint64_t)limit) at++;
        return at;
    }
    return -1;
}

static inline __attribute__((always_inline)) int64_t widen_sized(IntType t,
                                                                 const unsigned char *src,
                                                                 int64_t n, int32_t limit,
                                                                 int32_t *restrict out, int size)
{
    if (t.is_signed && t.big_endian) return widen_as(src, n, limit, out, size, true, true);
    if (t.is_signed) return widen_as(src, n, limit, out, size, true, false);
    if (t.big_endian) return widen_as(src, n, limit, out, size, false, true);
    return widen_as(src, n, limit, out, size, false, false);
}

int64_t widen(IntType type, const unsigned char *src, int64_t n, int32_t limit, int32_t *out)
{
    switch (type.size) {
    case 1:
        return widen_sized(type, src, n, limit, out, 1);
    case 2:
        return widen_sized(type, src, n, limit, out, 2);
    case 4:
        return widen_sized(type, src, n, limit, out, 4);
    default:
        return widen_sized(type, src, n, limit, out, 8);
    }
}

int64_t int_load(IntType type, const unsigned char *p)
{
    return (int64_t)load(p, type.size, type.is_signed, type.big_endian);
}

void int_store(IntType type, int64_t value, unsigned char *p)
{
    for (int i = 0; i < type.size; i++) {
        int shift = 8 * (type.big_endian ? type.size - 1 - i : i);
        p[i] = (unsigned char)((uint64_t)value >> shift);
    }
}
