/* log.jsonl: one line per optimizer step, across interruptions, as if there had been none. */
#ifndef TTT_RUN_TRAIN_LOG_H
#define TTT_RUN_TRAIN_LOG_H

#include <stdint.h>

#include "base/err.h"
#include "base/jsonl.h"

typedef struct StepRecord {
    int64_t step;     /* updates done with this one: 1 for the first */
    double loss;      /* of the batch, before the update */
    double grad_norm; /* exact global norm, before clipping */
    double lr, inner_lr;
    double tokens_per_second, seconds; /* of this step */
} StepRecord;

typedef struct RunSummary {
    int64_t steps; /* that the log has */
    double first_loss, last_loss, last10_loss;
    double tokens_per_second; /* median over steps */
    double seconds;           /* sum over steps */
} RunSummary;

/* Opens for appending, after cutting off what follows the line of `step`: steps that are going to
 * be done again. */
int train_log_open(JsonLog **out, const char *path, int64_t step, Err *err);
int train_log_write(JsonLog *log, const StepRecord *r, Err *err);
/* Over all steps in the file; NaN where it has none. */
int train_log_summary(RunSummary *out, const char *path, Err *err);

#endif
