/* A pattern rewritten, compiled, matched. */
#define PCRE2_CODE_UNIT_WIDTH 8
#include "data/split_regex.h"

#include <pcre2.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "base/names.h"
#include "data/unicode.h"

enum { MAX_PATTERN = 1 << 16, JIT_STACK = 1 << 20 };

struct SplitRegex {
    pcre2_code *code;
    bool looks_back;
};

struct RegexMatcher {
    pcre2_match_data *data;
    pcre2_match_context *context;
    pcre2_jit_stack *stack;
};

/* --- classes written out ------------------------------------------------------------------------
 */

typedef struct Text {
    char *s;
    size_t n, room;
} Text;

static void text_add(Text *t, const char *s, size_t n)
{
    if (t->room - t->n < n + 1) {
        t->room = 2 * t->room + n + 1;
        t->s = realloc(t->s, t->room);
        mem_need(t->s != NULL, "a regular expression");
    }
    memcpy(t->s + t->n, s, n);
    t->n += n;
    t->s[t->n] = 0;
}

static void range_add(void *context, uint32_t from, uint32_t to)
{
    char range[32];
    int n = snprintf(range, sizeof range, from == to ? "\\x{%x}" : "\\x{%x}-\\x{%x}",
                     (unsigned)from, (unsigned)to);
    text_add(context, range, (size_t)n);
}

/* The class named by the escape at p (p[0] is a backslash): its name, whether it is negated, and
 * the length of the escape; 0 when it is no class. */
static size_t class_read(const char *p, size_t n, const char **name, size_t *length, bool *negated)
{
    if (n < 2) return 0;
    if (strchr("sSdDwW", p[1]) && p[1]) {
        static const char names[] = "sdw";
        *negated = p[1] < 'a';
        *name = strchr(names, p[1] | 0x20);
        *length = 1;
        return 2;
    }
    if (p[1] != 'p' && p[1] != 'P') return 0;
    *negated = p[1] == 'P';
    if (n >= 3 && p[2] != '{') {
        *name = p + 2;
        *length = 1;
        return 3;
    }
    const char *close = memchr(p, '}', n);
    if (n < 4 || close == NULL) return 0;
    *name = p + 3;
    if (**name == '^') {
        *negated = !*negated;
        (*name)++;
    }
    *length = (size_t)(close - *name);
    return (size_t)(close - p) + 1;
}

/* One escape of the pattern: written out when it is a class that we know, else as it is. */
static size_t escape_write(Text *out, const char *p, size_t n, bool in_class)
{
    const char *name;
    size_t length, used;
    bool negated;
    if (n >= 2 && (used = class_read(p, n, &name, &length, &negated)) > 0) {
        size_t before = out->n;
        if (!in_class) text_add(out, "[", 1);
        if (unicode_class(name, length, negated, range_add, out)) {
            if (!in_class) text_add(out, "]", 1);
            return used;
        }
        out->n = before;
    }
    size_t plain = n < 2 ? n : 2;
    text_add(out, p, plain);
    return plain;
}

static void pattern_rewrite(Text *out, const char *p, size_t n)
{
    bool in_class = false;
    for (size_t i = 0; i < n;) {
        if (p[i] == '\\') {
            i += escape_write(out, p + i, n - i, in_class);
            continue;
        }
        /* A bracket right after the opening one is a member. */
        size_t first = i + 1 < n && p[i + 1] == '^' ? 2 : 1;
        bool opens = p[i] == '[' && !in_class;
        if (opens) in_class = true;
        if (opens && i + first < n && p[i + first] == ']') first++;
        if (!opens) first = 1;
        if (p[i] == ']' && in_class && !opens) in_class = false;
        text_add(out, p + i, first);
        i += first;
    }
}

/* --- compiling ----------------------------------------------------------------------------------
 */

static int compile(SplitRegex *r, const char *pattern, size_t n, const char *file, Err *err)
{
    Text text = {0};
    int code;
    PCRE2_SIZE at;
    char shown[NAME_SHOWN_MAX];
    PCRE2_UCHAR why[120];
    text_add(&text, "", 0);
    pattern_rewrite(&text, pattern, n);
    r->code = pcre2_compile((PCRE2_SPTR)text.s, text.n,
                            PCRE2_UTF | PCRE2_UCP | PCRE2_MATCH_INVALID_UTF, &code, &at, NULL);
    free(text.s);
    if (r->code == NULL) {
        pcre2_get_error_message(code, why, sizeof why);
        return err_set(err, "%s: the split pattern '%s' is not understood: %s", file,
                       name_show(shown, pattern), (const char *)why);
    }
    pcre2_jit_compile(r->code, PCRE2_JIT_COMPLETE | PCRE2_JIT_PARTIAL_HARD); /* or interpreted */
    uint32_t back = 0;
    pcre2_pattern_info(r->code, PCRE2_INFO_MAXLOOKBEHIND, &back);
    r->looks_back = back > 0;
    return 0;
}

int split_regex_new(SplitRegex **out, const char *pattern, size_t n, const char *file, Err *err)
{
    *out = NULL;
    if (n > MAX_PATTERN)
        return err_set(err, "%s: a split pattern of %zu bytes; at most %d", file, n, MAX_PATTERN);
    SplitRegex *r = mem_alloc(sizeof *r);
    if (compile(r, pattern, n, file, err) < 0) {
        split_regex_free(r);
        return -1;
    }
    *out = r;
    return 0;
}

void split_regex_free(SplitRegex *r)
{
    if (r == NULL) return;
    pcre2_code_free(r->code);
    mem_free(r);
}

bool split_regex_looks_back(const SplitRegex *r)
{
    return r->looks_back;
}

/* --- matching -----------------------------------------------------------------------------------
 */

RegexMatcher *regex_matcher_new(const SplitRegex *r)
{
    RegexMatcher *m = mem_alloc(sizeof *m);
    m->data = pcre2_match_data_create_from_pattern(r->code, NULL);
    m->context = pcre2_match_context_create(NULL);
    m->stack = pcre2_jit_stack_create(1 << 15, JIT_STACK, NULL);
    mem_need(m->data && m->context, "a match of a regular expression");
    if (m->stack) pcre2_jit_stack_assign(m->context, NULL, m->stack);
    return m;
}

void regex_matcher_free(RegexMatcher *m)
{
    if (m == NULL) return;
    pcre2_match_data_free(m->data);
    pcre2_match_context_free(m->context);
    pcre2_jit_stack_free(m->stack);
    mem_free(m);
}

int regex_find(const SplitRegex *r, RegexMatcher *m, const unsigned char *text, size_t n,
               size_t from, bool end, size_t place[2], Err *err)
{
    uint32_t options = end ? 0 : PCRE2_PARTIAL_HARD;
    int found = pcre2_match(r->code, text, n, from, options, m->data, m->context);
    if (found == PCRE2_ERROR_NOMATCH || found == PCRE2_ERROR_PARTIAL) return 0;
    if (found < 0) {
        PCRE2_UCHAR why[120];
        pcre2_get_error_message(found, why, sizeof why);
        return err_set(err, "the tokenizer's split pattern fails on this text: %s",
                       (const char *)why);
    }
    const PCRE2_SIZE *at = pcre2_get_ovector_pointer(m->data);
    place[0] = at[0];
    place[1] = at[1];
    return 1;
}
