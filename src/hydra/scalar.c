/* Types of plain texts and Python's way of printing values. */
#include "hydra/scalar.h"

#include <ctype.h>
#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/mem.h"
#include "base/names.h"

static bool is_one_of(const char *text, const char *const *words)
{
    for (; *words; words++) {
        if (strcmp(text, *words) == 0) return true;
    }
    return false;
}

/* --- integers of any length, as decimal digits -------------------------------------------------*/

/* digits = digits * base + more, in place; digits hold values from 0 to 9, lowest first. */
static size_t digits_push(unsigned char *digits, size_t n, unsigned base, unsigned more)
{
    unsigned carry = more;
    for (size_t i = 0; i < n; i++) {
        unsigned v = digits[i] * base + carry;
        digits[i] = (unsigned char)(v % 10);
        carry = v / 10;
    }
    for (; carry; carry /= 10) digits[n++] = (unsigned char)(carry % 10);
    return n;
}

/* Digits of a base to decimal text; underscores and leading zeros go. */
static const char *decimal(HyArena *a, bool minus, const char *text, size_t size, unsigned base)
{
    char *out = hy_alloc(a, size * 2 + 4);
    size_t used = 0;
    unsigned char *digits = hy_alloc(a, size * 2 + 4);
    if (base == 10) {
        for (size_t i = 0; i < size; i++) {
            if (text[i] != '_' && (used > 0 || text[i] != '0')) out[used++] = text[i];
        }
    } else {
        size_t n = 0;
        for (size_t i = 0; i < size; i++) {
            if (text[i] == '_') continue;
            unsigned v = (unsigned)(isdigit((unsigned char)text[i]) ? text[i] - '0'
                                                                    : (text[i] | 32) - 'a' + 10);
            n = digits_push(digits, n, base, v);
        }
        while (n > 0) out[used++] = (char)('0' + digits[--n]);
    }
    if (used == 0) return "0";
    out[used] = 0;
    return minus ? hy_format(a, "-%s", out) : out;
}

bool hy_int_value(const HyNode *node, long long *out)
{
    if (node->kind == HY_BOOL) *out = node->truth;
    if (node->kind != HY_INT) return node->kind == HY_BOOL;
    errno = 0;
    *out = strtoll(node->text, NULL, 10);
    return errno == 0;
}

double hy_number(const HyNode *node)
{
    if (node->kind == HY_BOOL) return node->truth;
    return node->kind == HY_INT ? strtod(node->text, NULL) : node->number;
}

/* --- YAML, as PyYAML resolves plain scalars, with OmegaConf's pattern for floats
 * ----------------*/

static size_t span(const char *s, const char *letters)
{
    return strspn(s, letters);
}

static const char digit_letters[] = "0123456789", loose_digits[] = "0123456789_";

/* ":" and one or two digits below 60, as often as they come; 0 when not at least once. */
static size_t sixties(const char *s)
{
    size_t n = 0;
    for (;;) {
        if (s[n] != ':' || !isdigit((unsigned char)s[n + 1])) return n;
        bool two = s[n + 1] <= '5' && isdigit((unsigned char)s[n + 2]);
        n += two ? 3 : 2;
    }
}

static size_t exponent(const char *s, bool sign_needed)
{
    if (*s != 'e' && *s != 'E') return 0;
    size_t n = 1, sign = s[1] == '-' || s[1] == '+';
    if (sign_needed && !sign) return 0;
    n += sign;
    size_t digits = span(s + n, digit_letters);
    return digits ? n + digits : 0;
}

/* Digits with single underscores between them. */
static size_t tight_digits(const char *s)
{
    size_t n = span(s, digit_letters);
    while (n > 0 && s[n] == '_') {
        size_t more = span(s + n + 1, digit_letters);
        if (!more) break;
        n += 1 + more;
    }
    return n;
}

static bool yaml_is_float(const char *text)
{
    static const char *const special[] = {".inf", ".Inf", ".INF", ".nan", ".NaN", ".NAN", NULL};
    bool sign = *text == '-' || *text == '+';
    const char *s = text + sign;
    if (is_one_of(s, special)) return !sign || strncasecmp(s, ".i", 2) == 0;
    size_t n = isdigit((unsigned char)*s) ? span(s, loose_digits) : 0;
    if (n > 0) {
        size_t part = s[n] == '.' ? 1 + span(s + n + 1, loose_digits) : 0;
        size_t sixty = sixties(s + n);
        if (part && !s[n + part]) return true;
        if (part && s[n + part] && !s[n + part + exponent(s + n + part, true)]) return true;
        if (sixty && s[n + sixty] == '.')
            return !s[n + sixty + 1 + span(s + n + sixty + 1, loose_digits)];
        size_t tight = tight_digits(s);
        if (tight != n) return false;
        return (part || s[n]) && s[n + part] && exponent(s + n + part, false) &&
               !s[n + part + exponent(s + n + part, false)];
    }
    if (sign || *s != '.' || !isdigit((unsigned char)s[1])) return false;
    n = 1 + span(s + 1, loose_digits);
    return !s[n] || (exponent(s + n, true) && !s[n + exponent(s + n, true)]);
}

