/* Matchers for the published patterns. What a regular expression reaches by backtracking is worked
 * out here: a run of white space is looked at once, from its end.
 *
 * The alternatives, in this order, first match wins:
 *   contraction   's 't 're 've 'm 'll 'd
 *   word          an optional other character or space, then letters
 *   number        digits, at most so many
 *   other         an optional space, then what is none of space, letter, number; line ends after it
 *   line ends     spaces up to and with the last line end of a run of white space
 *   spaces        all of a run but its last, when a word may take that along; all at the end */
#include "data/split_pattern.h"

#include <stdio.h>
#include <string.h>

#include "base/utf8.h"
#include "data/unicode.h"

typedef struct Text {
    const uint8_t *bits;
    const unsigned char *p, *end;
} Text;

/* How one pattern differs from the others; constant in each matcher, so that it compiles away. */
typedef struct Rules {
    bool any_case;    /* contractions in capitals too, and U+017F for s */
    bool cased_words; /* words by case, contractions as their tails (o200k) */
    bool space_only;  /* before a word or number only a space is taken along (GPT-2) */
    bool lines;       /* line ends are taken by "other" and have an alternative */
    bool whole_tail;  /* white space at the very end is one piece before all else (cl100k) */
    char tail;        /* one more character that "other" takes after itself; 0: none */
    int digits;       /* at most so many in a number; 0: any */
} Rules;

/* The bits of the character at p (p < end) and its length. */
static inline unsigned look(const Text *t, const unsigned char *p, int *length)
{
    if (*p < 0x80) {
        *length = 1;
        return t->bits[*p];
    }
    uint32_t code;
    *length = utf8_read(p, (size_t)(t->end - p), &code);
    if (*length > 0) return t->bits[code];
    *length = 1;
    return 0;
}

/* The first character from p on that has none of (or, with `without`, any of) these bits. */
static inline const unsigned char *skip(const Text *t, const unsigned char *p, unsigned any,
                                        unsigned without)
{
    for (int length; p < t->end; p += length) {
        unsigned bits = look(t, p, &length);
        if ((any && !(bits & any)) || (bits & without)) break;
    }
    return p;
}

/* Length of 's 't 're 've 'm 'll 'd at p, 0 when there is none. */
static size_t contraction(const Text *t, const unsigned char *p, bool any_case)
{
    size_t n = (size_t)(t->end - p);
    if (n < 2 || p[0] != '\'') return 0;
    unsigned char flip = any_case ? 0x20 : 0, a = p[1] | flip, b = n > 2 ? p[2] | flip : 0;
    if (a == 's' || a == 't' || a == 'm' || a == 'd') return 2;
    if (((a == 'r' || a == 'v') && b == 'e') || (a == 'l' && b == 'l')) return 3;
    return any_case && n > 2 && p[1] == 0xc5 && p[2] == 0xbf ? 3 : 0; /* U+017F, long s */
}

enum { WORDLY = CHAR_LETTER | CHAR_NUMBER, NOT_OTHER = WORDLY | CHAR_SPACE };

/* --- words --------------------------------------------------------------------------------------
 */

/* [upper]*[lower]+ at p, or [upper]+[lower]*; p when neither is there. */
static const unsigned char *cased_run(const Text *t, const unsigned char *p, bool lower_needed)
{
    const unsigned char *both_end = NULL; /* after the last that counts as lower case too */
    int length;
    const unsigned char *q = p;
    for (; q < t->end; q += length) {
        unsigned bits = look(t, q, &length);
        if (!(bits & CHAR_UPPER)) break;
        if (bits & CHAR_LOWER) both_end = q + length;
    }
    const unsigned char *lower_end = skip(t, q, CHAR_LOWER, 0);
    if (!lower_needed) return q > p ? lower_end : p;
    if (lower_end > q) return lower_end;
    return both_end ? both_end : p; /* the run gives back down to there */
}

