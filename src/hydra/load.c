/* YAML through libfyaml's events, which are YAML 1.2, with the types of YAML 1.1 that
 * configurations of Hydra are written for. Anchors, aliases and merge keys work; tags only for the
 * plain types. */
#include "hydra/load.h"

#include <libfyaml.h>
#include <stdio.h>
#include <string.h>

#include "base/mem.h"
#include "base/names.h"
#include "base/utf8.h"
#include "hydra/quoted.h"
#include "hydra/scalar.h"

enum { MAX_CHILDREN = 4096, MAX_FILE_NODES = 1 << 16 };

typedef struct Anchor Anchor;
struct Anchor {
    const char *name;
    const HyNode *node;
    Anchor *next;
};

typedef struct Key {
    const char *text; /* NULL: none is read */
    HyKind kind;
    int line;
    bool merge; /* << */
} Key;

typedef struct Open {
    HyNode *node;
    int children;
    Key key;
    HyNode *merged; /* a list of what << named; those give way to the map's own keys */
} Open;

typedef struct Loader {
    HyArena *arena;
    const char *name, *text;
    size_t size;
    const char *why; /* a text cannot be read */
    Open open[HY_MAX_DEPTH];
    int depth, nodes, documents;
    HyNode *root;
    Anchor *anchors;
    Err *err;
} Loader;

static int fail(Loader *l, int line, const char *what)
{
    return err_set(l->err, "%s:%d: %s", l->name, line, what);
}

static int event_line(struct fy_event *event)
{
    const struct fy_mark *mark = fy_event_start_mark(event);
    return mark ? mark->line + 1 : 1;
}

/* The source of a quoted text with its quotes; the token's marks are within them. */
static const char *quoted_text(Loader *l, struct fy_token *token)
{
    const struct fy_mark *start = fy_token_start_mark(token), *end = fy_token_end_mark(token);
    if (!start || !end || start->input_pos == 0 || end->input_pos < start->input_pos ||
        end->input_pos >= l->size) {
        l->why = "a quoted text without its end";
        return NULL;
    }
    return hy_quoted(l->arena, l->text + start->input_pos - 1,
                     end->input_pos - start->input_pos + 2, &l->why);
}

/* NULL with l->why when it cannot be. For an empty block text at the end of a file libfyaml gives
 * NULs alone. */
static const char *token_text(Loader *l, struct fy_token *token)
{
    size_t size = 0, nuls = 0;
    if (!token) return "";
    enum fy_scalar_style style = fy_token_scalar_style(token);
    if (style == FYSS_SINGLE_QUOTED || style == FYSS_DOUBLE_QUOTED) return quoted_text(l, token);
    const char *text = fy_token_get_text(token, &size);
    if (!text) return "";
    for (size_t i = 0; i < size; i++) nuls += text[i] == 0;
    bool block = style == FYSS_LITERAL || style == FYSS_FOLDED;
    if (nuls > 0 && block && nuls == size) return "";
    l->why = "a NUL character in a value";
    return nuls > 0 ? NULL : hy_copy_text(l->arena, text, size);
}

static Open *top(Loader *l)
{
    return l->depth > 0 ? &l->open[l->depth - 1] : NULL;
}

static bool key_expected(Loader *l)
{
    Open *o = top(l);
    return o && o->node->kind == HY_MAP && !o->key.text;
}

/* --- << ----------------------------------------------------------------------------------------*/

/* Its children may still come: they are looked at when the map around it is closed. */
static int merge_note(Loader *l, Open *o, HyNode *node)
{
    if (!hy_is_container(node)) {
        return fail(l, node->line, "'<<' takes a mapping or a list of them");
    }
    if (!o->merged) o->merged = hy_new(l->arena, HY_LIST);
    hy_append(o->merged, node);
    return 0;
}

