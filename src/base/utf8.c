/* UTF-8 by its table of well-formed byte sequences (Unicode, table 3-7). */
#include "base/utf8.h"

#include <string.h>

#include "base/mem.h"

/* The second byte is what decides about overlong forms, surrogates and the upper end. */
static int lead_length(unsigned char lead, unsigned char *low, unsigned char *high)
{
    *low = lead == 0xe0 ? 0xa0 : lead == 0xf0 ? 0x90 : 0x80;
    *high = lead == 0xed ? 0x9f : lead == 0xf4 ? 0x8f : 0xbf;
    if (lead < 0x80) return 1;
    if (lead < 0xc2 || lead > 0xf4) return 0;
    return lead < 0xe0 ? 2 : lead < 0xf0 ? 3 : 4;
}

int utf8_read(const unsigned char *p, size_t n, uint32_t *code)
{
    unsigned char low, high;
    int length = lead_length(p[0], &low, &high);
    if (length <= 1) {
        *code = p[0];
        return length;
    }
    uint32_t c = p[0] & (0xffu >> (length + 1));
    for (int i = 1; i < length; i++) {
        if ((size_t)i >= n) return -1;
        if (p[i] < low || p[i] > high) return 0;
        c = c << 6 | (p[i] & 0x3fu);
        low = 0x80;
        high = 0xbf;
    }
    *code = c;
    return length;
}

bool utf8_is(const char *text, size_t n)
{
    uint32_t code;
    for (size_t i = 0; i < n;) {
        int length = utf8_read((const unsigned char *)text + i, n - i, &code);
        if (length <= 0) return false;
        i += (size_t)length;
    }
    return true;
}

int utf8_write(unsigned char out[UTF8_MAX], uint32_t code)
{
    if (code < 0x80) {
        out[0] = (unsigned char)code;
        return 1;
    }
    int length = code < 0x800 ? 2 : code < 0x10000 ? 3 : 4;
    for (int i = length - 1; i > 0; i--, code >>= 6) out[i] = (unsigned char)(0x80 | (code & 0x3f));
    out[0] = (unsigned char)(code | (0xf00u >> length));
    return length;
}

size_t utf8_unfinished(const unsigned char *p, size_t n)
{
    uint32_t code;
    for (size_t back = 1; back < UTF8_MAX && back <= n; back++) {
        if ((p[n - back] & 0xc0) == 0x80) continue;
        return utf8_read(p + n - back, back, &code) < 0 ? back : 0;
    }
    return 0;
}

char *utf8_repair(const char *bytes, size_t n, size_t *size)
{
    char *out = mem_alloc(3 * n + 1);
    uint32_t code;
    *size = 0;
    for (size_t i = 0; i < n;) {
        int length = utf8_read((const unsigned char *)bytes + i, n - i, &code);
        const char *from = length > 0 ? bytes + i : "\xef\xbf\xbd";
        size_t copied = length > 0 ? (size_t)length : 3;
        memcpy(out + *size, from, copied);
        *size += copied;
        i += length > 0 ? (size_t)length : 1;
    }
    return out;
}