static double yaml_float(const char *text)
{
    char *clean = strdup(text), *to = clean;
    mem_need(clean, "a configuration");
    for (const char *s = text; *s; s++) {
        if (*s != '_') *to++ = *s;
    }
    *to = 0;
    char *s = clean + (*clean == '-' || *clean == '+');
    double sign = *clean == '-' ? -1 : 1, value = 0;
    if (strchr(s, ':')) {
        for (char *part; (part = strsep(&s, ":")) != NULL;) value = value * 60 + strtod(part, NULL);
    } else if (strcasecmp(s, ".inf") == 0 || strcasecmp(s, ".nan") == 0) {
        value = s[1] == 'i' || s[1] == 'I' ? (double)INFINITY : (double)NAN;
    } else {
        value = strtod(s, NULL);
    }
    free(clean);
    return sign * value;
}

static const char *yaml_sixties(HyArena *a, bool minus, const char *s)
{
    unsigned char *digits = hy_alloc(a, strlen(s) * 2 + 8);
    char *out = hy_alloc(a, strlen(s) * 2 + 8);
    size_t total = 0, used = 0;
    bool first = true;
    while (*s) {
        unsigned part = 0;
        for (; *s && *s != ':'; s++) {
            if (*s == '_') continue;
            if (first)
                total = digits_push(digits, total, 10, (unsigned)(*s - '0'));
            else
                part = part * 10 + (unsigned)(*s - '0');
        }
        if (!first) total = digits_push(digits, total, 60, part);
        first = false;
        s += *s == ':';
    }
    while (total > 0 && digits[total - 1] == 0) total--;
    while (total > 0) out[used++] = (char)('0' + digits[--total]);
    if (used == 0) return "0";
    return minus ? hy_format(a, "-%s", out) : out;
}

/* NULL: not an integer. */
static const char *yaml_int(HyArena *a, const char *text)
{
    bool minus = *text == '-';
    const char *s = text + (minus || *text == '+');
    size_t size = strlen(s);
    if (!isdigit((unsigned char)*s)) return NULL;
    if (size > 2 && s[0] == '0' && s[1] == 'b' && span(s + 2, "01_") == size - 2)
        return decimal(a, minus, s + 2, size - 2, 2);
    if (size > 2 && s[0] == '0' && s[1] == 'x' &&
        span(s + 2, "0123456789abcdefABCDEF_") == size - 2)
        return decimal(a, minus, s + 2, size - 2, 16);
    if (size > 1 && *s == '0') {
        return span(s, "01234567_") == size ? decimal(a, minus, s, size, 8) : NULL;
    }
    size_t digits = span(s, loose_digits);
    if (digits == size) return decimal(a, minus, s, size, 10);
    size_t sixty = sixties(s + digits);
    return sixty && !s[digits + sixty] ? yaml_sixties(a, minus, s) : NULL;
}

static const char *const yaml_yes[] = {"yes",  "Yes", "YES", "true", "True",
                                       "TRUE", "on",  "On",  "ON",   NULL};
static const char *const yaml_no[] = {"no",    "No",  "NO",  "false", "False",
                                      "FALSE", "off", "Off", "OFF",   NULL};
static const char *const yaml_null[] = {"", "~", "null", "Null", "NULL", NULL};

HyNode *hy_yaml_plain(HyArena *a, const char *text, Err *err)
{
    if (is_one_of(text, yaml_null)) return hy_new(a, HY_NULL);
    if (is_one_of(text, yaml_yes)) return hy_new_bool(a, true);
    if (is_one_of(text, yaml_no)) return hy_new_bool(a, false);
    if (strcmp(text, "=") == 0 || strcmp(text, "<<") == 0) {
        err_set(err, "a bare '%s' is not a value; quote it", text);
        return NULL;
    }
    if (yaml_is_float(text)) return hy_new_float(a, yaml_float(text));
    const char *digits = yaml_int(a, text);
    return digits ? hy_new_int(a, digits) : hy_new_text(a, text);
}

/* --- the grammar of overrides and references ---------------------------------------------------*/

