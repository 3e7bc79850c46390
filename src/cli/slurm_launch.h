/* A sweep to Slurm: its folder, a file for each job, the script, sbatch. */
#ifndef TTT_CLI_SLURM_LAUNCH_H
#define TTT_CLI_SLURM_LAUNCH_H

#include <limits.h>

#include "hydra/compose.h"
#include "run/train.h"

typedef struct SlurmLaunch {
    HyConfig *master;
    const HyNode *launcher; /* references filled in */
    char sweep[PATH_MAX];   /* whole paths: hydra.sweep.dir, */
    char jobs[PATH_MAX];    /* N.yaml of job N, and the script; "" before the first is written */
    TrainOptions options;   /* that jobs run with */
    long n;
} SlurmLaunch;

/* Whether jobs of a sweep go to Slurm; fails for launchers that there are none of here. */
int slurm_launch_wanted(const HyConfig *h, bool *wanted, Err *err);
/* Checks the launcher's keys; writes nothing. dir: hydra.sweep.dir. */
int slurm_launch_open(SlurmLaunch *l, HyConfig *master, const char *dir, long n,
                      const TrainOptions *options, Err *err);
/* Writes the file of one job, as it is composed. */
int slurm_launch_add(SlurmLaunch *l, HyConfig *job, long num, Err *err);
/* Writes the script and hands it to sbatch; prints the id of the job or array. */
int slurm_launch_submit(SlurmLaunch *l, Err *err);

#endif
