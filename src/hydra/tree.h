/* A configuration as a tree of values with the place each was written at. One arena owns all nodes
 * and texts of a composition; nothing is freed singly. */
#ifndef TTT_HYDRA_TREE_H
#define TTT_HYDRA_TREE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>

#include "base/err.h"

enum {
    HY_MAX_PATH = 128,      /* parts of a dotted key */
    HY_MAX_DEPTH = 128,     /* nesting of one file or one value */
    HY_MAX_NESTING = 512,   /* of a whole tree, references filled in */
    HY_MAX_NODES = 1 << 20, /* of one composition */
    HY_MAX_TEXT = 4 << 20,  /* bytes of a file, an override or a filled-in text */
    HY_MAX_BYTES = 1 << 29  /* of one arena; work stops there */
};

typedef struct HyArena HyArena;

typedef enum HyKind { HY_NULL, HY_BOOL, HY_INT, HY_FLOAT, HY_TEXT, HY_LIST, HY_MAP } HyKind;

typedef struct HyNode HyNode;
struct HyNode {
    HyKind kind, key_kind;
    bool truth;       /* of a BOOL */
    bool final;       /* a TEXT that is no reference, whatever it looks like */
    bool busy;        /* its reference is being followed */
    char quote;       /* of a TEXT in an override: ' or ", else 0 */
    int line;         /* from 1; 0: not from a file */
    const char *file; /* or what else it is from: "override" */
    double number;    /* of a FLOAT */
    const char *text; /* of a TEXT; of an INT its decimal digits, as many as it has */
    const char *key;  /* in a map, as Python prints it; else NULL */
    HyNode *parent, *first, *last, *next;
};

typedef struct HyPath {
    int n;
    const char *part[HY_MAX_PATH];
} HyPath;

HyArena *hy_arena_new(void);
void hy_arena_free(HyArena *a); /* NULL is fine */
/* Zeroed. Out of memory ends the program; hy_full comes long before. */
void *hy_alloc(HyArena *a, size_t size);
char *hy_copy_text(HyArena *a, const char *text, size_t size);
char *hy_format(HyArena *a, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
/* A text that is printed piece by piece to p->out; its end moves it into the arena. */
typedef struct HyPrint {
    FILE *out;
    char *text;
    size_t size;
} HyPrint;
void hy_print_begin(HyPrint *p);
char *hy_print_end(HyPrint *p, HyArena *a);
/* "configuration too large" when the arena holds more than a configuration can need. */
int hy_check_size(const HyArena *a, Err *err);

HyNode *hy_new(HyArena *a, HyKind kind);
HyNode *hy_new_text(HyArena *a, const char *text);
HyNode *hy_new_bool(HyArena *a, bool truth);
HyNode *hy_new_int(HyArena *a, const char *digits);
HyNode *hy_new_float(HyArena *a, double number);
/* A copy without key, parent and neighbours; NULL when the arena is full. */
HyNode *hy_copy(HyArena *a, const HyNode *node);

bool hy_is_container(const HyNode *node); /* a list or map */
bool hy_is_missing(const HyNode *node);   /* ??? */
bool hy_is_reference(const HyNode *node); /* a text with ${...} still in it */

HyNode *hy_get(const HyNode *map, const char *key); /* by a text key; NULL: not there */
HyNode *hy_at(const HyNode *list, long index);
int hy_count(const HyNode *container);
/* Adds a child at the end, or puts it in the place of the child with that key. */
void hy_append(HyNode *list, HyNode *child);
void hy_set(HyNode *map, HyKind key_kind, const char *key, HyNode *child);
/* Puts `child` where `old` is, under its key. */
void hy_replace(HyNode *old, HyNode *child);
void hy_remove(HyNode *child);
/* The value at a dotted path of maps, made where it is not there; for trees of our own. */
void hy_put(HyArena *a, HyNode *root, const char *path, HyNode *child);
HyNode *hy_find(HyNode *root, const char *path);

/* Splits a.b, a[b], [a].b; fails when there are too many parts. */
int hy_path_split(HyArena *a, const char *text, HyPath *path, Err *err);
/* The key of a node from the root: "a.b[0]". */
const char *hy_full_key(HyArena *a, const HyNode *node);
/* Keys and texts of a file may hold line ends; a message is one line. Returns -1. */
int hy_one_line(Err *err);
/* "file:line", or what it is from. */
const char *hy_where(HyArena *a, const HyNode *node);

#endif