static size_t cased_word(const Text *t, const Rules *r)
{
    int first;
    unsigned bits = look(t, t->p, &first);
    bool prefix = !(bits & (WORDLY | CHAR_NEWLINE));
    for (int lower_needed = 1; lower_needed >= 0; lower_needed--)
        for (int with = prefix; with >= 0; with--) {
            const unsigned char *from = t->p + (with ? first : 0),
                                *end = cased_run(t, from, lower_needed);
            if (end > from) return (size_t)(end - t->p) + contraction(t, end, r->any_case);
        }
    return 0;
}

static inline size_t word(const Text *t, const Rules *r, unsigned bits, int first)
{
    if (r->cased_words) return cased_word(t, r);
    const unsigned char *from = t->p;
    if (!(bits & CHAR_LETTER)) {
        int length;
        bool prefix = r->space_only ? *t->p == ' ' : !(bits & (WORDLY | CHAR_NEWLINE));
        from += first;
        if (!prefix || from >= t->end || !(look(t, from, &length) & CHAR_LETTER)) return 0;
    }
    return (size_t)(skip(t, from, CHAR_LETTER, 0) - t->p);
}

/* --- the rest -----------------------------------------------------------------------------------
 */

static inline size_t number(const Text *t, const Rules *r)
{
    const unsigned char *p = t->p;
    int length;
    if (r->space_only && *p == ' ' && p + 1 < t->end) p++;
    const unsigned char *from = p;
    for (int n = 0; p < t->end && (r->digits == 0 || n < r->digits); n++, p += length)
        if (!(look(t, p, &length) & CHAR_NUMBER)) break;
    return p > from ? (size_t)(p - t->p) : 0;
}

static inline size_t other(const Text *t, const Rules *r)
{
    const unsigned char *from = t->p + (*t->p == ' '), *p = skip(t, from, 0, NOT_OTHER);
    if (p == from) return 0;
    while (r->lines && p < t->end && (*p == '\r' || *p == '\n' || (r->tail && *p == r->tail))) p++;
    return (size_t)(p - t->p);
}

static size_t spaces(const Text *t, const Rules *r)
{
    const unsigned char *p = t->p, *last = p, *line = NULL;
    for (int length; p < t->end; p += length) {
        unsigned bits = look(t, p, &length);
        if (!(bits & CHAR_SPACE)) break;
        last = p;
        if (bits & CHAR_NEWLINE) line = p + 1;
    }
    if (p == t->end && r->whole_tail) return (size_t)(p - t->p);
    if (r->lines && line) return (size_t)(line - t->p);
    if (p == t->end || last == t->p) return (size_t)(p - t->p);
    return (size_t)(last - t->p);
}

static inline size_t match(const Rules *r, const uint8_t *all_bits, const unsigned char *text,
                           size_t n)
{
    const Text t = {all_bits, text, text + n};
    int first;
    unsigned bits = look(&t, text, &first);
    size_t found = *text == '\'' && !r->cased_words ? contraction(&t, text, r->any_case) : 0;
    if (found == 0) found = word(&t, r, bits, first);
    if (found == 0 && ((bits & CHAR_NUMBER) || r->space_only)) found = number(&t, r);
    if (found == 0) found = other(&t, r);
    return found ? found : spaces(&t, r);
}

static size_t match_gpt2(const uint8_t *bits, const unsigned char *text, size_t n)
{
    static const Rules rules = {.space_only = true};
    return match(&rules, bits, text, n);
}

static size_t match_llama3(const uint8_t *bits, const unsigned char *text, size_t n)
{
    static const Rules rules = {.any_case = true, .lines = true, .digits = 3};
    return match(&rules, bits, text, n);
}

static size_t match_cl100k(const uint8_t *bits, const unsigned char *text, size_t n)
{
    static const Rules rules = {.any_case = true, .lines = true, .digits = 3, .whole_tail = true};
    return match(&rules, bits, text, n);
}

