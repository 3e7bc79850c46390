/* The defaults list: which files make up a configuration, in which order, each at which place. */
#ifndef TTT_HYDRA_DEFAULTS_H
#define TTT_HYDRA_DEFAULTS_H

#include "hydra/override.h"
#include "hydra/source.h"

/* One file of the result. */
typedef struct HyPart {
    const char *config, *package;
    const char *parent;       /* the file whose list names it, or <root>; NULL: none */
    const char *override_key; /* of a group's option; NULL: not one */
    bool is_self, primary;
} HyPart;

typedef struct HyEntry HyEntry;

typedef struct HyDefaults {
    HyPart *part;
    int n;
    HyEntry *tree;
    HyNode *choices;          /* group: option, as chosen */
    const HyOverride **value; /* the overrides that are values, in order */
    int n_values;
} HyDefaults;

/* primary: the name of the configuration that all starts from. skip_missing: a group that is ??? is
 * left out, as before a sweep. */
int hy_defaults(HyRepo *r, const char *primary, const HyOverride *overrides, int n,
                bool skip_missing, HyDefaults *out);
/* The tree as text: a file per line, indented. */
char *hy_defaults_tree(HyArena *a, const HyDefaults *d);

#endif