/* 0, or digits that start with none, with single underscores between them. */
static size_t unsigned_size(const char *s)
{
    if (*s == '0') return 1;
    return tight_digits(s);
}

size_t hy_int_size(const char *s)
{
    size_t sign = *s == '-' || *s == '+', n = unsigned_size(s + sign);
    return n ? sign + n : 0;
}

size_t hy_float_size(const char *s)
{
    size_t sign = *s == '-' || *s == '+';
    const char *t = s + sign;
    if (strncasecmp(t, "inf", 3) == 0 || strncasecmp(t, "nan", 3) == 0) return sign + 3;
    size_t whole = unsigned_size(t), n = whole, part = 0;
    if (t[n] == '.') {
        part = tight_digits(t + n + 1);
        if (!whole && !part) return 0;
        n += 1 + part;
    }
    bool point = n > whole;
    if (n == 0) return 0;
    if (t[n] == 'e' || t[n] == 'E') {
        size_t gap = 1U + (t[n + 1] == '-' || t[n + 1] == '+');
        size_t digits = tight_digits(t + n + gap);
        if (digits) return sign + n + gap + digits;
    }
    return point ? sign + n : 0;
}

HyNode *hy_int_parse(HyArena *a, const char *text, size_t size)
{
    size_t sign = *text == '-' || *text == '+';
    return hy_new_int(a, decimal(a, *text == '-', text + sign, size - sign, 10));
}

HyNode *hy_float_parse(HyArena *a, const char *text, size_t size)
{
    char *clean = hy_alloc(a, size + 1), *to = clean;
    for (size_t i = 0; i < size; i++) {
        if (text[i] != '_') *to++ = text[i];
    }
    return hy_new_float(a, strtod(clean, NULL));
}

/* The text without the blanks around it. */
static const char *stripped(HyArena *a, const char *text)
{
    while (isspace((unsigned char)*text)) text++;
    size_t size = strlen(text);
    while (size > 0 && isspace((unsigned char)text[size - 1])) size--;
    return hy_copy_text(a, text, size);
}

HyNode *hy_int_of_text(HyArena *a, const char *text)
{
    const char *s = stripped(a, text);
    size_t sign = *s == '-' || *s == '+', digits = tight_digits(s + sign);
    if (!digits || s[sign + digits]) return NULL;
    return hy_new_int(a, decimal(a, *s == '-', s + sign, digits, 10));
}

HyNode *hy_float_of_text(HyArena *a, const char *text)
{
    const char *s = stripped(a, text), *t = s + (*s == '-' || *s == '+');
    bool special =
        strcasecmp(t, "inf") == 0 || strcasecmp(t, "infinity") == 0 || strcasecmp(t, "nan") == 0;
    if (!special) {
        size_t whole = tight_digits(t), n = whole, part = 0;
        if (t[n] == '.') part = tight_digits(t + n + 1), n += 1 + part;
        if (!whole && !part) return NULL;
        if (t[n]) {
            size_t gap = 1U + (t[n] && (t[n + 1] == '-' || t[n + 1] == '+'));
            size_t digits = (t[n] | 32) == 'e' ? tight_digits(t + n + gap) : 0;
            if (!digits || t[n + gap + digits]) return NULL;
        }
    }
    return hy_float_parse(a, s, strlen(s));
}

HyNode *hy_int_of_float(HyArena *a, double number)
{
    return hy_int_of_text(a, hy_format(a, "%.0f", trunc(number) + 0.0));
}

/* --- as Python prints --------------------------------------------------------------------------*/

const char *hy_float_repr(double number, char out[40])
{
    if (isnan(number)) return "nan";
    if (isinf(number)) return number < 0 ? "-inf" : "inf";
    char digits[40];
    int precision = 1;
    for (; precision < 17; precision++) {
        snprintf(digits, sizeof digits, "%.*e", precision - 1, number);
        if (strtod(digits, NULL) == number) break;
    }
    snprintf(digits, sizeof digits, "%.*e", precision - 1, number);
    int power = atoi(strchr(digits, 'e') + 1);
    if (power >= -4 && power < 16) {
        int places = precision - 1 - power;
        snprintf(out, 40, "%.*f", places > 1 ? places : 1, number);
        return out;
    }
    snprintf(out, 40, "%s", digits); /* 1e-05, 1.5e+16: as C prints it */
    return out;
}

