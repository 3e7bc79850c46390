/* The end of a run: what it learned, how fast, what it left. */
#ifndef TTT_RUN_SUMMARY_H
#define TTT_RUN_SUMMARY_H

#include "run/train_setup.h"

/* Writes RUN/summary.json and prints the same on standard error. */
int summary_write(const Trainer *t, Err *err);

#endif
