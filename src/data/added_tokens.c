/* Finding added tokens: the sorted list is narrowed byte by byte. */
#include "data/added_tokens.h"

#include <stdlib.h>
#include <string.h>

#include "base/utf8.h"
#include "data/unicode.h"

static int token_order(const void *a, const void *b)
{
    const AddedToken *x = a, *y = b;
    size_t n = x->length < y->length ? x->length : y->length;
    int order = memcmp(x->text, y->text, n);
    if (order) return order;
    if (x->length != y->length) return x->length < y->length ? -1 : 1;
    return (x->id > y->id) - (x->id < y->id);
}

void added_tokens_make(AddedTokens *a, AddedToken *list, int n)
{
    *a = (AddedTokens){.token = list};
    if (n > 0) qsort(list, (size_t)n, sizeof *list, token_order);
    for (int i = 0; i < n; i++) {
        AddedToken *last = a->n > 0 ? &list[a->n - 1] : NULL;
        if (last && last->length == list[i].length &&
            memcmp(last->text, list[i].text, last->length) == 0) {
            free(last->text);
            a->n--;
        }
        list[a->n++] = list[i];
        a->first[list[i].text[0]] = true;
        a->plain = a->plain || !list[i].special;
        a->strips = a->strips || list[i].lstrip || list[i].rstrip;
    }
}

void added_tokens_free(AddedTokens *a)
{
    for (int i = 0; i < a->n; i++) free(a->token[i].text);
    free(a->token);
    *a = (AddedTokens){0};
}

/* The longest token at the beginning of text; *open: more text could make it another one. */
static const AddedToken *token_at(const AddedTokens *a, const unsigned char *text, size_t n,
                                  bool *open)
{
    const AddedToken *longest = NULL;
    int low = 0, high = a->n;
    *open = false;
    for (size_t depth = 0; low < high; depth++) {
        if (a->token[low].length == depth) longest = &a->token[low++];
        if (low == high) break;
        if (depth == n) {
            *open = true;
            break;
        }
        int l = low, h = high; /* those with this byte at this depth */
        while (l < h) {
            int middle = (l + h) / 2;
            if (a->token[middle].text[depth] < text[depth])
                l = middle + 1;
            else
                h = middle;
        }
        low = l;
        for (h = high; l < h;) {
            int middle = (l + h) / 2;
            if (a->token[middle].text[depth] <= text[depth])
                l = middle + 1;
            else
                h = middle;
        }
        high = l;
    }
    return longest;
}

/* Bits of the character that begins at text, or that ends there. */
static unsigned bits_after(const uint8_t *bits, const unsigned char *text, size_t n, int *length)
{
    uint32_t code;
    *length = n > 0 ? utf8_read(text, n, &code) : 0;
    return *length > 0 ? bits[code] : 0;
}

static unsigned bits_before(const uint8_t *bits, const unsigned char *text, size_t at, int *length)
{
    size_t start = at;
    while (start > 0 && at - start < UTF8_MAX) {
        start--;
        if ((text[start] & 0xc0) != 0x80) break;
    }
    return bits_after(bits, text + start, at - start, length);
}

static bool in_word(const AddedSearch *s, const unsigned char *text, size_t n, AddedMatch m)
{
    int length;
    bool before = m.from > 0 ? bits_before(s->bits, text, m.from, &length) & CHAR_WORD
                             : !s->begins && s->after_word;
    return before || (bits_after(s->bits, text + m.to, n - m.to, &length) & CHAR_WORD);
}

static size_t spaces_before(const AddedSearch *s, const unsigned char *text, size_t at)
{
    int length;
    while (at > 0 && (bits_before(s->bits, text, at, &length) & CHAR_SPACE)) at -= (size_t)length;
    return at;
}

static size_t spaces_after(const AddedSearch *s, const unsigned char *text, size_t n, size_t at)
{
    int length;
    while (at < n && (bits_after(s->bits, text + at, n - at, &length) & CHAR_SPACE))
        at += (size_t)length;
    return at;
}

/* No token before `at`, and what follows is not known yet. */
static AddedMatch wait_at(const AddedTokens *a, const AddedSearch *s, const unsigned char *text,
                          size_t at)
{
    if (a->strips && !s->end) at = spaces_before(s, text, at);
    return (AddedMatch){NULL, at, at};
}

AddedMatch added_tokens_find(const AddedTokens *a, const AddedSearch *s, const unsigned char *text,
                             size_t n)
{
    enum { AHEAD = UTF8_MAX }; /* the character after it decides about single words */
    for (size_t at = 0; at < n; at++) {
        if (!a->first[text[at]]) continue;
        bool open;
        const AddedToken *token = token_at(a, text + at, n - at, &open);
        if (open && !s->end) return wait_at(a, s, text, at);
        if (token == NULL) continue;
        AddedMatch m = {token, at, at + token->length};
        at = m.to - 1; /* a match that does not count is passed over, all of it */
        if (token->special && !s->specials) continue;
        if (token->single_word && !s->end && n - m.to < AHEAD) return wait_at(a, s, text, m.from);
        if (token->single_word && in_word(s, text, n, m)) continue;
        if (token->rstrip) m.to = spaces_after(s, text, n, m.to);
        if (token->rstrip && !s->end && n - m.to < AHEAD) return wait_at(a, s, text, m.from);
        if (token->lstrip) m.from = spaces_before(s, text, m.from);
        return m;
    }
    size_t whole = s->end ? n : n - utf8_unfinished(text, n); /* what is before a token counts */
    return wait_at(a, s, text, whole);
}
