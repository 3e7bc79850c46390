/* YAML through libfyaml's events. A tree of our own keeps line numbers and the text of scalars, so
 * that messages can point at a line and types can follow the key table instead of YAML's guesses.
 */
#include "model/config_yaml.h"

#include <libfyaml.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "base/names.h"

enum { MAX_DEPTH = 64, MAX_NODES = 65536, MAX_CHILDREN = 4096 };

typedef struct Builder {
    struct fy_parser *parser;
    YamlDoc *doc;
    YamlNode *open[MAX_DEPTH]; /* the containers around the current event */
    int children[MAX_DEPTH];
    int depth, nodes, documents;
    bool lineless; /* one value of an override */
    char *key;     /* the map key read last, its value still to come */
    Err *err;
} Builder;

static void node_free(YamlNode *node)
{
    while (node) {
        YamlNode *next = node->next;
        node_free(node->first);
        free(node->key);
        free(node->text);
        free(node);
        node = next;
    }
}

void yaml_free(YamlDoc *doc)
{
    if (!doc) return;
    node_free(doc->root);
    free(doc->name);
    free(doc);
}

bool yaml_is_null(const YamlNode *node)
{
    static const char *const nulls[] = {"", "~", "null", "Null", "NULL"};
    if (node->kind != YAML_SCALAR || node->quoted) return false;
    for (int i = 0; i < ARRAY_LEN(nulls); i++) {
        if (strcmp(node->text, nulls[i]) == 0) return true;
    }
    return false;
}

const char *yaml_where(const YamlNode *node, char *out, int size)
{
    if (node->line > 0) {
        snprintf(out, (size_t)size, "%s:%d", node->file, node->line);
    } else {
        snprintf(out, (size_t)size, "%s", node->file);
    }
    return out;
}

static void *zalloc(size_t size)
{
    void *p = calloc(1, size);
    CHECK(p, "out of memory while reading a configuration");
    return p;
}

static char *text_copy(const char *text, size_t size)
{
    char *copy = zalloc(size + 1);
    if (size > 0) memcpy(copy, text, size);
    return copy;
}

static YamlDoc *doc_new(const char *name)
{
    YamlDoc *doc = zalloc(sizeof *doc);
    doc->name = text_copy(name, strlen(name));
    return doc;
}

static YamlNode *node_new(const YamlDoc *doc, YamlKind kind, int line)
{
    YamlNode *node = zalloc(sizeof *node);
    node->kind = kind;
    node->line = line;
    node->file = doc->name;
    return node;
}

/* --- building the tree, event by event ---------------------------------------------------------*/

static int build_fail(Builder *b, int line, const char *what)
{
    if (b->lineless) return err_set(b->err, "%s: %s", b->doc->name, what);
    return err_set(b->err, "%s:%d: %s", b->doc->name, line, what);
}

static int event_line(struct fy_event *event)
{
    const struct fy_mark *mark = fy_event_start_mark(event);
    return mark ? mark->line + 1 : 1;
}

/* Puts a node where it belongs; the tree owns it also on failure. */
static int node_attach(Builder *b, YamlNode *node)
{
    if (b->depth == 0) {
        b->doc->root = node;
        return 0;
    }
    YamlNode *parent = b->open[b->depth - 1];
    const YamlNode *twin = NULL;
    node->key = b->key;
    b->key = NULL;
    for (YamlNode *c = parent->first; c && node->key && !twin; c = c->next) {
        if (strcmp(c->key, node->key) == 0) twin = c;
    }
    if (parent->last) {
        parent->last->next = node;
    } else {
        parent->first = node;
    }
    parent->last = node;
    if (twin) {
        char shown[NAME_SHOWN_MAX];
        return err_set(b->err, "%s:%d: duplicate key '%s', first at line %d; keep one of them",
                       b->doc->name, node->line, name_show(shown, node->key), twin->line);
    }
    if (++b->children[b->depth - 1] > MAX_CHILDREN || ++b->nodes > MAX_NODES) {
        return build_fail(b, node->line,
                          "too many values for a configuration; is it the right "
                          "file?");
    }
    return 0;
}

