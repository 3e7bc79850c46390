/* The files of an evaluation. */
#ifndef TTT_RUN_EVAL_FILES_H
#define TTT_RUN_EVAL_FILES_H

#include <jansson.h>

#include "run/eval.h"

/* Writes into EvalOptions.out: loss_by_position.tsv, one token_nll_*.npy (n_items, T) a column, and
 * summary.json last, each complete or not at all. Then draws loss_by_position.png and .svg; where
 * that cannot be done a line on standard error says why, and it is no failure. */
int eval_write(const Eval *e, json_t *summary, Err *err);

#endif
