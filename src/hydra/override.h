/* One override of a command line: KEY=VALUE, +KEY=VALUE, ++KEY=VALUE, ~KEY, GROUP@PACKAGE=OPTION,
 * and the values that stand for several jobs. */
#ifndef TTT_HYDRA_OVERRIDE_H
#define TTT_HYDRA_OVERRIDE_H

#include "hydra/tree.h"

typedef enum HyChange { HY_CHANGE, HY_ADD, HY_FORCE_ADD, HY_DELETE } HyChange;

typedef enum HySweep {
    HY_ONE,           /* no sweep: the value itself */
    HY_SIMPLE_CHOICE, /* a,b: a list of the elements */
    HY_CHOICE,        /* choice(a,b) */
    HY_RANGE,         /* a list of start, stop (null: start is the stop) and step */
    HY_INTERVAL,      /* a list of start and end */
    HY_GLOB           /* a list of two lists of patterns: in, out */
} HySweep;

typedef struct HyValue {
    HySweep sweep;
    bool shuffle;
    HyNode *node;
} HyValue;

typedef struct HyOverride {
    HyChange change;
    const char *key, *package; /* package: after '@', else NULL */
    const char *line;          /* as it was given */
    bool has_value;            /* false: "~key" alone */
    HyValue value;
} HyOverride;

int hy_override_parse(HyArena *a, const char *line, HyOverride *out, Err *err);
/* "+model@pkg": what the same key means in a sweep. */
const char *hy_override_key(HyArena *a, const HyOverride *o);
/* A value as it would be written in an override. */
const char *hy_override_text(HyArena *a, const HyNode *value);
/* Whether it is about hydra's own node. */
bool hy_override_is_hydra(const HyOverride *o);

/* Between override.c and function.c: NAME(args..., names=...). name[i] is NULL for a positional
 * argument. */
int hy_function(HyArena *a, const char *function, HyValue *arg, const char *const *name, int n,
                HyValue *out, Err *err);

#endif
