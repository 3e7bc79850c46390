/* Evaluation on held-out sequences while training. */
#ifndef TTT_RUN_TRAIN_EVAL_H
#define TTT_RUN_TRAIN_EVAL_H

#include <signal.h>

#include "run/train_setup.h"

/* Scores training.eval_sequences of t->holdout with the weights as they are, and logs it. It takes
 * the memory of the training sweep, which is made anew afterwards. A failure is told and changes
 * nothing of the run. stop: ends it early. */
void trainer_evaluate(Trainer *t, const volatile sig_atomic_t *stop);

#endif
