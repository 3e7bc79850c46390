/* A run as its folder tells it: log.jsonl, eval.jsonl and history.jsonl in memory. What the report
 * and the curves are made from, during the run and long after. */
#ifndef TTT_RUN_RUN_DATA_H
#define TTT_RUN_RUN_DATA_H

#include <jansson.h>
#include <stdint.h>

#include "base/err.h"

/* Columns of log.jsonl. */
typedef enum RunField {
    RUN_STEP,
    RUN_LOSS,
    RUN_GRAD_NORM,
    RUN_INNER_GRAD_NORM,
    RUN_LR,
    RUN_INNER_LR,
    RUN_SPEED,
    RUN_SECONDS,
    RUN_MEMORY,
    RUN_FIELDS
} RunField;

typedef struct RunData {
    int64_t n_steps;
    double *field[RUN_FIELDS]; /* (n_steps) each; NaN where a line has no number */
    json_t *evals;             /* array of the lines of eval.jsonl */
    json_t *history;           /* array of the lines of history.jsonl */
    json_t *holdout;           /* eval_summary.json, or NULL */
} RunData;

/* Lines that cannot be read are passed over; a file that is not there is empty. */
int run_data_read(RunData *out, const char *folder, Err *err);
void run_data_free(RunData *d);

double run_number(const json_t *object, const char *key); /* NaN: there is none */

#endif
