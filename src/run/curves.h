/* The curves of a run: RUN/curves/NAME.tsv from its logs, drawn as NAME.png and NAME.svg. */
#ifndef TTT_RUN_CURVES_H
#define TTT_RUN_CURVES_H

#include <limits.h>

#include "base/err.h"
#include "run/run_data.h"

enum { CURVES_MAX = 8 };

typedef struct Curves {
    const char *name[CURVES_MAX];  /* "loss": the picture is curves/loss.png */
    const char *title[CURVES_MAX]; /* constant texts, as name */
    int n;                         /* that there are numbers for */
    bool drawn;                    /* false: this machine has no gnuplot; tables and scripts stay */
} Curves;

/* All curves that the logs have numbers for. */
int curves_draw(Curves *out, const char *run, const RunData *d, Err *err);

/* The loss by position alone, of evaluations as lines of eval.jsonl, as curves/NAME: 1 with the
 * picture's path in png, 0 without gnuplot or without numbers. */
int curves_positions(char png[PATH_MAX], const char *run, const char *name, const json_t *evals,
                     Err *err);

#endif
