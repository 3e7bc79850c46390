/* Generated text on its way out: stop strings and whole UTF-8 characters. */
#include "cli/text_out.h"

#include <string.h>

#include "base/mem.h"

void text_out_init(TextOut *out, FILE *to, const TextList *stops)
{
    memset(out, 0, sizeof *out);
    out->to = to;
    out->stops = stops;
}

/* Writes the first n held bytes. */
static void let_go(TextOut *out, size_t n)
{
    if (n == 0) return;
    fwrite(out->hold, 1, n, out->to);
    fflush(out->to);
    out->written += n;
    out->held -= n;
    memmove(out->hold, out->hold + n, out->held);
}

/* Where the earliest complete stop string begins, or `held`. */
static size_t stop_find(const TextOut *out)
{
    size_t first = out->held;
    for (int i = 0; i < out->stops->n; i++) {
        const char *stop = out->stops->item[i];
        const char *at = memmem(out->hold, out->held, stop, strlen(stop));
        if (at && (size_t)(at - out->hold) < first) first = (size_t)(at - out->hold);
    }
    return first;
}

/* How many of the last held bytes are the beginning of a stop string. */
static size_t stop_begun(const TextOut *out)
{
    size_t longest = 0;
    for (int i = 0; i < out->stops->n; i++) {
        const char *stop = out->stops->item[i];
        size_t n = strlen(stop) - 1;
        if (n > out->held) n = out->held;
        while (n > longest && memcmp(out->hold + out->held - n, stop, n) != 0) n--;
        if (n > longest) longest = n;
    }
    return longest;
}

static size_t lead_length(unsigned char c)
{
    return c >= 0xf0 ? 4 : c >= 0xe0 ? 3 : c >= 0xc0 ? 2 : 1;
}

/* How many of the last held bytes are the beginning of a character. */
static size_t character_begun(const TextOut *out)
{
    for (size_t back = 1; back <= 3 && back <= out->held; back++) {
        unsigned char c = (unsigned char)out->hold[out->held - back];
        if ((c & 0xc0) != 0x80) return lead_length(c) > back ? back : 0;
    }
    return 0;
}

bool text_out_push(TextOut *out, const char *bytes, size_t n)
{
    CHECK(n <= sizeof out->hold - out->held, "%zu bytes of text at once", n);
    memcpy(out->hold + out->held, bytes, n);
    out->held += n;
    size_t stop = stop_find(out);
    if (stop < out->held) {
        let_go(out, stop);
        out->held = 0;
        return true;
    }
    size_t keep = stop_begun(out), character = character_begun(out);
    if (character > keep) keep = character;
    let_go(out, out->held - keep);
    return false;
}

void text_out_end(TextOut *out)
{
    let_go(out, out->held);
}

/* Length of the UTF-8 character at p (n bytes left), 0 when there is none. */
static size_t character_length(const unsigned char *p, size_t n)
{
    size_t length = lead_length(p[0]);
    if (length == 1) return p[0] < 0x80;
    if (length > n) return 0;
    unsigned code = p[0] & (0xffu >> (length + 1));
    for (size_t i = 1; i < length; i++) {
        if ((p[i] & 0xc0) != 0x80) return 0;
        code = code << 6 | (p[i] & 0x3fu);
    }
    static const unsigned smallest[] = {0, 0, 0x80, 0x800, 0x10000};
    bool surrogate = code >= 0xd800 && code < 0xe000;
    return code < smallest[length] || code > 0x10ffff || surrogate || p[0] > 0xf7 ? 0 : length;
}

char *utf8_repair(const char *bytes, size_t n, size_t *size)
{
    char *out = mem_alloc(3 * n + 1);
    *size = 0;
    for (size_t i = 0; i < n;) {
        size_t length = character_length((const unsigned char *)bytes + i, n - i);
        const char *from = length ? bytes + i : "\xef\xbf\xbd";
        size_t copied = length ? length : 3;
        memcpy(out + *size, from, copied);
        *size += copied;
        i += length ? length : 1;
    }
    return out;
}
