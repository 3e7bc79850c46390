/* Styles of texts. What decides is whether a plain text would be read back as the same text. */
#include "hydra/emit_text.h"

#include <string.h>

#include "base/utf8.h"
#include "hydra/scalar.h"

enum { WIDTH = 80, KEY_MAX = 128, TAG_SIZE = 5 /* PyYAML counts "!!str" too */ };

typedef struct Traits {
    bool plain, single;
} Traits;

/* The character at s; what is no UTF-8 goes byte for byte. */
static unsigned code_at(const char *s, size_t *size)
{
    uint32_t code;
    int length = *s ? utf8_read((const unsigned char *)s, strnlen(s, UTF8_MAX), &code) : 0;
    *size = length > 0 ? (size_t)length : 1;
    return length > 0 ? code : (unsigned char)*s;
}

void paper_put(Paper *p, const char *text, size_t size)
{
    fwrite(text, 1, size, p->out);
    for (size_t i = 0; i < size; i++) {
        if (text[i] == '\n')
            p->column = 0;
        else if ((text[i] & 0xC0) != 0x80)
            p->column++;
    }
}

static void put(Paper *p, const char *text)
{
    paper_put(p, text, strlen(text));
}

static void new_line(Paper *p, int indent)
{
    put(p, "\n");
    for (int i = 0; i < indent; i++) put(p, " ");
}

static bool is_break(unsigned c)
{
    return c == '\n' || c == 0x85 || c == 0x2028 || c == 0x2029;
}

static bool is_blank(unsigned c)
{
    return c == 0 || c == ' ' || c == '\t' || c == '\r' || is_break(c);
}

static bool is_printable(unsigned c)
{
    return c == '\n' || (c >= ' ' && c <= '~') || c == 0x85 || (c >= 0xA0 && c <= 0xD7FF) ||
           (c >= 0xE000 && c <= 0xFFFD && c != 0xFEFF) || (c >= 0x10000 && c <= 0x10FFFF);
}

/* Whether a character there would be YAML's own. */
static bool is_indicator(unsigned c, bool first, bool blank_before, bool blank_after)
{
    if (c == '#') return first || blank_before;
    if (c == ':') return blank_after;
    if (!first || c >= 0x80 || c == 0) return false;
    return strchr(",[]{}&*!|>'\"%@`", (int)c) || (strchr("?-", (int)c) && blank_after);
}

static Traits traits_of(const char *text)
{
    Traits t = {true, true};
    bool before = true, last_space = false, last_break = false;
    if (!*text) return t;
    if (strncmp(text, "---", 3) == 0 || strncmp(text, "...", 3) == 0) t.plain = false;
    for (const char *s = text; *s;) {
        size_t size, ignored;
        unsigned c = code_at(s, &size);
        bool first = s == text, last = !s[size];
        bool after = last || is_blank(code_at(s + size, &ignored));
        if (is_indicator(c, first, before, after)) t.plain = false;
        if (!is_printable(c) || (is_break(c) && c != '\n')) t.plain = t.single = false;
        if ((c == ' ' || is_break(c)) && (first || last)) t.plain = false;
        if (is_break(c)) t.plain = false;
        if ((c == ' ' && last_break) || (is_break(c) && last_space)) t.plain = t.single = false;
        last_space = c == ' ';
        last_break = is_break(c);
        before = is_blank(c);
        s += size;
    }
    return t;
}

/* --- the three styles --------------------------------------------------------------------------*/

/* A single blank beyond the width becomes a line end. */
static bool folds(const Paper *p, const char *text, const char *s, bool is_key)
{
    return *s == ' ' && !is_key && p->column > WIDTH && s > text && s[-1] != ' ' && s[1] &&
           s[1] != ' ';
}

static void put_plain(Paper *p, const char *text, int indent, bool is_key)
{
    for (const char *s = text; *s; s++) {
        if (folds(p, text, s, is_key))
            new_line(p, indent);
        else
            paper_put(p, s, 1);
    }
}

