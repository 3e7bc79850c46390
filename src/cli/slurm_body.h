/* The part of a batch script that a shell runs: a job's start, and what comes after it. */
#ifndef TTT_CLI_SLURM_BODY_H
#define TTT_CLI_SLURM_BODY_H

#include <stdio.h>

#include "hydra/tree.h"

typedef struct SlurmBody {
    const char *program, *jobs;
    const char *folder;  /* hydra.launcher.submitit_folder */
    const HyNode *setup; /* a list of lines; NULL or null: none */
    bool is_array, one_log;
    long long cpus; /* 0: not asked for */
    long long limit_s, signal_s, max_timeouts;
} SlurmBody;

void slurm_body_print(FILE *out, const SlurmBody *body);

#endif
