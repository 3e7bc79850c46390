/* What a training run will hold in memory, before any of it is taken. */
#ifndef TTT_RUN_TRAIN_PLAN_H
#define TTT_RUN_TRAIN_PLAN_H

#include <stdbool.h>
#include <stddef.h>

#include "base/err.h"
#include "model/sweep.h"

typedef struct TrainPlan {
    SweepPlan sweep; /* of one micro-batch */
    /* bytes: */
    size_t weights, gradient, moments;
    size_t snapshot; /* host copy of the moments while a checkpoint is written */
    size_t tokens;   /* one micro-batch */
    size_t program;  /* what the process holds now, and scratch of its products */
    size_t total;
    size_t available; /* now */
    Backend *be;
    double floor; /* of arithmetic, multiply-adds x 2 per token */
} TrainPlan;

/* One micro-batch of a run. */
SweepOptions train_sweep_options(const Config *c);
/* Of the backend's memory. snapshot: checkpoints will be written. */
int train_plan_make(TrainPlan *out, const Config *c, Backend *be, bool snapshot, Err *err);
/* One line on standard error. */
void train_plan_print(const TrainPlan *p);
/* Fails when the total is more than there is: with the numbers, and the setting that would fit. */
int train_plan_check(const TrainPlan *p, const Config *c, Err *err);

#endif
