/* The grammar of overrides (Hydra 1.3), by recursive descent over the words of lex.c. */
#include "hydra/override.h"

#include <ctype.h>
#include <stdio.h>
#include <string.h>

#include "base/names.h"
#include "hydra/lex.h"
#include "hydra/scalar.h"

enum { MAX_ARGS = 1024, MAX_DEPTH = 100 };

typedef struct Parser {
    HyArena *arena;
    const char *s, *line;
    int depth;
    Err *err;
} Parser;

static int parse_element(Parser *p, HyValue *out);

static int fail(Parser *p, const char *what)
{
    char shown[NAME_SHOWN_MAX];
    return err_set(p->err, "override '%s': %s (at column %d)", name_show(shown, p->line), what,
                   (int)(p->s - p->line) + 1);
}

static Word word(Parser *p, size_t *size)
{
    return hy_lex(p->s, size);
}

/* --- primitives --------------------------------------------------------------------------------*/

/* The quote that closes, NULL when none does: one after an even number of backslashes. */
static const char *quote_end(const char *s, char quote)
{
    for (; *s; s++) {
        size_t slashes = strspn(s, "\\");
        s += slashes;
        if (*s == quote && slashes % 2 == 0) return s;
        if (!*s) break;
    }
    return NULL;
}

/* Backslashes count only before a quote; there, each pair is one. */
static int parse_quoted(Parser *p, HyValue *out)
{
    char quote = *p->s;
    const char *s = p->s + 1, *end = quote_end(s, quote);
    if (!end) return fail(p, "a quote is not closed");
    char *text = hy_alloc(p->arena, (size_t)(end - s) + 1), *to = text;
    while (s < end) {
        size_t slashes = strspn(s, "\\");
        bool special = slashes > 0 && s[slashes] == quote;
        size_t keep = special ? slashes / 2 : slashes;
        memcpy(to, s, keep);
        to += keep;
        s += slashes;
        if (s < end) *to++ = *s++;
    }
    out->node = hy_new_text(p->arena, text);
    out->node->quote = quote;
    p->s = end + 1;
    return 0;
}

/* "${", anything but '}', and '}'. */
static size_t reference_size(const char *s)
{
    const char *end = strchr(s, '}');
    return end && end > s + 2 ? (size_t)(end - s) + 1 : 0;
}

typedef struct Piece {
    Word word;
    const char *s;
    size_t size;
} Piece;

static bool next_piece(Parser *p, bool is_key, Piece *piece)
{
    piece->word = word(p, &piece->size);
    piece->s = p->s;
    switch (piece->word) {
    case WORD_COLON:
        return !is_key;
    case WORD_REFERENCE:
        piece->size = reference_size(p->s);
        return !is_key && piece->size > 0;
    default:
        return hy_word_is_plain(piece->word);
    }
}

/* Words side by side are one text; a single word has its type; blanks around them do not count. */
static int parse_primitive(Parser *p, bool is_key, HyNode **out)
{
    Piece piece, only = {0};
    char *text = hy_alloc(p->arena, strlen(p->s) + 1);
    size_t used = 0;
    int count = 0;
    bool any = false;
    while (next_piece(p, is_key, &piece)) {
        p->s += piece.size;
        bool first = !any;
        any = true;
        if (piece.word == WORD_BLANK) {
            Piece after;
            if (first || !next_piece(p, is_key, &after)) continue;
        }
        only = piece;
        count++;
        const char *from = piece.s;
        if (piece.word == WORD_ESCAPE) {
            from = hy_unescape(p->arena, piece.s, piece.size);
            piece.size /= 2;
        }
        memcpy(text + used, from, piece.size);
        used += piece.size;
    }
    if (count == 0) return fail(p, "a value is missing, or holds a character that needs quotes");
    *out = count > 1 ? hy_new_text(p->arena, text)
                     : hy_word_value(p->arena, only.word, only.s, only.size);
    return 0;
}

/* --- lists, maps, functions --------------------------------------------------------------------*/

static int parse_item(Parser *p, HyNode **out)
{
    HyValue value;
    *out = NULL;
    TRY(parse_element(p, &value));
    if (value.sweep != HY_ONE) return fail(p, "a sweep within a list or map has no meaning");
    *out = value.node;
    return 0;
}

static bool skip(Parser *p, Word wanted)
{
    size_t size;
    if (word(p, &size) != wanted) return false;
    p->s += size;
    return true;
}

static int parse_list(Parser *p, HyValue *out)
{
    HyNode *item = NULL;
    out->node = hy_new(p->arena, HY_LIST);
    if (skip(p, WORD_BRACKET_CLOSE)) return 0;
    do {
        TRY(parse_item(p, &item));
        hy_append(out->node, item);
    } while (skip(p, WORD_COMMA));
    return skip(p, WORD_BRACKET_CLOSE) ? 0 : fail(p, "']' or ',' is missing");
}

