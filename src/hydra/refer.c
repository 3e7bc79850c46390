/* Reading and following references in one pass: the reader of the grammar asks for each value as it
 * comes to it. With no root it only reads. */
#include "hydra/refer.h"

#include <string.h>

#include "base/names.h"
#include "hydra/lex.h"
#include "hydra/merge.h"
#include "hydra/scalar.h"

enum { MAX_DEPTH = 200, MAX_ARGS = 256 };

typedef struct Reader {
    HyEval *e;
    const char *s, *whole;
    HyNode *box, *node; /* the container and the value that the text belongs to */
} Reader;

typedef struct Text {
    char *data;
    size_t size, room;
} Text;

static HyNode *read_element(Reader *r);

static int grow(HyEval *e, Text *t, const char *text, size_t size)
{
    if (t->size + size > HY_MAX_TEXT) {
        return err_set(e->err, "a text of more than %d bytes with its references filled in",
                       HY_MAX_TEXT);
    }
    if (t->size + size + 1 > t->room) {
        size_t room = (t->size + size + 1) * 2;
        char *data = hy_alloc(e->arena, room);
        if (t->size > 0) memcpy(data, t->data, t->size);
        t->data = data;
        t->room = room;
        TRY(hy_check_size(e->arena, e->err));
    }
    memcpy(t->data + t->size, text, size);
    t->size += size;
    t->data[t->size] = 0;
    return 0;
}

static int grow_text(HyEval *e, Text *t, const char *text)
{
    return grow(e, t, text, strlen(text));
}

static int fail(Reader *r, const char *what)
{
    char shown[NAME_SHOWN_MAX];
    return err_set(r->e->err, "'%s': %s", name_show(shown, r->whole), what);
}

static HyNode *fail_null(Reader *r, const char *what)
{
    fail(r, what);
    return NULL;
}

static int enter(Reader *r)
{
    if (r->e->depth >= MAX_DEPTH) return fail(r, "references nested too deeply, or in a cycle");
    r->e->depth++;
    return 0;
}

static bool checks_only(const Reader *r)
{
    return !r->e->root;
}

/* --- ${...} ------------------------------------------------------------------------------------*/

static HyNode *read_reference(Reader *r);

/* One part of a key: a name or a reference to a text. *is_id: it could be part of a resolver. */
static const char *read_key(Reader *r, bool *is_id)
{
    if (strncmp(r->s, "${", 2) == 0) {
        r->s += 2;
        HyNode *value = read_reference(r);
        if (!value) return NULL;
        if (checks_only(r)) return "x";
        if (value->kind == HY_TEXT) return value->text;
        fail(r, "a reference that stands for part of a key must lead to a text");
        return NULL;
    }
    size_t size = strcspn(r->s, "\\{}()[]:. \t'\"");
    if (size == 0) {
        fail(r, "a key is missing or holds a character that keys cannot have");
        return NULL;
    }
    *is_id = *is_id && hy_id_size(r->s) == size;
    const char *key = hy_copy_text(r->e->arena, r->s, size);
    r->s += size;
    return key;
}

static int read_path(Reader *r, Text *path, bool *is_name)
{
    for (;;) {
        bool bracket = *r->s == '[';
        if (bracket) {
            *is_name = false;
            r->s++;
            TRY(grow_text(r->e, path, "["));
        }
        const char *key = read_key(r, is_name);
        if (!key) return -1;
        TRY(grow_text(r->e, path, key));
        if (bracket) {
            if (*r->s != ']') return fail(r, "'[' without ']'");
            r->s++;
            TRY(grow_text(r->e, path, "]"));
        }
        if (*r->s == '.') {
            r->s++;
            if (*r->s == '[') return fail(r, "'.' before '['");
            TRY(grow_text(r->e, path, "."));
        } else if (*r->s != '[') {
            return 0;
        }
    }
}

static bool is_element_end(Reader *r, Word *word, size_t *size)
{
    *word = hy_lex(r->s, size);
    return *word == WORD_COMMA || *word == WORD_BRACE_CLOSE || *word == WORD_BRACKET_CLOSE ||
           *word == WORD_END;
}

/* Elements with commas between them, up to `close`; one that is left out is an empty text. */
static int read_sequence(Reader *r, Word close, HyNode **items, int *n)
{
    Word word;
    size_t size;
    *n = 0;
    if (hy_lex(r->s, &size) == close) {
        r->s += size;
        return 0;
    }
    for (;;) {
        if (*n == MAX_ARGS) return fail(r, "too many values in a list");
        items[*n] =
            is_element_end(r, &word, &size) ? hy_new_text(r->e->arena, "") : read_element(r);
        if (!items[(*n)++]) return -1;
        word = hy_lex(r->s, &size);
        if (word != close && word != WORD_COMMA) return fail(r, "',' or a closing mark is missing");
        r->s += size;
        if (word == close) return 0;
    }
}

