/* From a command line to training runs: one, or those of a sweep one after the other. */
#ifndef TTT_CLI_TRAIN_JOBS_H
#define TTT_CLI_TRAIN_JOBS_H

#include "cli/hydra_flags.h"
#include "run/train.h"

typedef struct TrainJobs {
    HydraFlags hydra;
    TrainOptions options;
    const char *const *overrides;
    int n_overrides;
    const char *submitted, *job_id; /* a job's file, and what Slurm calls it; NULL: no such job */
    bool interrupted;               /* the run was, and has saved */
} TrainJobs;

/* Runs what is asked for, or shows it. */
int train_jobs_run(TrainJobs *jobs, Err *err);

#endif
