/* Generated text on its way out: stop strings and whole UTF-8 characters. */
#include "cli/text_out.h"

#include <string.h>

#include "base/utf8.h"

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
    size_t keep = stop_begun(out),
           character = utf8_unfinished((const unsigned char *)out->hold, out->held);
    if (character > keep) keep = character;
    let_go(out, out->held - keep);
    return false;
}

void text_out_end(TextOut *out)
{
    let_go(out, out->held);
}
