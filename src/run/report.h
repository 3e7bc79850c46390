/* report.md: a run told from its folder, with its curves. */
#ifndef TTT_RUN_REPORT_H
#define TTT_RUN_REPORT_H

#include "base/err.h"

/* Draws curves/ and writes RUN/report.md from log.jsonl, eval.jsonl, history.jsonl, config.yaml,
 * summary.json and the checkpoints that are there. Works on any run, also one that was killed. */
int report_write(const char *run, Err *err);

#endif
