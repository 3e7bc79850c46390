/* Escapes and folded lines of quoted texts. A line end is a blank, n of them are n - 1 line ends;
 * blanks around them do not count. */
#include "hydra/quoted.h"

#include <ctype.h>
#include <stdint.h>
#include <string.h>

#include "base/utf8.h"

typedef struct Reader {
    const char *s, *end;
    char *out;
    size_t used, kept; /* kept: bytes that a fold must not take away as trailing blanks */
    const char *why;
} Reader;

static void put(Reader *r, char c)
{
    r->out[r->used++] = c;
}

static void put_code(Reader *r, uint32_t code)
{
    r->used += (size_t)utf8_write((unsigned char *)r->out + r->used, code);
}

static bool is_break(const Reader *r)
{
    return r->s < r->end && (*r->s == '\n' || *r->s == '\r');
}

static void skip_break(Reader *r)
{
    r->s += *r->s == '\r' && r->s + 1 < r->end && r->s[1] == '\n' ? 2 : 1;
}

static void skip_blanks(Reader *r)
{
    while (r->s < r->end && (*r->s == ' ' || *r->s == '\t')) r->s++;
}

/* Breaks after the first one, each a line end. */
static int more_breaks(Reader *r)
{
    int n = 0;
    for (skip_blanks(r); is_break(r); skip_blanks(r)) {
        skip_break(r);
        n++;
    }
    return n;
}

static void fold(Reader *r)
{
    while (r->used > r->kept && (r->out[r->used - 1] == ' ' || r->out[r->used - 1] == '\t'))
        r->used--;
    skip_break(r);
    int n = more_breaks(r);
    for (int i = 0; i < n; i++) put(r, '\n');
    if (n == 0) put(r, ' ');
    r->kept = r->used;
}

static bool read_hex(Reader *r, int digits, uint32_t *code)
{
    *code = 0;
    for (int i = 0; i < digits; i++, r->s++) {
        if (r->s >= r->end || !isxdigit((unsigned char)*r->s)) return false;
        *code = *code * 16 +
                (uint32_t)(isdigit((unsigned char)*r->s) ? *r->s - '0' : (*r->s | 32) - 'a' + 10);
    }
    return true;
}

/* \x, \u and \U; two \u of a pair, as JSON writes them, are one character. */
static void read_code(Reader *r, char kind)
{
    uint32_t code, low;
    bool good = read_hex(r, kind == 'x' ? 2 : kind == 'u' ? 4 : 8, &code);
    if (good && code >= 0xD800 && code < 0xDC00 && r->end - r->s > 2 && r->s[0] == '\\' &&
        r->s[1] == 'u') {
        r->s += 2;
        good = read_hex(r, 4, &low) && low >= 0xDC00 && low < 0xE000;
        if (good) code = 0x10000 + ((code - 0xD800) << 10) + (low - 0xDC00);
    }
    if (!good || code > 0x10FFFF || (code >= 0xD800 && code < 0xE000)) {
        r->why = "an escape that is no character";
    } else if (code == 0) {
        r->why = "a NUL character in a value";
    } else {
        put_code(r, code);
    }
}

/* After the backslash. */
static void read_escape(Reader *r)
{
    static const char names[] = "abtnvfre \"/\\", codes[] = "\a\b\t\n\v\f\r\x1B \"/\\";
    if (is_break(r)) {
        skip_break(r);
        int n = more_breaks(r);
        for (int i = 0; i < n; i++) put(r, '\n');
        r->kept = r->used;
        return;
    }
    char c = r->s < r->end ? *r->s++ : 0;
    const char *at = c ? strchr(names, c) : NULL;
    if (at)
        put(r, codes[at - names]);
    else if (c == '\t')
        put(r, c);
    else if (c == 'x' || c == 'u' || c == 'U')
        read_code(r, c);
    else if (c == 'N' || c == '_')
        put_code(r, c == 'N' ? 0x85 : 0xA0);
    else if (c == 'L' || c == 'P')
        put_code(r, c == 'L' ? 0x2028 : 0x2029);
    else
        r->why = c == '0' ? "a NUL character in a value" : "an escape that YAML does not have";
    r->kept = r->used;
}

const char *hy_quoted(HyArena *a, const char *source, size_t size, const char **why)
{
    *why = NULL;
    if (size < 2 || (*source != '\'' && *source != '"') || source[size - 1] != *source) {
        *why = "a quoted text without its end";
        return NULL;
    }
    char quote = *source,
         *room = hy_alloc(a, size + size / 2 + 1); /* "\L": 2 bytes to 3, the most */
    Reader r = {source + 1, source + size - 1, room, 0, 0, NULL};
    while (r.s < r.end && !r.why) {
        if (is_break(&r)) {
            fold(&r);
        } else if (*r.s == '\\' && quote == '"') {
            r.s++;
            read_escape(&r);
        } else {
            char c = *r.s++;
            if (c == '\'' && quote == '\'' && r.s < r.end && *r.s == '\'') r.s++;
            put(&r, c);
        }
    }
    *why = r.why;
    return r.why ? NULL : r.out;
}