static HyNode *read_call(Reader *r, const char *name)
{
    int n;
    HyNode **args = hy_alloc(r->e->arena, MAX_ARGS * sizeof *args);
    r->s += strspn(r->s, " \t");
    if (read_sequence(r, WORD_BRACE_CLOSE, args, &n) < 0) return NULL;
    if (checks_only(r)) return hy_new_text(r->e->arena, "");
    return hy_call(r->e, name, args, n, r->box, r->node);
}

static bool is_inside(const HyNode *target, const HyNode *box)
{
    for (; box; box = box->parent) {
        if (box == target) return true;
    }
    return false;
}

static HyNode *lookup(Reader *r, const char *key)
{
    HyNode *value;
    char shown[NAME_SHOWN_MAX];
    if (checks_only(r)) return hy_new_text(r->e->arena, "");
    if (hy_select(r->e, r->box, key, true, &value) < 0) return NULL;
    if (!value) {
        const char *near = *key == '.' ? NULL : hy_key_nearest(r->e->arena, r->e->root, key);
        err_set(r->e->err, "there is no '%s'%s%s%s", name_show(shown, key),
                near ? "; did you mean '" : "", near ? near : "", near ? "'?" : "");
        return NULL;
    }
    if (hy_is_container(value) && is_inside(value, r->box)) {
        err_set(r->e->err, "'%s' is what the reference stands in", name_show(shown, key));
        return NULL;
    }
    return value;
}

/* After "${". */
static HyNode *read_reference_body(Reader *r)
{
    Text path = {0};
    bool is_name = true;
    r->s += strspn(r->s, " \t");
    for (; *r->s == '.'; r->s++) {
        is_name = false;
        if (grow_text(r->e, &path, ".") < 0) return NULL;
    }
    bool resolver_without_name = *r->s == ':';
    if (!resolver_without_name && read_path(r, &path, &is_name) < 0) return NULL;
    r->s += strspn(r->s, " \t");
    if (*r->s == '}') {
        r->s++;
        return lookup(r, path.data);
    }
    if (*r->s != ':' || !is_name || resolver_without_name) {
        return fail_null(r, "'${' without '}', or not a reference");
    }
    r->s++;
    return read_call(r, path.data);
}

static HyNode *read_reference(Reader *r)
{
    if (enter(r) < 0) return NULL;
    HyNode *value = read_reference_body(r);
    r->e->depth--;
    return value;
}

/* --- texts -------------------------------------------------------------------------------------*/

/* A run of backslashes: those before "${" and before the quote escape it, in pairs themselves. */
static int read_backslashes(Reader *r, Text *t, char quote)
{
    size_t n = strspn(r->s, "\\");
    const char *after = r->s + n;
    bool reference = strncmp(after, "${", 2) == 0;
    bool special = reference || (quote && *after == quote);
    if (!special) {
        TRY(grow(r->e, t, r->s, n));
        r->s = after;
        return 0;
    }
    TRY(grow(r->e, t, r->s, n / 2));
    size_t escaped = n % 2 == 0 ? 0 : reference ? 2 : 1;
    TRY(grow(r->e, t, after, escaped));
    r->s = after + escaped;
    return 0;
}

/* Up to the closing quote, or to the end where quote is 0. A lone reference keeps its value. */
static HyNode *read_text(Reader *r, char quote)
{
    HyEval *e = r->e;
    Text t = {0};
    HyNode *only = NULL;
    int pieces = 0;
    if (grow(e, &t, "", 0) < 0) return NULL;
    for (; *r->s && !(quote && *r->s == quote); pieces++) {
        int rc;
        if (strncmp(r->s, "${", 2) == 0) {
            r->s += 2;
            only = read_reference(r);
            if (!only) return NULL;
            rc = grow_text(e, &t, hy_str(e->arena, only));
        } else if (*r->s == '\\') {
            rc = read_backslashes(r, &t, quote);
        } else {
            size_t n = 1;
            while (r->s[n] && !strchr("\\$", r->s[n]) && !(quote && r->s[n] == quote)) n++;
            rc = grow(e, &t, r->s, n);
            r->s += n;
        }
        if (rc < 0) return NULL;
    }
    if (quote && *r->s != quote) return fail_null(r, "a quote is not closed");
    if (quote) r->s++;
    if (!quote && pieces == 1 && only) return only;
    HyNode *text = hy_new_text(e->arena, t.data);
    text->final = true;
    return text;
}

