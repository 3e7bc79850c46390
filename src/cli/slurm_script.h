/* What the keys of hydra.launcher mean to Slurm, and the script for sbatch that they become. Only
 * text: nothing here asks Slurm or touches a file. */
#ifndef TTT_CLI_SLURM_SCRIPT_H
#define TTT_CLI_SLURM_SCRIPT_H

#include "hydra/tree.h"

typedef enum SlurmType {
    SLURM_COUNT, /* an integer from min to max */
    SLURM_TEXT,  /* one line */
    SLURM_FLAG,  /* true or false */
    SLURM_LINES, /* a list of shell lines */
    SLURM_PAIRS  /* a map of options to values */
} SlurmType;

typedef struct SlurmKey {
    const char *name;   /* below hydra.launcher */
    const char *option; /* of sbatch; NULL: part of the script itself */
    SlurmType type;
    long long min, max; /* of a COUNT; max 0: no bound */
    bool required;      /* null is no value for it */
    const char *meaning;
    const char *note; /* NULL, or what its user should be told */
} SlurmKey;

/* All keys of hydra/launcher=submitit_slurm, in its order. */
const SlurmKey *slurm_keys(int *n);

typedef struct SlurmPlace {
    const char *program; /* path of this program on the cluster */
    const char *cwd;     /* where jobs start */
    const char *jobs;    /* the folder that holds N.yaml for job N */
    long n;              /* jobs; more than one are an array */
} SlurmPlace;

/* The script. launcher: hydra.launcher, references filled in. All in the arena; NULL on failure,
 * with the key named. */
const char *slurm_script(HyArena *a, const HyNode *launcher, const SlurmPlace *place, Err *err);
/* The folder of submitit_folder that all jobs share: the part before one with a %. */
const char *slurm_folder(HyArena *a, const HyNode *launcher, Err *err);
/* A COUNT of a launcher that slurm_script accepts; 0 where it is null. */
long long slurm_count(const HyNode *launcher, const char *key);
/* A line about keys that are set and change nothing here; NULL: none. */
const char *slurm_note(HyArena *a, const HyNode *launcher);

#endif