static bool key_expected(const Builder *b)
{
    return b->depth > 0 && b->open[b->depth - 1]->kind == YAML_MAP && !b->key;
}

static int build_open(Builder *b, YamlKind kind, int line)
{
    if (key_expected(b)) return build_fail(b, line, "a key must be plain text");
    if (b->depth == MAX_DEPTH) return build_fail(b, line, "nested deeper than 64 levels");
    YamlNode *node = node_new(b->doc, kind, line);
    TRY(node_attach(b, node));
    b->open[b->depth] = node;
    b->children[b->depth++] = 0;
    return 0;
}

static int build_scalar(Builder *b, struct fy_event *event, int line)
{
    struct fy_token *token = event->scalar.value;
    size_t size = 0;
    const char *text = token ? fy_token_get_text(token, &size) : "";
    if (!text) text = "";
    if (memchr(text, 0, size)) return build_fail(b, line, "a NUL character in a value");
    if (key_expected(b)) {
        b->key = text_copy(text, size);
        return 0;
    }
    YamlNode *node = node_new(b->doc, YAML_SCALAR, line);
    node->text = text_copy(text, size);
    node->quoted = token && fy_token_scalar_style(token) != FYSS_PLAIN;
    return node_attach(b, node);
}

static bool event_is_tagged(struct fy_event *event)
{
    switch (event->type) {
    case FYET_SCALAR:
        return event->scalar.tag;
    case FYET_MAPPING_START:
        return event->mapping_start.tag;
    case FYET_SEQUENCE_START:
        return event->sequence_start.tag;
    default:
        return false;
    }
}

static int build_event(Builder *b, struct fy_event *event)
{
    int line = event_line(event);
    if (event_is_tagged(event)) return build_fail(b, line, "tags (!name) have no meaning here");
    switch (event->type) {
    case FYET_DOCUMENT_START:
        if (b->documents++ == 0) return 0;
        return build_fail(b, line, "a second document; a configuration is one document");
    case FYET_ALIAS:
        return build_fail(b, line,
                          "aliases (*name) have no meaning here; quote the "
                          "text if it starts with '*'");
    case FYET_SCALAR:
        return build_scalar(b, event, line);
    case FYET_MAPPING_START:
        return build_open(b, YAML_MAP, line);
    case FYET_SEQUENCE_START:
        return build_open(b, YAML_LIST, line);
    case FYET_MAPPING_END:
    case FYET_SEQUENCE_END:
        b->depth--;
        return 0;
    default:
        return 0;
    }
}

static int syntax_fail(Builder *b, struct fy_diag *diag)
{
    void *iter = NULL;
    const struct fy_diag_error *e = fy_diag_errors_iterate(diag, &iter);
    char what[256], shown[NAME_SHOWN_MAX];
    if (!e) return build_fail(b, 1, "not valid YAML");
    snprintf(what, sizeof what, "not valid YAML: %s (column %d)",
             name_show(shown, e->msg ? e->msg : "syntax error"), e->column);
    return build_fail(b, e->line, what);
}

static int build_tree(Builder *b, struct fy_diag *diag, const char *text, size_t size)
{
    struct fy_parse_cfg cfg = {.search_path = "",
                               .flags = FYPCF_QUIET | FYPCF_COLLECT_DIAG | FYPCF_JSON_NONE,
                               .diag = diag};
    b->parser = fy_parser_create(&cfg);
    CHECK(b->parser, "out of memory while reading a configuration");
    int rc = fy_parser_set_string(b->parser, text, size);
    struct fy_event *event;
    while (rc == 0 && (event = fy_parser_parse(b->parser)) != NULL) {
        rc = build_event(b, event);
        fy_parser_event_free(b->parser, event);
    }
    if (rc == 0 && fy_parser_get_stream_error(b->parser)) rc = syntax_fail(b, diag);
    fy_parser_destroy(b->parser);
    free(b->key);
    return rc;
}

