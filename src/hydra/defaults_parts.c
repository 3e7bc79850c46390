/* What the tree of defaults comes to: the list of files in order, and the tree as text. */
#include <stdio.h>
#include <string.h>

#include "hydra/defaults_entry.h"

enum { MAX_PARTS = 4096 };

typedef struct Parts {
    HyArena *arena;
    HyDefaults *out;
    Err *err;
} Parts;

static int part_add(Parts *b, const HyEntry *tree, const HyEntry *above, const HyEntry *e)
{
    HyDefaults *d = b->out;
    if (e->deleted || !hy_entry_name(e) || hy_entry_is_missing(e)) return 0;
    if (d->n == MAX_PARTS) return err_set(b->err, "more than %d files", MAX_PARTS);
    bool self = hy_entry_is_self(e);
    const HyEntry *named = self ? tree : e, *parent = self ? above : tree;
    HyPart part = {.config = hy_entry_config(b->arena, named),
                   .package = hy_entry_package(b->arena, named, true),
                   .parent = !parent           ? NULL
                             : parent->is_root ? "<root>"
                                               : hy_entry_config(b->arena, parent),
                   .is_self = self,
                   .primary = named->primary};
    if (!self && e->is_group) part.override_key = hy_entry_key(b->arena, e);
    for (int i = 0; part.override_key && i < d->n; i++) {
        const char *key = d->part[i].override_key;
        if (!key || strcmp(key, part.override_key) != 0) continue;
        return err_set(b->err, "%s: '%s' is chosen more than once", e->place, key);
    }
    d->part[d->n++] = part;
    return 0;
}

static int walk(Parts *b, const HyEntry *e, const HyEntry *above)
{
    if (e->n_children <= 0) return part_add(b, above, NULL, e);
    for (int i = 0; i < e->n_children; i++) {
        const HyEntry *c = e->child[i];
        if (c->n_children <= 0) {
            TRY(part_add(b, e, above, c));
        } else {
            TRY(walk(b, c, e));
        }
    }
    return 0;
}

int hy_defaults_parts(HyArena *a, HyDefaults *d, Err *err)
{
    Parts parts = {a, d, err};
    d->part = hy_alloc(a, MAX_PARTS * sizeof *d->part);
    return walk(&parts, d->tree, NULL);
}

static void tree_print(FILE *out, HyArena *a, const HyEntry *e, int depth)
{
    fprintf(out, "%*s", 2 * depth, "");
    if (e->is_root)
        fputs("<root>", out);
    else if (hy_entry_is_self(e))
        fputs("_self_", out);
    else if (e->is_group)
        fprintf(out, "%s: %s", hy_entry_key(a, e), e->value ? e->value : "null");
    else
        fputs(hy_entry_config(a, e), out);
    fputs(e->n_children > 0 ? ":\n" : "\n", out);
    for (int i = 0; i < e->n_children; i++) tree_print(out, a, e->child[i], depth + 1);
}

char *hy_defaults_tree(HyArena *a, const HyDefaults *d)
{
    HyPrint p;
    hy_print_begin(&p);
    tree_print(p.out, a, d->tree, 0);
    return hy_print_end(&p, a);
}