static int parse_map(Parser *p, HyValue *out)
{
    HyNode *key, *item = NULL;
    out->node = hy_new(p->arena, HY_MAP);
    if (skip(p, WORD_BRACE_CLOSE)) return 0;
    do {
        TRY(parse_primitive(p, true, &key));
        if (!skip(p, WORD_COLON)) return fail(p, "':' is missing after a key");
        TRY(parse_item(p, &item));
        if (key->kind == HY_NULL) return fail(p, "null cannot be a key");
        hy_set(out->node, key->kind, hy_str(p->arena, key), item);
    } while (skip(p, WORD_COMMA));
    return skip(p, WORD_BRACE_CLOSE) ? 0 : fail(p, "'}' or ',' is missing");
}

/* An argument's name, when "name=" stands here. */
static const char *parse_arg_name(Parser *p)
{
    size_t size = hy_id_size(p->s), gap;
    if (!size || hy_lex(p->s + size, &gap) != WORD_EQUAL) return NULL;
    const char *name = hy_copy_text(p->arena, p->s, size);
    p->s += size + gap;
    return name;
}

static int parse_args(Parser *p, HyValue *args, const char **names, int *n)
{
    *n = 0;
    if (skip(p, WORD_PAREN_CLOSE)) return 0;
    do {
        if (*n == MAX_ARGS) return fail(p, "too many arguments");
        names[*n] = parse_arg_name(p);
        if (!names[*n] && *n > 0 && names[*n - 1]) return fail(p, "a name is missing");
        TRY(parse_element(p, &args[(*n)++]));
    } while (skip(p, WORD_COMMA));
    return skip(p, WORD_PAREN_CLOSE) ? 0 : fail(p, "')' or ',' is missing");
}

static int parse_call(Parser *p, size_t id, size_t paren, HyValue *out)
{
    int n;
    const char *name = hy_copy_text(p->arena, p->s, id);
    HyValue *args = hy_alloc(p->arena, MAX_ARGS * sizeof *args);
    const char **names = hy_alloc(p->arena, MAX_ARGS * sizeof *names);
    p->s += id + paren;
    TRY(parse_args(p, args, names, &n));
    if (hy_function(p->arena, name, args, names, n, out, p->err) == 0) return 0;
    char shown[NAME_SHOWN_MAX];
    return err_wrap(p->err, "override '%s'", name_show(shown, p->line));
}

static int parse_element_body(Parser *p, HyValue *out)
{
    size_t size, paren;
    Word first = word(p, &size);
    *out = (HyValue){0};
    if (first == WORD_QUOTE) return parse_quoted(p, out);
    if (first == WORD_BRACKET_OPEN || first == WORD_BRACE_OPEN) {
        p->s += size;
        return first == WORD_BRACE_OPEN ? parse_map(p, out) : parse_list(p, out);
    }
    if (first == WORD_ID && hy_lex(p->s + size, &paren) == WORD_PAREN_OPEN) {
        return parse_call(p, size, paren, out);
    }
    return parse_primitive(p, false, &out->node);
}

static int parse_element(Parser *p, HyValue *out)
{
    if (p->depth == MAX_DEPTH) return fail(p, "nested too deeply");
    TRY(hy_check_size(p->arena, p->err));
    p->depth++;
    int rc = parse_element_body(p, out);
    p->depth--;
    return rc;
}

static int parse_value(Parser *p, HyValue *out)
{
    HyNode *item = NULL;
    TRY(parse_element(p, out));
    if (skip(p, WORD_COMMA)) {
        HyNode *list = hy_new(p->arena, HY_LIST);
        if (out->sweep != HY_ONE) return fail(p, "a sweep within a sweep has no meaning");
        hy_append(list, out->node);
        do {
            TRY(parse_item(p, &item));
            hy_append(list, item);
        } while (skip(p, WORD_COMMA));
        *out = (HyValue){.sweep = HY_SIMPLE_CHOICE, .node = list};
    }
    if (*p->s) return fail(p, "this character needs quotes or a backslash here");
    return 0;
}

/* --- keys --------------------------------------------------------------------------------------*/

static bool is_key_name(const char *s, size_t size)
{
    if (size == 0 || isdigit((unsigned char)*s) || *s == '-') return false;
    for (size_t i = 0; i < size; i++) {
        if (!isalnum((unsigned char)s[i]) && !strchr("_-$", s[i])) return false;
    }
    return true;
}

