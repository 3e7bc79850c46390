/* Every loop runs over ids that follow on each other and has no exit, so that the compiler makes
 * vectors of it; most are compiled a second time, for AVX2. 16 bits are stored in the machine's own
 * order of bytes: nothing packed leaves the process. */
#include "data/packed.h"

#include <string.h>

#include "data/widen.h"

enum { LOW_BITS = 16, MOST_HIGH = 8, ALIGN = 64, PIECE = 1024 };

int packing_high(int32_t limit, int size)
{
    int high = 0;
    while (high <= MOST_HIGH && (int64_t)limit > (int64_t)1 << (LOW_BITS + high))
        high = high == 0 ? 1 : 2 * high;
    return high > MOST_HIGH || LOW_BITS + high >= 8 * size ? NOT_PACKED : high;
}

/* Bytes of high bits. */
static int64_t high_bytes(Packing p)
{
    return p.high == 0 ? 0 : (p.n + 8 / p.high - 1) / (8 / p.high);
}

/* Ids whose high bits have the same place in their bytes. */
static int64_t run_length(Packing p)
{
    return p.high == 0 ? p.n : high_bytes(p);
}

int64_t packing_bytes(Packing p)
{
    return (2 * p.n + high_bytes(p) + ALIGN - 1) / ALIGN * ALIGN;
}

static int64_t min64(int64_t a, int64_t b)
{
    return a < b ? a : b;
}

/* --- loops ------------------------------------------------------------------------------------ */

typedef struct Loops {
    /* Joins the planes src (4, n) to n ids of 16 bits at low, if no other bits are set than those
     * of mask in the third plane. */
    bool (*low_planes)(const unsigned char *src, int64_t n, int mask, unsigned char *low);
    /* Splits n int32 at src into 16 bits and 8 more, if those above the lowest `bits` are 0. */
    bool (*split)(const unsigned char *src, int64_t n, int bits, unsigned char *low,
                  unsigned char *high);
    /* The next two store n ids and return whether all are below limit. */
    bool (*ids)(const unsigned char *low, const unsigned char *high, int shift, int mask, int64_t n,
                int32_t limit, int32_t *out);
    bool (*planes)(const unsigned char *src, int64_t stride, int64_t n, int32_t limit,
                   int32_t *out);
} Loops;

static inline __attribute__((always_inline)) bool
low_planes(const unsigned char *restrict src, int64_t n, int mask, unsigned char *restrict low)
{
    const unsigned char *p1 = src + n, *p2 = p1 + n, *p3 = p2 + n;
    unsigned char beyond = 0, others = (unsigned char)~mask;
    for (int64_t i = 0; i < n; i++) beyond |= (unsigned char)(p3[i] | (p2[i] & others));
    for (int64_t i = 0; i < n; i++) {
        uint16_t two = (uint16_t)(src[i] | p1[i] << 8);
        memcpy(low + 2 * i, &two, 2);
    }
    return beyond == 0;
}

static inline __attribute__((always_inline)) bool split(const unsigned char *restrict src,
                                                        int64_t n, int bits,
                                                        unsigned char *restrict low,
                                                        unsigned char *restrict high)
{
    uint32_t beyond = 0;
    for (int64_t i = 0; i < n; i++) {
        uint32_t id;
        memcpy(&id, src + 4 * i, 4);
        uint16_t two = (uint16_t)id;
        memcpy(low + 2 * i, &two, 2);
        high[i] = (unsigned char)(id >> LOW_BITS);
        beyond |= id;
    }
    return beyond >> bits == 0;
}

static inline __attribute__((always_inline)) bool join_ids(const unsigned char *restrict low,
                                                           const unsigned char *restrict high,
                                                           int shift, int mask, int64_t n,
                                                           int32_t limit, int32_t *restrict out)
{
    int32_t bad = 0;
    for (int64_t i = 0; i < n; i++) {
        uint16_t two;
        memcpy(&two, low + 2 * i, 2);
        int32_t id = two | (high[i] >> shift & mask) << LOW_BITS;
        bad |= id >= limit;
        out[i] = id;
    }
    return bad == 0;
}

static inline __attribute__((always_inline)) bool join_planes(const unsigned char *restrict src,
                                                              int64_t stride, int64_t n,
                                                              int32_t limit, int32_t *restrict out)
{
    const unsigned char *p1 = src + stride, *p2 = p1 + stride, *p3 = p2 + stride;
    uint32_t bad = 0;
    for (int64_t i = 0; i < n; i++) {
        uint32_t id = (uint32_t)(src[i] | p1[i] << 8 | p2[i] << 16) | (uint32_t)p3[i] << 24;
        bad |= id >= (uint32_t)limit;
        out[i] = (int32_t)id;
    }
    return bad == 0;
}

static bool low_planes_any(const unsigned char *src, int64_t n, int mask, unsigned char *low)
{
    return low_planes(src, n, mask, low);
}

static bool split_any(const unsigned char *src, int64_t n, int bits, unsigned char *low,
                      unsigned char *high)
{
    return split(src, n, bits, low, high);
}

