/* Words by longest match. */
#include "hydra/lex.h"

#include <ctype.h>
#include <string.h>
#include <strings.h>

#include "hydra/scalar.h"

static size_t blanks(const char *s)
{
    return strspn(s, " \t");
}

static bool is_letter(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_';
}

size_t hy_id_size(const char *s)
{
    if (!is_letter(*s)) return 0;
    size_t n = 1;
    while (is_letter(s[n]) || isdigit((unsigned char)s[n]) || s[n] == '-') n++;
    return n;
}

static size_t keyword_size(const char *s, const char *const *words)
{
    for (; *words; words++) {
        if (strncasecmp(s, *words, strlen(*words)) == 0) return strlen(*words);
    }
    return 0;
}

static size_t escape_size(const char *s)
{
    size_t n = 0;
    while (s[n] == '\\' && s[n + 1] && strchr("\\()[]{}:=, \t", s[n + 1])) n += 2;
    return n;
}

/* Punctuation takes the blanks around it along. */
static Word punctuation(const char *s, size_t *size)
{
    static const struct {
        char letter;
        bool before, after;
        Word word;
    } table[] = {{'(', true, true, WORD_PAREN_OPEN},     {',', true, true, WORD_COMMA},
                 {')', true, false, WORD_PAREN_CLOSE},   {'[', false, true, WORD_BRACKET_OPEN},
                 {']', true, false, WORD_BRACKET_CLOSE}, {'{', false, true, WORD_BRACE_OPEN},
                 {'}', true, false, WORD_BRACE_CLOSE},   {':', true, true, WORD_COLON},
                 {'=', true, true, WORD_EQUAL}};
    size_t before = blanks(s);
    for (int i = 0; i < ARRAY_LEN(table); i++) {
        if (s[before] != table[i].letter || (before && !table[i].before)) continue;
        *size = before + 1 + (table[i].after ? blanks(s + before + 1) : 0);
        return table[i].word;
    }
    return WORD_NONE;
}

static void longer(Word *best, size_t *size, Word word, size_t n)
{
    if (n <= *size) return;
    *size = n;
    *best = word;
}

Word hy_lex(const char *s, size_t *size)
{
    static const char *const bools[] = {"true", "false", NULL}, *const nulls[] = {"null", NULL};
    Word best = WORD_NONE;
    *size = 0;
    if (!*s) return WORD_END;
    if (*s == '$' && s[1] == '{') {
        *size = 2;
        return WORD_REFERENCE;
    }
    if (*s == '\'' || *s == '"') {
        *size = 1;
        return WORD_QUOTE;
    }
    best = punctuation(s, size);
    longer(&best, size, WORD_FLOAT, hy_float_size(s));
    longer(&best, size, WORD_INT, hy_int_size(s));
    longer(&best, size, WORD_BOOL, keyword_size(s, bools));
    longer(&best, size, WORD_NULL, keyword_size(s, nulls));
    longer(&best, size, WORD_SIGN, strchr("/-\\+.$%*@?|", *s) ? 1 : 0);
    longer(&best, size, WORD_ID, hy_id_size(s));
    longer(&best, size, WORD_ESCAPE, escape_size(s));
    longer(&best, size, WORD_BLANK, blanks(s));
    return best;
}

const char *hy_unescape(HyArena *a, const char *s, size_t size)
{
    char *out = hy_alloc(a, size / 2 + 1);
    for (size_t i = 0; 2 * i + 1 < size; i++) out[i] = s[2 * i + 1];
    return out;
}

HyNode *hy_word_value(HyArena *a, Word word, const char *s, size_t size)
{
    switch (word) {
    case WORD_INT:
        return hy_int_parse(a, s, size);
    case WORD_FLOAT:
        return hy_float_parse(a, s, size);
    case WORD_BOOL:
        return hy_new_bool(a, *s == 't' || *s == 'T');
    case WORD_NULL:
        return hy_new(a, HY_NULL);
    case WORD_ESCAPE:
        return hy_new_text(a, hy_unescape(a, s, size));
    default:
        return hy_new_text(a, hy_copy_text(a, s, size));
    }
}

bool hy_word_is_plain(Word word)
{
    switch (word) {
    case WORD_ID:
    case WORD_NULL:
    case WORD_INT:
    case WORD_FLOAT:
    case WORD_BOOL:
    case WORD_SIGN:
    case WORD_ESCAPE:
    case WORD_BLANK:
        return true;
    default:
        return false;
    }
}
