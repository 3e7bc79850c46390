/* One line of a defaults list, and the names that follow from where it stands. */
#ifndef TTT_HYDRA_DEFAULTS_ENTRY_H
#define TTT_HYDRA_DEFAULTS_ENTRY_H

#include "hydra/defaults.h"

struct HyEntry {
    bool is_group, is_root; /* "group: option", or a file's path alone; the root holds both trees */
    const char *group;      /* a group, or a path */
    const char *value;      /* of a group: its option; NULL: none */
    const HyNode *options;  /* of a group with several options */
    const char *package;    /* after '@' */
    const char *header;     /* of the file's "# @package" */
    const char *parent_group, *parent_package;
    bool optional, override, primary, appended, deleted;
    const char *place; /* "file:line", or "override" */
    HyEntry **child;
    int n_children; /* -1: never expanded; it stands for itself */
};

/* Reads a line "group: option", "override group@package: option", "path", "_self_". */
int hy_entry_read(HyArena *a, const HyNode *line, HyEntry *out, Err *err);
void hy_entry_place(HyArena *a, HyEntry *e, const char *parent_group, const char *parent_package);
bool hy_entry_is_self(const HyEntry *e);
bool hy_entry_is_missing(const HyEntry *e); /* its option is ??? */
/* The folder of its options, the file it names, the place of its values. */
const char *hy_entry_group(HyArena *a, const HyEntry *e);
const char *hy_entry_config(HyArena *a, const HyEntry *e);
const char *hy_entry_package(HyArena *a, const HyEntry *e, bool with_header);
/* What overrides call it: "group", or "group@package". */
const char *hy_entry_key(HyArena *a, const HyEntry *e);
/* Its option, or the file's name; NULL: none. */
const char *hy_entry_name(const HyEntry *e);
void hy_entry_header(HyArena *a, HyEntry *e, const char *header);

/* Fills the list of d from its tree. */
int hy_defaults_parts(HyArena *a, HyDefaults *d, Err *err);

#endif
