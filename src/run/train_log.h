/* What a run writes down while it runs, into its folder:
 *   log.jsonl       a line per optimizer step, across interruptions, as if there had been none
 *   eval.jsonl      a line per evaluation on held-out sequences
 *   events.out.*    the same numbers and pictures for TensorBoard, one file per start
 * Logs serve the run: once they are open, nothing that goes wrong with them ends it. A line that
 * cannot be written is told once and kept until it can be. */
#ifndef TTT_RUN_TRAIN_LOG_H
#define TTT_RUN_TRAIN_LOG_H

#include <stdint.h>

#include "base/err.h"
#include "base/jsonl.h"
#include "model/config.h"
#include "run/events.h"
#include "run/holdout.h"

typedef struct StepRecord {
    size_t memory;          /* bytes, see backend_memory_peak */
    int64_t step;           /* updates done with this one: 1 for the first */
    double loss;            /* of the batch, before the update */
    double grad_norm;       /* exact global norm, before clipping */
    double inner_grad_norm; /* mean over chunks, before clipping; NaN: not measured */
    double lr, inner_lr;
    double tokens_per_second, seconds; /* of this step */
} StepRecord;

typedef struct RunSummary {
    int64_t steps; /* that the log has */
    double first_loss, last_loss, last10_loss;
    double tokens_per_second; /* median over steps */
    double seconds;           /* sum over steps */
} RunSummary;

typedef struct TrainLog TrainLog;

/* Opens all three for appending, after cutting off what follows `step`: steps that are going to be
 * done again. */
int train_log_open(TrainLog **out, const char *folder, int64_t step, Err *err);
void train_log_close(TrainLog *log); /* NULL is fine; tells what could not be written */

/* Texts for TensorBoard: the configuration, as text and as hyperparameters, and how it was started.
 */
void train_log_start(TrainLog *log, int64_t step, const Config *cfg, const char *command);
void train_log_step(TrainLog *log, const StepRecord *r);
/* Also draws the loss by position anew. */
void train_log_eval(TrainLog *log, int64_t step, const Holdout *h);
/* An evaluation's positions as JSON: [{"first", "end", "loss"}, ...]. */
json_t *train_log_positions(const Holdout *h);
/* TensorBoard's events of an evaluation: tags "PREFIX/loss", "PREFIX_by_position/0-63", and the
 * picture at png, NULL: none. */
int train_log_eval_events(EventFile *events, int64_t step, const char *prefix, const Holdout *h,
                          const char *png, Err *err);
/* Whether eval.jsonl has this step. */
bool train_log_has_eval(const TrainLog *log, int64_t step);

/* Over all steps in the folder's log; NaN where it has none. */
int train_log_summary(RunSummary *out, const char *folder, Err *err);

/* The next line of a log as JSON, and *at moved past it; NULL for a line that is not JSON, such as
 * one that a kill cut short. */
json_t *train_log_next(const char **at, const char *end);
enum { TRAIN_LOG_MAX = 1 << 30 };

#endif
