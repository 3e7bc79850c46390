/* YAML text as a small tree. Scalars stay text with a quoted flag: their types are the table's. */
#ifndef TTT_MODEL_CONFIG_YAML_H
#define TTT_MODEL_CONFIG_YAML_H

#include <stdbool.h>
#include <stddef.h>

#include "base/err.h"

enum { YAML_MAX_BYTES = 4 << 20 };

typedef enum YamlKind { YAML_SCALAR, YAML_LIST, YAML_MAP } YamlKind;

typedef struct YamlNode YamlNode;
struct YamlNode {
    YamlKind kind;
    bool quoted;      /* a quoted or block scalar: 'null' in quotes is text */
    int line;         /* from 1; 0 in an override */
    const char *file; /* for messages; lives as long as the document */
    char *key;        /* in a map: its name; else NULL */
    char *text;       /* of a scalar: UTF-8 without NUL; else NULL */
    YamlNode *first, *last, *next;
};

typedef struct YamlDoc {
    char *name;
    char package[64]; /* of a leading "# @package NAME" comment, else "" */
    YamlNode *root;   /* an empty document is an empty map */
} YamlDoc;

/* The one document of a text. name stands in messages ("configs/model/tiny.yaml"). NULL on failure:
 * bad syntax, a duplicate key, an alias or tag, nesting deeper than 64, too many values. */
YamlDoc *yaml_parse(const char *text, size_t size, const char *name, Err *err);
/* The same from a file of at most 4 MiB. */
YamlDoc *yaml_read(const char *path, Err *err);
/* The value of an override: a plain scalar as it stands, a quoted scalar, or a [list]. */
YamlDoc *yaml_value(const char *text, const char *name, Err *err);
void yaml_free(YamlDoc *doc);

/* Whether a node is an unquoted null, ~ or nothing. */
bool yaml_is_null(const YamlNode *node);
/* "file:line", or the name alone without a line. Returns out. */
const char *yaml_where(const YamlNode *node, char *out, int size);

#endif
