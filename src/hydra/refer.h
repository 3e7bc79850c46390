/* References: ${a.b}, ${.sibling}, ${oc.env:NAME,default}, within texts and within each other. */
#ifndef TTT_HYDRA_REFER_H
#define TTT_HYDRA_REFER_H

#include <time.h>

#include "hydra/tree.h"

typedef struct HyEval {
    HyArena *arena;
    HyNode *root;  /* where absolute keys start; NULL: only the syntax is checked */
    HyNode *hydra; /* what ${hydra:...} looks into; NULL: nothing */
    time_t now;    /* of ${now:...}, the same for a whole command */
    int depth;     /* references and values within each other right now */
    bool missing;  /* the failure is a ??? that a reference leads to */
    bool no_box;   /* the failure is a key below something that has no keys */
    Err *err;
} HyEval;

/* Whether a text with "${" is well formed. */
int hy_check_reference(HyArena *a, const char *text, Err *err);
/* What a value stands for: itself, or what its reference leads to. NULL on failure. */
HyNode *hy_follow(HyEval *e, HyNode *node);
/* The value at a key, references on the way followed: "a.b" from the root, ".b" from box, "..b"
 * from around it. 0 with *out NULL when nothing is there. A ??? fails where `strict`. */
int hy_select(HyEval *e, HyNode *box, const char *key, bool strict, HyNode **out);
/* A copy of a tree with all references filled in; ??? stays, or fails where `strict`. */
HyNode *hy_resolve(HyEval *e, HyNode *root, bool strict);
/* Fails when a ??? stands anywhere in the tree. */
int hy_check_missing(HyArena *a, const HyNode *root, Err *err);

/* Between refer.c and resolver.c: calls NAME with its arguments; box holds the value. */
HyNode *hy_call(HyEval *e, const char *name, HyNode *const *args, int n, HyNode *box,
                const HyNode *node);
/* Reads one element of the references' grammar, as ${oc.decode:...} does. */
HyNode *hy_decode(HyEval *e, const char *text, HyNode *box, HyNode *node);

#endif
