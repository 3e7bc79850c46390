/* Trees as YAML and JSON. Depth is bounded by what could be built. */
#include "hydra/emit.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "hydra/emit_text.h"
#include "hydra/scalar.h"

static void put(Paper *p, const char *text)
{
    paper_put(p, text, strlen(text));
}

static void put_indent(Paper *p, int indent)
{
    for (int i = 0; i < indent; i++) put(p, " ");
}

/* "1e-05" is no float in YAML 1.1, "1.0e-05" is. */
static void put_float(Paper *p, double number)
{
    char out[40];
    if (isnan(number) || isinf(number)) {
        put(p, isnan(number) ? ".nan" : number < 0 ? "-.inf" : ".inf");
        return;
    }
    const char *text = hy_float_repr(number, out), *e = strchr(text, 'e');
    if (e && !strchr(text, '.')) {
        paper_put(p, text, (size_t)(e - text));
        put(p, ".0");
        text = e;
    }
    put(p, text);
}

static void put_typed_key(Paper *p, const HyNode *node)
{
    if (node->key_kind == HY_TEXT)
        paper_put_text(p, node->key, 0, true);
    else if (node->key_kind == HY_BOOL)
        put(p, *node->key == 'T' ? "true" : "false");
    else if (node->key_kind == HY_FLOAT)
        put_float(p, strtod(node->key, NULL));
    else
        put(p, node->key);
}

static void yaml_value(Paper *p, const HyNode *node, int indent, bool in_list);

static void yaml_children(Paper *p, const HyNode *node, int indent, bool first_placed)
{
    for (const HyNode *c = node->first; c; c = c->next) {
        if (c != node->first || !first_placed) put_indent(p, indent);
        if (node->kind == HY_LIST) {
            put(p, "-");
        } else if (c->key_kind != HY_TEXT || paper_is_simple_key(c->key)) {
            put_typed_key(p, c);
            put(p, ":");
        } else {
            put(p, "? ");
            paper_put_text(p, c->key, indent + 2, false);
            put(p, "\n");
            put_indent(p, indent);
            put(p, ":");
        }
        bool split =
            node->kind == HY_LIST || (c->key_kind == HY_TEXT && !paper_is_simple_key(c->key));
        yaml_value(p, c, indent, split);
    }
}

static void yaml_scalar(Paper *p, const HyNode *node, int indent)
{
    put(p, " ");
    switch (node->kind) {
    case HY_NULL:
        put(p, "null");
        break;
    case HY_BOOL:
        put(p, node->truth ? "true" : "false");
        break;
    case HY_INT:
        put(p, node->text);
        break;
    case HY_FLOAT:
        put_float(p, node->number);
        break;
    default:
        paper_put_text(p, node->text, indent + 2, false);
        break;
    }
    put(p, "\n");
}

/* After "key:" or "-". A list within a map stands at the map's own indent. */
static void yaml_value(Paper *p, const HyNode *node, int indent, bool in_list)
{
    if (!hy_is_container(node)) {
        yaml_scalar(p, node, indent);
    } else if (!node->first) {
        put(p, node->kind == HY_LIST ? " []\n" : " {}\n");
    } else if (in_list) {
        put(p, " ");
        yaml_children(p, node, indent + 2, true);
    } else {
        put(p, "\n");
        yaml_children(p, node, node->kind == HY_LIST ? indent : indent + 2, false);
    }
}

char *hy_yaml(HyArena *a, const HyNode *root)
{
    HyPrint print;
    hy_print_begin(&print);
    Paper p = {print.out, 0};
    if (root->first)
        yaml_children(&p, root, 0, false);
    else if (hy_is_container(root))
        put(&p, root->kind == HY_LIST ? "[]\n" : "{}\n");
    else
        put(&p, hy_format(a, "%s\n...\n", hy_str(a, root)));
    return hy_print_end(&print, a);
}

/* As Python's json module names keys that are no texts. */
static void put_json_key(Paper *p, const HyNode *node)
{
    const char *key = node->key;
    if (node->key_kind == HY_BOOL) key = *key == 'T' ? "true" : "false";
    if (node->key_kind == HY_FLOAT && strcmp(key, "nan") == 0) key = "NaN";
    if (node->key_kind == HY_FLOAT && strcmp(key, "inf") == 0) key = "Infinity";
    if (node->key_kind == HY_FLOAT && strcmp(key, "-inf") == 0) key = "-Infinity";
    paper_put_json(p, key);
}

static void json_value(Paper *p, const HyNode *node, int depth)
{
    char number[40];
    switch (node->kind) {
    case HY_NULL:
        put(p, "null");
        return;
    case HY_BOOL:
        put(p, node->truth ? "true" : "false");
        return;
    case HY_INT:
        put(p, node->text);
        return;
    case HY_FLOAT:
        if (isfinite(node->number)) {
            put(p, hy_float_repr(node->number, number));
        } else {
            put(p, "{\"$float\": \"");
            put(p, hy_float_repr(node->number, number));
            put(p, "\"}");
        }
        return;
    case HY_TEXT:
        paper_put_json(p, node->text);
        return;
    case HY_LIST:
    case HY_MAP:
        break;
    }
    put(p, node->kind == HY_LIST ? "[" : "{");
    for (const HyNode *c = node->first; c; c = c->next) {
        put(p, c == node->first ? "\n" : ",\n");
        put_indent(p, 2 * (depth + 1));
        if (node->kind == HY_MAP) {
            put_json_key(p, c);
            put(p, ": ");
        }
        json_value(p, c, depth + 1);
    }
    if (node->first) {
        put(p, "\n");
        put_indent(p, 2 * depth);
    }
    put(p, node->kind == HY_LIST ? "]" : "}");
}

char *hy_json(HyArena *a, const HyNode *root)
{
    HyPrint print;
    hy_print_begin(&print);
    Paper p = {print.out, 0};
    json_value(&p, root, 0);
    put(&p, "\n");
    return hy_print_end(&print, a);
}