static void put_single(Paper *p, const char *text, int indent, bool is_key)
{
    put(p, "'");
    for (const char *s = text; *s; s++) {
        if (folds(p, text, s, is_key)) {
            new_line(p, indent);
        } else if (*s == '\n') {
            size_t n = strspn(s, "\n");
            put(p, "\n");
            for (size_t i = 1; i < n; i++) put(p, "\n");
            new_line(p, indent);
            s += n - 1;
        } else {
            paper_put(p, s, 1);
            if (*s == '\'') put(p, "'");
        }
    }
    put(p, "'");
}

static void put_escape(Paper *p, unsigned c)
{
    static const char codes[] = "\a\b\t\n\v\f\r\x1B\"\\", names[] = "abtnvfre\"\\";
    char out[12];
    const char *at = c < 0x80 && c ? strchr(codes, (int)c) : NULL;
    if (at)
        snprintf(out, sizeof out, "\\%c", names[at - codes]);
    else if (c == 0x85 || c == 0x2028 || c == 0x2029)
        snprintf(out, sizeof out, "\\%c", c == 0x85 ? 'N' : c == 0x2028 ? 'L' : 'P');
    else
        snprintf(out, sizeof out, c < 0x100 ? "\\x%02X" : c < 0x10000 ? "\\u%04X" : "\\U%08X", c);
    put(p, out);
}

static bool stands_in_double(unsigned c)
{
    if (c == '"' || c == '\\' || c == 0xFEFF || is_break(c)) return false;
    return (c >= ' ' && c <= '~') || (c >= 0xA0 && c <= 0xD7FF) || (c >= 0xE000 && c <= 0xFFFD);
}

static int count_characters(const char *s, const char *end)
{
    int n = 0;
    for (; s < end; s++) n += (*s & 0xC0) != 0x80;
    return n;
}

/* What stands is kept back until a blank or an escape; a line that would become too long ends there
 * with a backslash, and another one saves a blank at the start of the next. */
static void put_double(Paper *p, const char *text, int indent, bool is_key)
{
    const char *start = text, *end = text;
    put(p, "\"");
    for (;;) {
        size_t size = 1;
        unsigned c = *end ? code_at(end, &size) : 0;
        bool stands = *end && stands_in_double(c);
        if (!stands) {
            paper_put(p, start, (size_t)(end - start));
            start = end;
        }
        if (!*end) break;
        if (!stands) {
            put_escape(p, c);
            start = end + size;
        }
        bool inside = end > text && end[size];
        int kept =
            stands ? count_characters(start, end) : -1; /* as PyYAML counts after an escape */
        if (inside && !is_key && (c == ' ' || start >= end) && p->column + kept > WIDTH) {
            if (start < end) {
                paper_put(p, start, (size_t)(end - start));
                start = end;
            }
            put(p, "\\");
            new_line(p, indent);
            if (*start == ' ') put(p, "\\");
        }
        end += size;
    }
    put(p, "\"");
}

bool paper_is_simple_key(const char *text)
{
    for (const char *s = text; *s;) {
        size_t size;
        if (is_break(code_at(s, &size))) return false;
        s += size;
    }
    return *text && count_characters(text, text + strlen(text)) + TAG_SIZE < KEY_MAX;
}

void paper_put_text(Paper *p, const char *text, int indent, bool is_key)
{
    Traits t = traits_of(text);
    bool line = !strchr(text, '\n');
    if (t.plain && hy_yaml_is_text(text))
        put_plain(p, text, indent, is_key);
    else if (t.single && (line || !is_key))
        put_single(p, text, indent, is_key);
    else
        put_double(p, text, indent, is_key);
}

void paper_put_json(Paper *p, const char *text)
{
    put(p, "\"");
    for (const char *s = text; *s;) {
        static const char codes[] = "\b\t\n\f\r\"\\", names[] = "btnfr\"\\";
        char out[12];
        size_t size;
        unsigned c = code_at(s, &size);
        const char *at = c < 0x80 ? strchr(codes, (int)c) : NULL;
        if (at) {
            snprintf(out, sizeof out, "\\%c", names[at - codes]);
            put(p, out);
        } else if (c < 0x20 || c == 0x7F) {
            snprintf(out, sizeof out, "\\u%04x", c);
            put(p, out);
        } else {
            paper_put(p, s, size);
        }
        s += size;
    }
    put(p, "\"");
}