/* Printable characters beyond ASCII stand as they are; control characters are escaped. */
static void repr_text(FILE *out, const char *text)
{
    char quote = strchr(text, '\'') && !strchr(text, '"') ? '"' : '\'';
    fputc(quote, out);
    for (const unsigned char *s = (const unsigned char *)text; *s; s++) {
        if (*s == (unsigned char)quote || *s == '\\')
            fprintf(out, "\\%c", *s);
        else if (*s == '\n')
            fputs("\\n", out);
        else if (*s == '\t')
            fputs("\\t", out);
        else if (*s == '\r')
            fputs("\\r", out);
        else if (*s < 32 || *s == 127)
            fprintf(out, "\\x%02x", *s);
        else
            fputc(*s, out);
    }
    fputc(quote, out);
}

static void print_value(FILE *out, const HyNode *node, bool quoted)
{
    char number[40];
    switch (node->kind) {
    case HY_NULL:
        fputs("None", out);
        return;
    case HY_BOOL:
        fputs(node->truth ? "True" : "False", out);
        return;
    case HY_INT:
        fputs(node->text, out);
        return;
    case HY_FLOAT:
        fputs(hy_float_repr(node->number, number), out);
        return;
    case HY_TEXT:
        if (quoted)
            repr_text(out, node->text);
        else
            fputs(node->text, out);
        return;
    case HY_LIST:
    case HY_MAP:
        break;
    }
    fputc(node->kind == HY_LIST ? '[' : '{', out);
    for (const HyNode *c = node->first; c; c = c->next) {
        if (c != node->first) fputs(", ", out);
        if (c->key && c->key_kind == HY_TEXT) repr_text(out, c->key);
        if (c->key && c->key_kind != HY_TEXT) fputs(c->key, out);
        if (c->key) fputs(": ", out);
        print_value(out, c, true);
    }
    fputc(node->kind == HY_LIST ? ']' : '}', out);
}

const char *hy_str(HyArena *a, const HyNode *node)
{
    if (node->kind == HY_TEXT) return node->text;
    HyPrint p;
    hy_print_begin(&p);
    print_value(p.out, node, false);
    return hy_print_end(&p, a);
}

static bool is_number(const HyNode *node)
{
    return node->kind == HY_BOOL || node->kind == HY_INT || node->kind == HY_FLOAT;
}

bool hy_equal(const HyNode *a, const HyNode *b)
{
    if (is_number(a) && is_number(b)) {
        if (a->kind == HY_INT && b->kind == HY_INT) return strcmp(a->text, b->text) == 0;
        return hy_number(a) == hy_number(b);
    }
    if (a->kind != b->kind) return false;
    if (a->kind == HY_TEXT) return strcmp(a->text, b->text) == 0;
    if (!hy_is_container(a)) return true;
    if (hy_count(a) != hy_count(b)) return false;
    const HyNode *y = b->first;
    for (const HyNode *x = a->first; x; x = x->next, y = y->next) {
        if (a->kind == HY_MAP) y = hy_get(b, x->key);
        if (!y || !hy_equal(x, y)) return false;
    }
    return true;
}

/* --- what YAML needs quotes for ----------------------------------------------------------------*/

static bool all_digits(const char *s, int n)
{
    for (int i = 0; i < n; i++) {
        if (!isdigit((unsigned char)s[i])) return false;
    }
    return true;
}

/* 2020-01-31, or such a day with a time of day after it. */
static bool yaml_is_time(const char *s)
{
    if (!all_digits(s, 4) || s[4] != '-') return false;
    if (all_digits(s + 5, 2) && s[7] == '-' && all_digits(s + 8, 2) && !s[10]) return true;
    const char *t = s + 5;
    for (int part = 0; part < 2; part++) { /* month and day of one or two digits */
        size_t n = strspn(t, digit_letters);
        if (n < 1 || n > 2 || (part == 0 && t[n] != '-')) return false;
        t += n + (part == 0);
    }
    if (*t != 'T' && *t != 't' && *t != ' ' && *t != '\t') return false;
    t += strspn(t, "Tt \t");
    size_t hours = strspn(t, digit_letters);
    return (hours == 1 || hours == 2) && t[hours] == ':' && all_digits(t + hours + 1, 2) &&
           t[hours + 3] == ':' && all_digits(t + hours + 4, 2);
}

bool hy_yaml_is_text(const char *text)
{
    static const char *const letters[] = {"y", "Y", "n", "N", "=", "<<", NULL};
    if (is_one_of(text, letters) || is_one_of(text, yaml_yes) || is_one_of(text, yaml_no) ||
        is_one_of(text, yaml_null) || yaml_is_float(text) || yaml_is_time(text))
        return false;
    HyArena *a = hy_arena_new();
    bool number = yaml_int(a, text) || hy_int_of_text(a, text) || hy_float_of_text(a, text);
    hy_arena_free(a);
    return !number;
}