/* Names or numbers between dots; nothing at all stands for the root. */
static bool is_package(const char *s, size_t size)
{
    const char *end = s + size;
    if (size == 0 || is_key_name(s, size)) return true;
    if (!memchr(s, '.', size)) return false;
    for (;;) {
        size_t part = strcspn(s, ".");
        if (s + part > end) part = (size_t)(end - s);
        bool number = part > 0 && strspn(s, "0123456789") >= part && (*s != '0' || part == 1);
        if (!number && !is_key_name(s, part)) return false;
        if (s + part == end) return true;
        s += part + 1;
    }
}

static bool is_group(const char *s, size_t size)
{
    const char *end = s + size;
    while (s < end) {
        size_t part = hy_id_size(s);
        if (part == 0 || s + part > end) return false;
        if (s + part == end) return true;
        if (s[part] != '/') return false;
        s += part + 1;
    }
    return false;
}

static int parse_key(Parser *p, HyOverride *o)
{
    size_t size = strcspn(p->s, "=@");
    bool group = memchr(p->s, '/', size);
    if (group ? !is_group(p->s, size) : !is_package(p->s, size)) {
        return fail(p, "this is not a key; write a.b.c=value or group=option");
    }
    if (size == 0) return fail(p, "a key is missing; write a.b.c=value or group=option");
    o->key = hy_copy_text(p->arena, p->s, size);
    p->s += size;
    if (*p->s != '@') return 0;
    size = strcspn(++p->s, "=");
    if (!is_package(p->s, size)) return fail(p, "this is not a package");
    o->package = hy_copy_text(p->arena, p->s, size);
    p->s += size;
    return 0;
}

int hy_override_parse(HyArena *a, const char *line, HyOverride *out, Err *err)
{
    Parser p = {a, line, line, 0, err};
    *out = (HyOverride){.line = line};
    if (strlen(line) > HY_MAX_TEXT) {
        return err_set(err, "an override of %zu bytes; at most %d", strlen(line), HY_MAX_TEXT);
    }
    if (*line == '~') {
        out->change = HY_DELETE;
        p.s++;
    } else if (*line == '+') {
        out->change = line[1] == '+' ? HY_FORCE_ADD : HY_ADD;
        p.s += out->change == HY_FORCE_ADD ? 2 : 1;
    }
    TRY(parse_key(&p, out));
    if (!*p.s && out->change == HY_DELETE) {
        out->value.node = hy_new(a, HY_NULL);
        return 0;
    }
    if (*p.s != '=') return fail(&p, "'=' is missing; write KEY=VALUE");
    out->has_value = true;
    p.s++;
    p.s += strspn(p.s, " \t");
    out->value = (HyValue){.node = hy_new_text(a, "")};
    return *p.s ? parse_value(&p, &out->value) : 0;
}

const char *hy_override_key(HyArena *a, const HyOverride *o)
{
    static const char *const prefix[] = {"", "+", "++", "~"};
    return hy_format(a, "%s%s%s%s", prefix[o->change], o->key, o->package ? "@" : "",
                     o->package ? o->package : "");
}

bool hy_override_is_hydra(const HyOverride *o)
{
    return strncmp(o->key, "hydra.", 6) == 0 || strncmp(o->key, "hydra/", 6) == 0;
}

/* --- back to text ------------------------------------------------------------------------------*/

static void print_escaped(FILE *out, const char *text)
{
    for (; *text; text++) {
        if (strchr("\\()[]{}:=, \t", *text)) fputc('\\', out);
        fputc(*text, out);
    }
}

static void print_quoted(FILE *out, const char *text, char quote)
{
    fputc(quote, out);
    while (*text) {
        size_t slashes = strspn(text, "\\");
        bool special = text[slashes] == quote || !text[slashes];
        for (size_t i = 0; i < slashes * (special ? 2 : 1); i++) fputc('\\', out);
        text += slashes;
        if (!*text) break;
        if (*text == quote) fputc('\\', out);
        fputc(*text++, out);
    }
    fputc(quote, out);
}

static void print_value(HyArena *a, FILE *out, const HyNode *v)
{
    if (v->kind == HY_NULL) {
        fputs("null", out);
    } else if (v->kind == HY_TEXT && v->quote) {
        print_quoted(out, v->text, v->quote);
    } else if (v->kind == HY_TEXT) {
        print_escaped(out, v->text);
    } else if (!hy_is_container(v)) {
        fputs(hy_str(a, v), out);
    } else {
        fputc(v->kind == HY_LIST ? '[' : '{', out);
        for (const HyNode *c = v->first; c; c = c->next) {
            if (c != v->first) fputc(',', out);
            if (c->key) {
                print_escaped(out, c->key);
                fputc(':', out);
            }
            print_value(a, out, c);
        }
        fputc(v->kind == HY_LIST ? ']' : '}', out);
    }
}

const char *hy_override_text(HyArena *a, const HyNode *value)
{
    HyPrint p;
    hy_print_begin(&p);
    print_value(a, p.out, value);
    return hy_print_end(&p, a);
}