/* "# @package NAME" in the comments at the top, as Hydra has it. */
static void package_read(YamlDoc *doc, const char *text, size_t size)
{
    const char *end = text + size;
    while (text < end && (*text == '#' || *text == '\n')) {
        const char *stop = memchr(text, '\n', (size_t)(end - text));
        if (!stop) stop = end;
        char line[128] = "";
        size_t n = (size_t)(stop - text);
        memcpy(line, text, n < sizeof line ? n : sizeof line - 1);
        if (sscanf(line, "# @package %63s", doc->package) == 1) return;
        text = stop < end ? stop + 1 : end;
    }
}

/* What is refused before libfyaml sees it: NUL bytes, and directives ("%YAML"), which have no use
 * here and on some of which libfyaml 0.7 never returns. */
static int text_check(Builder *b, const char *text, size_t size)
{
    int line = 1;
    if (memchr(text, 0, size)) {
        return err_set(b->err, "%s: a NUL byte; this is not a YAML text", b->doc->name);
    }
    for (size_t i = 0; i < size; i++) {
        bool first = i == 0 || text[i - 1] == '\n' || text[i - 1] == '\r';
        if (first && text[i] == '%') {
            return build_fail(b, line,
                              "a line starts with '%'; quote the text, or leave out the "
                              "directive");
        }
        line += text[i] == '\n';
    }
    return 0;
}

static YamlDoc *doc_build(const char *text, size_t size, const char *name, bool lineless, Err *err)
{
    Builder b = {.doc = doc_new(name), .lineless = lineless, .err = err};
    struct fy_diag *diag = fy_diag_create(NULL);
    CHECK(diag, "out of memory while reading a configuration");
    fy_diag_set_collect_errors(diag, true);
    if (size >= 3 && memcmp(text, "\xEF\xBB\xBF", 3) == 0)
        text += 3, size -= 3; /* an editor's BOM */
    int rc = text_check(&b, text, size);
    if (rc == 0) rc = build_tree(&b, diag, text, size);
    fy_diag_destroy(diag);
    if (rc < 0) {
        yaml_free(b.doc);
        return NULL;
    }
    if (!b.doc->root || yaml_is_null(b.doc->root)) {
        node_free(b.doc->root);
        b.doc->root = node_new(b.doc, YAML_MAP, 1);
    }
    package_read(b.doc, text, size);
    return b.doc;
}

YamlDoc *yaml_parse(const char *text, size_t size, const char *name, Err *err)
{
    return doc_build(text, size, name, false, err);
}

YamlDoc *yaml_read(const char *path, Err *err)
{
    char *data = NULL;
    size_t size = 0;
    if (file_read(path, &data, &size, YAML_MAX_BYTES, err) < 0) return NULL;
    YamlDoc *doc = yaml_parse(data, size, path, err);
    free(data);
    return doc;
}

static void lines_clear(YamlNode *node)
{
    for (; node; node = node->next) {
        node->line = 0;
        lines_clear(node->first);
    }
}

YamlDoc *yaml_value(const char *text, const char *name, Err *err)
{
    size_t size = strlen(text);
    while (size > 0 && (*text == ' ' || *text == '\t')) text++, size--;
    while (size > 0 && (text[size - 1] == ' ' || text[size - 1] == '\t')) size--;
    if (size > 0 && *text == '{') {
        err_set(err, "%s: a value in braces is a mapping; set its keys one by one", name);
        return NULL;
    }
    if (size > 0 && strchr("['\"", *text)) {
        YamlDoc *parsed = doc_build(text, size, name, true, err);
        if (parsed) lines_clear(parsed->root);
        return parsed;
    }
    YamlDoc *doc = doc_new(name);
    doc->root = node_new(doc, YAML_SCALAR, 0);
    doc->root->text = text_copy(text, size);
    doc->root->quoted = size == 0; /* "key=" is the empty text, not null */
    return doc;
}
