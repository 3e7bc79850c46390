/* Scores one column of an evaluation. */
#ifndef TTT_RUN_EVAL_SCORE_H
#define TTT_RUN_EVAL_SCORE_H

#include "model/model.h"
#include "run/eval.h"

/* Fills the column's numbers from m, which is its model, opened. A loss that is not finite fails
 * and names model, document and position. */
int eval_score(const Eval *e, EvalColumn *column, Model *m, Err *err);

#endif
