/* From a folder of configurations and a command line to one tree: Hydra's composition. */
#ifndef TTT_HYDRA_COMPOSE_H
#define TTT_HYDRA_COMPOSE_H

#include "hydra/defaults.h"
#include "hydra/refer.h"

typedef struct HyOptions {
    HyFolder folder[HY_MAX_FOLDERS]; /* in the order of the search */
    int n_folders;
    const char *config_name; /* the primary configuration: "config" */
    const char *const *overrides;
    int n_overrides;
    const char *base;       /* YAML of what stands below everything, NULL: nothing */
    bool multirun;          /* compose what a sweep starts from: sweeps are left out */
    const char *job;        /* hydra.job.name, unless it is given */
    long num;               /* hydra.job.num of a job in a sweep; below 0: none */
    const char *output_dir; /* hydra.runtime.output_dir, NULL: not known */
    time_t now;
} HyOptions;

typedef struct HyConfig {
    HyArena *arena;      /* owns all that follows */
    HyNode *all;         /* the tree with its hydra node */
    HyNode *job;         /* the tree without it */
    HyNode *hydra;       /* in `all` */
    bool wants_multirun; /* hydra.mode is MULTIRUN where nobody has said -m */
    HyRepo repo;
    HyDefaults defaults;
    HyOverride *override;
    int n_overrides;
    time_t now;
} HyConfig;

/* Fills c; hy_config_free is right in any case. */
int hy_compose(HyConfig *c, const HyOptions *o, Err *err);
void hy_config_free(HyConfig *c);
/* What follows references in the job's tree, or in the whole with hydra's node. */
HyEval hy_eval_job(HyConfig *c, Err *err);
HyEval hy_eval_all(HyConfig *c, Err *err);
/* The text at a key of the whole tree, references filled in; NULL on failure. */
const char *hy_config_text(HyConfig *c, const char *key, Err *err);

/* The overrides of each job of a sweep, in order: a list of lists of texts. NULL on failure. */
HyNode *hy_sweep(HyConfig *c, Err *err);

#endif
