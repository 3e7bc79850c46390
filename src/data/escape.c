/* Escaping of names. */
#include "data/escape.h"

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/utf8.h"

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
    uint32_t code;
    const unsigned char *p = (const unsigned char *)text, *end = p + strlen(text);
    while (p < end) {
        int length = utf8_read(p, (size_t)(end - p), &code);
        if (length < 0) length = 0; /* cut off */
        used += (size_t)escape_one(p, length, one_line, out + used);
        p += length > 0 ? length : 1;
    }
    out[used] = 0;
    return out;
}