/* --- values within a reference -----------------------------------------------------------------*/

static bool is_primitive_word(Word word, bool is_key)
{
    if (word == WORD_COLON || word == WORD_REFERENCE) return !is_key;
    return hy_word_is_plain(word);
}

static HyNode *read_primitive(Reader *r, bool is_key)
{
    HyEval *e = r->e;
    Text t = {0};
    HyNode *value = NULL;
    int pieces = 0;
    size_t size;
    Word word;
    for (; word = hy_lex(r->s, &size), is_primitive_word(word, is_key); pieces++) {
        const char *s = r->s;
        r->s += size;
        value = word == WORD_REFERENCE ? read_reference(r) : hy_word_value(e->arena, word, s, size);
        if (!value) return NULL;
        bool by_value = word == WORD_REFERENCE || word == WORD_ESCAPE;
        int rc = by_value ? grow_text(e, &t, hy_str(e->arena, value)) : grow(e, &t, s, size);
        if (rc < 0) return NULL;
    }
    if (pieces == 0) return fail_null(r, "a value is missing or holds a character to be quoted");
    if (pieces > 1) value = hy_new_text(e->arena, t.data);
    return value;
}

/* A value to put into a new list or map. */
static HyNode *own(Reader *r, HyNode *value)
{
    HyNode *copy = value ? hy_copy(r->e->arena, value) : NULL;
    if (value && !copy) hy_check_size(r->e->arena, r->e->err);
    return copy;
}

static HyNode *read_list(Reader *r)
{
    int n;
    HyNode *list = hy_new(r->e->arena, HY_LIST);
    HyNode **items = hy_alloc(r->e->arena, MAX_ARGS * sizeof *items);
    if (read_sequence(r, WORD_BRACKET_CLOSE, items, &n) < 0) return NULL;
    for (int i = 0; i < n; i++) {
        HyNode *item = own(r, items[i]);
        if (!item) return NULL;
        hy_append(list, item);
    }
    return list;
}

static HyNode *read_map(Reader *r)
{
    size_t size;
    HyNode *map = hy_new(r->e->arena, HY_MAP);
    Word word = hy_lex(r->s, &size);
    if (word == WORD_BRACE_CLOSE) {
        r->s += size;
        return map;
    }
    for (;;) {
        HyNode *key = read_primitive(r, true);
        if (!key) return NULL;
        if (key->kind == HY_NULL) return fail_null(r, "null cannot be a key");
        if (hy_lex(r->s, &size) != WORD_COLON) return fail_null(r, "':' is missing after a key");
        r->s += size;
        HyNode *value = own(r, read_element(r));
        if (!value) return NULL;
        hy_set(map, key->kind, hy_str(r->e->arena, key), value);
        word = hy_lex(r->s, &size);
        if (word != WORD_COMMA && word != WORD_BRACE_CLOSE) return fail_null(r, "'}' is missing");
        r->s += size;
        if (word == WORD_BRACE_CLOSE) return map;
    }
}

static HyNode *read_element(Reader *r)
{
    size_t size;
    HyNode *value;
    if (enter(r) < 0) return NULL;
    Word word = hy_lex(r->s, &size);
    if (word == WORD_QUOTE) {
        char quote = *r->s++;
        value = read_text(r, quote);
    } else if (word == WORD_BRACKET_OPEN) {
        r->s += size;
        value = read_list(r);
    } else if (word == WORD_BRACE_OPEN) {
        r->s += size;
        value = read_map(r);
    } else {
        value = read_primitive(r, false);
    }
    r->e->depth--;
    return value;
}

HyNode *hy_decode(HyEval *e, const char *text, HyNode *box, HyNode *node)
{
    Reader r = {e, text, text, box, node};
    HyNode *value = read_element(&r);
    if (value && *r.s) return fail_null(&r, "text after the value");
    return value;
}

/* --- following ---------------------------------------------------------------------------------*/

int hy_check_reference(HyArena *a, const char *text, Err *err)
{
    HyEval e = {.arena = a, .err = err};
    Reader r = {&e, text, text, NULL, NULL};
    return read_text(&r, 0) ? 0 : -1;
}

HyNode *hy_follow(HyEval *e, HyNode *node)
{
    if (!hy_is_reference(node)) return node;
    Reader r = {e, node->text, node->text, node->parent, node};
    if (node->busy) return fail_null(&r, "references lead in a cycle");
    if (!node->parent) return fail_null(&r, "a reference outside a configuration");
    if (enter(&r) < 0) return NULL;
    node->busy = true;
    HyNode *value = read_text(&r, 0);
    node->busy = false;
    e->depth--;
    return value;
}