/* A list is taken from its end, so that of two mappings with a key the first one wins. */
static int merge_take(Loader *l, HyNode *map, const HyNode *from)
{
    if (from->kind == HY_LIST) {
        for (long i = hy_count(from) - 1; i >= 0; i--) {
            const HyNode *item = hy_at(from, i);
            if (item->kind != HY_MAP) return fail(l, from->line, "'<<' takes mappings");
            TRY(merge_take(l, map, item));
        }
        return 0;
    }
    for (const HyNode *c = from->first; c; c = c->next) {
        HyNode *copy = hy_copy(l->arena, c);
        if (!copy) return hy_check_size(l->arena, l->err);
        hy_set(map, c->key_kind, c->key, copy);
    }
    return 0;
}

/* Merged keys stand first; the map's own keys win. */
static int merge_apply(Loader *l, Open *o)
{
    if (!o->merged) return 0;
    HyNode *own = hy_copy(l->arena, o->node);
    if (!own) return hy_check_size(l->arena, l->err);
    o->node->first = o->node->last = NULL;
    for (const HyNode *m = o->merged->first; m; m = m->next) TRY(merge_take(l, o->node, m));
    return merge_take(l, o->node, own);
}

/* --- building ----------------------------------------------------------------------------------*/

static int attach(Loader *l, HyNode *node)
{
    Open *o = top(l);
    if (++l->nodes > MAX_FILE_NODES || (o && ++o->children > MAX_CHILDREN)) {
        return fail(l, node->line, "too many values for a configuration; is it the right file?");
    }
    if (!o) {
        l->root = node;
        return 0;
    }
    if (o->node->kind == HY_LIST) {
        hy_append(o->node, node);
        return 0;
    }
    Key key = o->key;
    o->key.text = NULL;
    if (key.merge) return merge_note(l, o, node);
    const HyNode *twin = key.kind == HY_TEXT ? hy_get(o->node, key.text) : NULL;
    if (twin) {
        char shown[NAME_SHOWN_MAX];
        return err_set(l->err, "%s:%d: duplicate key '%s', first at line %d; keep one of them",
                       l->name, key.line, name_show(shown, key.text), twin->line);
    }
    node->line = key.line; /* where a reader looks for it */
    hy_set(o->node, key.kind, key.text, node);
    return 0;
}

static int take_anchor(Loader *l, struct fy_token *token, const HyNode *node)
{
    const char *name = token ? token_text(l, token) : NULL;
    if (!name) return 0;
    Anchor *anchor = hy_alloc(l->arena, sizeof *anchor);
    *anchor = (Anchor){name, node, l->anchors};
    l->anchors = anchor;
    return 0;
}

static int take_key(Loader *l, const char *text, bool plain, int line)
{
    Open *o = top(l);
    o->key = (Key){text, HY_TEXT, line, plain && strcmp(text, "<<") == 0};
    if (!plain || o->key.merge) return 0;
    const HyNode *typed = hy_yaml_plain(l->arena, text, l->err);
    if (!typed) return err_wrap(l->err, "%s:%d", l->name, line);
    if (typed->kind == HY_NULL) return fail(l, line, "null cannot be a key; quote it");
    o->key.kind = typed->kind;
    o->key.text = hy_str(l->arena, typed);
    return 0;
}

/* A tag that names a plain type, and NULL for another. */
static HyNode *tagged(Loader *l, const char *tag, const char *text)
{
    static const char yaml[] = "tag:yaml.org,2002:";
    HyArena *a = l->arena;
    if (strncmp(tag, yaml, sizeof yaml - 1) == 0) tag += sizeof yaml - 1;
    if (strncmp(tag, "!!", 2) == 0) tag += 2;
    if (strcmp(tag, "str") == 0 || strcmp(tag, "!") == 0) return hy_new_text(a, text);
    if (strcmp(tag, "null") == 0) return hy_new(a, HY_NULL);
    if (strcmp(tag, "float") == 0) return hy_float_of_text(a, text);
    HyNode *node = hy_yaml_plain(a, text, l->err);
    if (node && strcmp(tag, "int") == 0 && node->kind == HY_INT) return node;
    if (node && strcmp(tag, "bool") == 0 && node->kind == HY_BOOL) return node;
    return NULL;
}

