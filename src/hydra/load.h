/* YAML text as a tree, typed as PyYAML and OmegaConf type it. */
#ifndef TTT_HYDRA_LOAD_H
#define TTT_HYDRA_LOAD_H

#include "hydra/tree.h"

/* The one document of a text; an empty one is an empty map, a lone text a map of that key to null.
 * name stands in messages. NULL on failure: bad syntax, a duplicate key, nesting deeper than
 * HY_MAX_DEPTH, too many values, NUL, invalid UTF-8. */
HyNode *hy_load_text(HyArena *a, const char *text, size_t size, const char *name, Err *err);

#endif
