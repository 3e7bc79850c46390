/* A configuration while it is put together: per key the last value given, as text, with its place.
 * Types are checked at the end, when references between keys can be followed. */
#ifndef TTT_MODEL_CONFIG_DRAFT_H
#define TTT_MODEL_CONFIG_DRAFT_H

#include "model/config_table.h"

typedef struct Draft {
    const YamlNode *value[CONFIG_KEYS_MAX]; /* by row; NULL: not given. Documents own the nodes */
} Draft;

/* Takes all keys of a map under the section prefix ("" or "model"); skips a root key `defaults`. */
int draft_merge(Draft *d, const YamlNode *map, const char *prefix, Err *err);
/* Takes one value for a dotted key, or the keys of a map. */
int draft_put(Draft *d, const char *key, const YamlNode *value, Err *err);
/* The defaults with all values set on top, output_size following vocab_size unless given. follow:
 * fill in references; without it "${" stays as it is, as in a resolved file. */
int draft_finish(const Draft *d, Config *c, bool follow, Err *err);

#endif