static int take_scalar(Loader *l, struct fy_event *event, int line)
{
    struct fy_token *token = event->scalar.value;
    const char *text = token_text(l, token);
    if (!text) return fail(l, line, l->why);
    bool plain = !token || fy_token_scalar_style(token) == FYSS_PLAIN;
    if (key_expected(l)) return take_key(l, text, plain && !event->scalar.tag, line);
    HyNode *node = plain ? NULL : hy_new_text(l->arena, text);
    if (event->scalar.tag) {
        const char *tag = token_text(l, event->scalar.tag);
        node = tag ? tagged(l, tag, text) : NULL;
        if (!node) return fail(l, line, "a tag that has no meaning here, or not for this value");
    } else if (plain) {
        node = hy_yaml_plain(l->arena, text, l->err);
        if (!node) return err_wrap(l->err, "%s:%d", l->name, line);
    }
    node->line = line;
    node->file = l->name;
    TRY(take_anchor(l, event->scalar.anchor, node));
    return attach(l, node);
}

static int take_open(Loader *l, HyKind kind, struct fy_token *anchor, struct fy_token *tag,
                     int line)
{
    if (key_expected(l)) return fail(l, line, "a key must be plain text");
    if (tag) return fail(l, line, "tags (!name) have no meaning here");
    if (l->depth == HY_MAX_DEPTH) return fail(l, line, "nested deeper than 128 levels");
    HyNode *node = hy_new(l->arena, kind);
    node->line = line;
    node->file = l->name;
    TRY(attach(l, node));
    TRY(take_anchor(l, anchor, node));
    l->open[l->depth++] = (Open){.node = node};
    return 0;
}

static int take_close(Loader *l)
{
    TRY(merge_apply(l, top(l)));
    l->depth--;
    return 0;
}

static int take_alias(Loader *l, struct fy_event *event, int line)
{
    const char *name = token_text(l, event->alias.anchor);
    const HyNode *node = NULL;
    for (const Anchor *x = l->anchors; x && name && !node; x = x->next) {
        if (strcmp(x->name, name) == 0) node = x->node;
    }
    if (!node)
        return fail(l, line,
                    "an alias (*name) without its anchor (&name) before it; quote the text if it "
                    "starts with '*'");
    for (int i = 0; i < l->depth; i++) {
        if (l->open[i].node == node) return fail(l, line, "an alias within its own anchor");
    }
    if (key_expected(l)) {
        if (node->kind != HY_TEXT) return fail(l, line, "a key must be plain text");
        return take_key(l, node->text, false, line);
    }
    HyNode *copy = hy_copy(l->arena, node);
    if (!copy) return hy_check_size(l->arena, l->err);
    copy->line = line;
    return attach(l, copy);
}

static int take_event(Loader *l, struct fy_event *event)
{
    int line = event_line(event);
    switch (event->type) {
    case FYET_DOCUMENT_START:
        if (l->documents++ == 0) return 0;
        return fail(l, line, "a second document; a configuration is one document");
    case FYET_ALIAS:
        return take_alias(l, event, line);
    case FYET_SCALAR:
        return take_scalar(l, event, line);
    case FYET_MAPPING_START:
        return take_open(l, HY_MAP, event->mapping_start.anchor, event->mapping_start.tag, line);
    case FYET_SEQUENCE_START:
        return take_open(l, HY_LIST, event->sequence_start.anchor, event->sequence_start.tag, line);
    case FYET_MAPPING_END:
    case FYET_SEQUENCE_END:
        return take_close(l);
    default:
        return 0;
    }
}

static int syntax_fail(Loader *l, struct fy_diag *diag)
{
    void *iter = NULL;
    const struct fy_diag_error *e = fy_diag_errors_iterate(diag, &iter);
    char what[256], shown[NAME_SHOWN_MAX];
    if (!e) return fail(l, 1, "not valid YAML");
    snprintf(what, sizeof what, "not valid YAML: %s (column %d)",
             name_show(shown, e->msg ? e->msg : "syntax error"), e->column);
    return fail(l, e->line, what);
}

