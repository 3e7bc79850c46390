/* Where configurations come from: what is built in, then folders in order. */
#ifndef TTT_HYDRA_SOURCE_H
#define TTT_HYDRA_SOURCE_H

#include "hydra/tree.h"

enum { HY_MAX_FOLDERS = 16 };

typedef struct HyFolder {
    const char *provider, *path; /* "main", "command-line", ... */
} HyFolder;

typedef struct HyFile HyFile;
struct HyFile {
    const char *name;        /* "model/tiny" */
    const char *path;        /* where it lies, for messages */
    const char *package;     /* of its "# @package" line; NULL: none */
    HyNode *root, *defaults; /* its values; its defaults list, NULL: none */
    HyFile *next;
};

typedef struct HyRepo {
    HyArena *arena;
    HyFolder folder[HY_MAX_FOLDERS];
    int n;
    HyFile *files; /* read so far */
    Err *err;
} HyRepo;

int hy_repo_add(HyRepo *r, const char *provider, const char *path);
bool hy_group_exists(const HyRepo *r, const char *group);
bool hy_config_exists(const HyRepo *r, const char *name);
/* *out is NULL when there is no such configuration. */
int hy_config_load(HyRepo *r, const char *name, HyFile **out);
/* The options of a group by name, sorted: a list of texts. With below: those in its folders too. */
HyNode *hy_group_options(const HyRepo *r, const char *group, bool below);
/* "no GROUP 'OPTION'; did you mean ...? there is ...". Returns -1. */
int hy_option_unknown(const HyRepo *r, const char *group, const char *option, const char *place);

typedef struct HyBuiltin {
    const char *name, *text;
} HyBuiltin;
const HyBuiltin *hy_builtins(int *n);

#endif
