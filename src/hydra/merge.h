/* Putting one tree on top of another, and changing values by override. */
#ifndef TTT_HYDRA_MERGE_H
#define TTT_HYDRA_MERGE_H

#include "hydra/override.h"
#include "hydra/refer.h"

/* Merges src into dest, both maps or both lists: maps key by key, lists and values as a whole; ???
 * changes nothing. closed: a key that dest does not have fails. */
int hy_merge(HyEval *e, HyNode *dest, const HyNode *src, bool closed);
/* What a "key: value" of a package does: puts src, a whole, at a dotted path of an empty map. */
HyNode *hy_embed(HyArena *a, const char *package, HyNode *src, Err *err);
/* Applies one override that is no group's. */
int hy_apply(HyEval *e, const HyOverride *o);
/* The names along a key, for "did you mean". */
const char *hy_key_nearest(HyArena *a, const HyNode *root, const char *key);

#endif