static int parse(Loader *l, struct fy_diag *diag, const char *text, size_t size)
{
    struct fy_parse_cfg cfg = {.search_path = "",
                               .flags = FYPCF_QUIET | FYPCF_COLLECT_DIAG | FYPCF_JSON_NONE,
                               .diag = diag};
    struct fy_parser *parser = fy_parser_create(&cfg);
    mem_need(parser, "a configuration");
    int rc = fy_parser_set_string(parser, text, size);
    struct fy_event *event;
    while (rc == 0 && (event = fy_parser_parse(parser)) != NULL) {
        rc = take_event(l, event);
        fy_parser_event_free(parser, event);
    }
    if (rc == 0 && fy_parser_get_stream_error(parser)) rc = syntax_fail(l, diag);
    fy_parser_destroy(parser);
    return rc;
}

/* Brackets within brackets, on the safe side: those in quotes and comments count too. libfyaml's
 * own stack stays small this way. */
static bool is_deep(const char *text, size_t size)
{
    int depth = 0;
    for (size_t i = 0; i < size; i++) {
        if (text[i] == '[' || text[i] == '{') depth++;
        if ((text[i] == ']' || text[i] == '}') && depth > 0) depth--;
        if (depth > 8 * HY_MAX_DEPTH) return true;
    }
    return false;
}

/* What is refused before libfyaml sees it: what is not text, and directives ("%YAML"), which have
 * no use here and on some of which libfyaml 0.7 never returns. */
static int text_check(Loader *l, const char *text, size_t size)
{
    int line = 1;
    if (size > HY_MAX_TEXT) {
        return err_set(l->err, "%s: %zu bytes; a configuration has at most %d", l->name, size,
                       HY_MAX_TEXT);
    }
    const char *nul = memchr(text, 0, size);
    if (nul) {
        for (const char *c = text; c < nul; c++) line += *c == '\n';
        return fail(l, line, "a NUL byte; this is not a YAML text");
    }
    if (!utf8_is(text, size)) {
        return err_set(l->err, "%s: not UTF-8; save it as UTF-8", l->name);
    }
    if (is_deep(text, size)) {
        return err_set(l->err, "%s: nested deeper than %d levels", l->name, HY_MAX_DEPTH);
    }
    for (size_t i = 0; i < size; i++) {
        bool first = i == 0 || text[i - 1] == '\n' || text[i - 1] == '\r';
        if (first && text[i] == '%') {
            return fail(l, line,
                        "a line starts with '%'; quote the text, or leave out the directive");
        }
        line += text[i] == '\n';
    }
    return 0;
}

static HyNode *root_as_container(Loader *l)
{
    HyNode *root = l->root;
    if (root && hy_is_container(root)) return root;
    HyNode *map = hy_new(l->arena, HY_MAP);
    map->file = l->name;
    map->line = 1;
    if (!root || root->kind == HY_NULL) return map;
    if (root->kind != HY_TEXT) {
        fail(l, root->line, "a configuration is a mapping, not a single value");
        return NULL;
    }
    HyNode *null = hy_new(l->arena, HY_NULL);
    null->file = l->name;
    null->line = root->line;
    hy_set(map, HY_TEXT, root->text, null);
    return map;
}

HyNode *hy_load_text(HyArena *a, const char *text, size_t size, const char *name, Err *err)
{
    Loader *l = hy_alloc(a, sizeof *l);
    l->arena = a;
    l->name = hy_copy_text(a, name, strlen(name));
    l->err = err;
    if (size >= 3 && memcmp(text, "\xEF\xBB\xBF", 3) == 0) text += 3, size -= 3; /* a BOM */
    l->text = text;
    l->size = size;
    if (text_check(l, text, size) < 0) return NULL;
    struct fy_diag *diag = fy_diag_create(NULL);
    mem_need(diag, "a configuration");
    fy_diag_set_collect_errors(diag, true);
    int rc = parse(l, diag, text, size);
    fy_diag_destroy(diag);
    return rc < 0 ? NULL : root_as_container(l);
}
