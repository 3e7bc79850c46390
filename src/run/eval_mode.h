/* training.eval_mode: the published evaluation of a run (docs/evaluation.md). */
#ifndef TTT_RUN_EVAL_MODE_H
#define TTT_RUN_EVAL_MODE_H

#include "run/train.h"

/* Scores training.eval_split of the data set with the weights of the run's newest checkpoint, or of
 * training.resume_exp_name, and trains nothing. Into the run's folder go
 * train_holdout_token_nll_loss.npy and its like, a line of eval.jsonl and TensorBoard's events; the
 * loss to standard output. */
int eval_mode_run(const Config *cfg, const TrainOptions *options, Err *err);

#endif