static size_t match_qwen2(const uint8_t *bits, const unsigned char *text, size_t n)
{
    static const Rules rules = {.any_case = true, .lines = true, .digits = 1};
    return match(&rules, bits, text, n);
}

static size_t match_o200k(const uint8_t *bits, const unsigned char *text, size_t n)
{
    static const Rules rules = {
        .any_case = true, .cased_words = true, .lines = true, .digits = 3, .tail = '/'};
    return match(&rules, bits, text, n);
}

/* --- the table ----------------------------------------------------------------------------------
 */

static const SplitPattern patterns[] = {
    {"llama3",
     "(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}{1,3}| "
     "?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+",
     match_llama3, CHAR_SPACE},
    {"gpt2", "'s|'t|'re|'ve|'m|'ll|'d| ?\\p{L}+| ?\\p{N}+| ?[^\\s\\p{L}\\p{N}]+|\\s+(?!\\S)|\\s+",
     match_gpt2, CHAR_SPACE},
    {"p50k",
     "'(?:[sdmt]|ll|ve|re)| ?\\p{L}++| ?\\p{N}++| ?[^\\s\\p{L}\\p{N}]++|\\s++$|\\s+(?!\\S)|\\s",
     match_gpt2, CHAR_SPACE},
    {"cl100k",
     "'(?i:[sdmt]|ll|ve|re)|[^\\r\\n\\p{L}\\p{N}]?+\\p{L}++|\\p{N}{1,3}+| "
     "?[^\\s\\p{L}\\p{N}]++[\\r\\n]*+|\\s++$|\\s*[\\r\\n]|\\s+(?!\\S)|\\s",
     match_cl100k, CHAR_SPACE},
    {"qwen2",
     "(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}| "
     "?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+",
     match_qwen2, CHAR_SPACE},
    {"o200k",
     "[^\\r\\n\\p{L}\\p{N}]?[\\p{Lu}\\p{Lt}\\p{Lm}\\p{Lo}\\p{M}]*[\\p{Ll}\\p{Lm}\\p{Lo}\\p{M}]+"
     "(?i:'s|'t|'re|'ve|'m|'ll|'d)?|[^\\r\\n\\p{L}\\p{N}]?[\\p{Lu}\\p{Lt}\\p{Lm}\\p{Lo}\\p{M}]+"
     "[\\p{Ll}\\p{Lm}\\p{Lo}\\p{M}]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?|\\p{N}{1,3}| "
     "?[^\\s\\p{L}\\p{N}]+[\\r\\n/]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+",
     match_o200k, CHAR_SPACE | CHAR_UPPER},
};
enum { N_PATTERNS = sizeof patterns / sizeof patterns[0] };

const SplitPattern *split_pattern_named(const char *name)
{
    for (int i = 0; i < N_PATTERNS; i++)
        if (strcmp(patterns[i].name, name) == 0) return &patterns[i];
    return NULL;
}

const SplitPattern *split_pattern_find(const char *regex)
{
    for (int i = 0; i < N_PATTERNS; i++)
        if (strcmp(patterns[i].regex, regex) == 0) return &patterns[i];
    return NULL;
}

void split_pattern_names(char *out, size_t size)
{
    size_t used = 0;
    for (int i = 0; i < N_PATTERNS && used < size; i++)
        used += (size_t)snprintf(out + used, size - used, "%s%s", i ? ", " : "", patterns[i].name);
}

size_t split_pattern_settled(const SplitPattern *pattern, const uint8_t *bits,
                             const unsigned char *text, size_t n)
{
    enum { AHEAD = 16 }; /* more than a character and a contraction after it */
    const Text t = {bits, text, text + n};
    size_t at = n > AHEAD ? n - AHEAD : 0;
    while (at > 0) {
        size_t start = at - 1;
        int length;
        while (start > 0 && at - start < UTF8_MAX && (text[start] & 0xc0) == 0x80) start--;
        if (!(look(&t, text + start, &length) & pattern->hold)) return start + (size_t)length;
        at = start;
    }
    return 0;
}