static bool ids_any(const unsigned char *low, const unsigned char *high, int shift, int mask,
                    int64_t n, int32_t limit, int32_t *out)
{
    return join_ids(low, high, shift, mask, n, limit, out);
}

static bool planes_any(const unsigned char *src, int64_t stride, int64_t n, int32_t limit,
                       int32_t *out)
{
    return join_planes(src, stride, n, limit, out);
}

#ifdef __x86_64__
__attribute__((target("avx2"))) static bool low_planes_avx2(const unsigned char *src, int64_t n,
                                                            int mask, unsigned char *low)
{
    return low_planes(src, n, mask, low);
}

__attribute__((target("avx2"))) static bool
split_avx2(const unsigned char *src, int64_t n, int bits, unsigned char *low, unsigned char *high)
{
    return split(src, n, bits, low, high);
}

__attribute__((target("avx2"))) static bool ids_avx2(const unsigned char *low,
                                                     const unsigned char *high, int shift, int mask,
                                                     int64_t n, int32_t limit, int32_t *out)
{
    return join_ids(low, high, shift, mask, n, limit, out);
}

__attribute__((target("avx2"))) static bool planes_avx2(const unsigned char *src, int64_t stride,
                                                        int64_t n, int32_t limit, int32_t *out)
{
    return join_planes(src, stride, n, limit, out);
}
#endif

static Loops loops(void)
{
#ifdef __x86_64__
    if (__builtin_cpu_supports("avx2"))
        return (Loops){low_planes_avx2, split_avx2, ids_avx2, planes_avx2};
#endif
    return (Loops){low_planes_any, split_any, ids_any, planes_any};
}

/* --- packing ---------------------------------------------------------------------------------- */

/* Adds bytes, shifted, to those of high: eight at a time, for none is as large after the shift as
 * to reach into the next one. */
static void add_bits(const unsigned char *restrict src, int64_t n, int shift,
                     unsigned char *restrict high)
{
    int64_t i = 0;
    for (; i + 8 <= n; i += 8) {
        uint64_t to, from;
        memcpy(&to, high + i, 8);
        memcpy(&from, src + i, 8);
        to |= from << shift;
        memcpy(high + i, &to, 8);
    }
    for (; i < n; i++) high[i] = (unsigned char)(high[i] | src[i] << shift);
}

static bool is_int32(IntType type)
{
    return type.size == 4 && type.big_endian == (__BYTE_ORDER__ == __ORDER_BIG_ENDIAN__);
}

bool pack_ints(Packing p, IntType type, const unsigned char *src, unsigned char *out)
{
    int32_t ids[PIECE];
    unsigned char more[PIECE], *high = out + 2 * p.n;
    Loops l = loops();
    int64_t run = run_length(p), step;
    memset(high, 0, (size_t)high_bytes(p));
    for (int64_t i = 0; i < p.n; i += step) {
        const unsigned char *from = src + i * type.size;
        step = min64(min64(PIECE, p.n - i), run - i % run);
        if (!is_int32(type)) {
            if (widen(type, from, step, INT32_MAX, ids) >= 0) return false;
            from = (const unsigned char *)ids;
        }
        if (!l.split(from, step, LOW_BITS + p.high, out + 2 * i, more)) return false;
        if (p.high > 0) add_bits(more, step, (int)(i / run) * p.high, high + i % run);
    }
    return true;
}

bool pack_planes(Packing p, const unsigned char *src, unsigned char *out)
{
    if (!loops().low_planes(src, p.n, (1 << p.high) - 1, out)) return false;
    const unsigned char *third = src + 2 * p.n;
    unsigned char *high = out + 2 * p.n;
    int64_t run = run_length(p);
    memcpy(high, third, (size_t)high_bytes(p));
    for (int64_t i = run; i < p.n; i += run)
        add_bits(third + i, min64(run, p.n - i), (int)(i / run) * p.high, high);
    return true;
}

/* --- unpacking -------------------------------------------------------------------------------- */

static int64_t first_bad(const int32_t *ids, int32_t limit)
{
    int64_t i = 0;
    while ((uint32_t)ids[i] < (uint32_t)limit) i++;
    return i;
}

int64_t unpack(Packing p, const unsigned char *packed, int64_t from, int64_t count, int32_t limit,
               int32_t *out)
{
    Loops l = loops();
    /* Without high bits any bytes do for them: the mask is empty. */
    const unsigned char *high = p.high == 0 ? packed : packed + 2 * p.n;
    int64_t run = run_length(p), step;
    for (int64_t i = from; i < from + count; i += step) {
        int32_t *to = out + (i - from);
        step = min64(from + count - i, run - i % run);
        if (!l.ids(packed + 2 * i, high + i % run, (int)(i / run) * p.high, (1 << p.high) - 1, step,
                   limit, to))
            return i - from + first_bad(to, limit);
    }
    return -1;
}

int64_t unpack_planes(int64_t n, const unsigned char *src, int64_t from, int64_t count,
                      int32_t limit, int32_t *out)
{
    return loops().planes(src + from, n, count, limit, out) ? -1 : first_bad(out, limit);
}
