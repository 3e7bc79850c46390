/* Quoted texts of YAML, read from their source: libfyaml 0.7 misreads some ('x''''y', lines that
 * are folded after an escape). */
#ifndef TTT_HYDRA_QUOTED_H
#define TTT_HYDRA_QUOTED_H

#include "hydra/tree.h"

/* The text of a source with its quotes, single or double. NULL with *why set when it has none. */
const char *hy_quoted(HyArena *a, const char *source, size_t size, const char **why);

#endif
