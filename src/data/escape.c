/* Escaping of names, and the UTF-8 check that it stands on. */
#include "data/escape.h"

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* The length of the UTF-8 character at p (1 to 4), or 0 when there is none. The terminating NUL
 * ends any sequence early, so this never reads past it. */
static int utf8_length(const unsigned char *p)
{
    static const uint32_t smallest[5] = {0, 0, 0x80, 0x800, 0x10000};
    if (p[0] < 0x80) return 1;
    int n = p[0] >= 0xf0 && p[0] < 0xf8 ? 4 : p[0] >= 0xe0 ? 3 : p[0] >= 0xc0 ? 2 : 0;
    if (n == 0 || p[0] >= 0xf8) return 0;
    uint32_t code = p[0] & (0xffu >> (n + 1));
    for (int i = 1; i < n; i++) {
        if ((p[i] & 0xc0) != 0x80) return 0;
        code = code << 6 | (p[i] & 0x3fu);
    }
    bool surrogate = code >= 0xd800 && code < 0xe000;
    return code < smallest[n] || code > 0x10ffff || surrogate ? 0 : n;
}

/* Writes one character of the input, escaped where it must be; returns the bytes written. */
static int escape_one(const unsigned char *p, int length, bool one_line, char *out)
{
    bool control = one_line && (p[0] < 0x20 || p[0] == 0x7f);
    if (control && p[0] == '\n') return sprintf(out, "\\n");
    if (control && p[0] == '\t') return sprintf(out, "\\t");
    if (one_line && p[0] == '\\') return sprintf(out, "\\\\");
    if (control || length == 0) return sprintf(out, "\\x%02x", p[0]);
    memcpy(out, p, (size_t)length);
    return length;
}

char *escape_text(const char *text, bool one_line)
{
    char *out = malloc(4 * strlen(text) + 1);
    if (out == NULL) return NULL;
    size_t used = 0;
    for (const unsigned char *p = (const unsigned char *)text; *p != 0;) {
        int length = utf8_length(p);
        used += (size_t)escape_one(p, length, one_line, out + used);
        p += length > 0 ? length : 1;
    }
    out[used] = 0;
    return out;
}
