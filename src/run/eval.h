/* Evaluation: loss by token position of several models on the same documents, with learning on and
 * off. docs/evaluation.md says what is measured and how. */
#ifndef TTT_RUN_EVAL_H
#define TTT_RUN_EVAL_H

#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"
#include "model/config.h"
#include "run/eval_set.h"
#include "run/stats.h"

enum { EVAL_NAME = 128, EVAL_LABEL = EVAL_NAME + 32 };

typedef struct EvalOptions {
    const char *const *models; /* (n_models) folders */
    const char *const *names;  /* (n_models), or NULL: named after their folders */
    int n_models;
    const char *data, *split;
    bool mode_on, mode_off;            /* for models that learn; at least one */
    bool stream, documents;            /* neither: documents where the data list them */
    int64_t length;                    /* 0: training.seq_length of the first model */
    int64_t max_tokens, max_documents; /* 0: no bound */
    int batch;                         /* 0: training.eval_batch_size, less where memory is short */
    const char *out;                   /* folder for files, or NULL */
    int threads;                       /* 0: one per physical core */
    const char *device;                /* NULL: the CPU; or "cuda:N" */
    const char *compute;               /* NULL: as in the model's config; "fp32", "bf16" */
} EvalOptions;

typedef struct EvalModel {
    const char *dir;
    char name[EVAL_NAME], digest[65];
    Config cfg;
    bool learns, bf16;
    double inner_lr;
} EvalModel;

/* One model in one mode. */
typedef struct EvalColumn {
    int model;
    bool learn;
    char label[EVAL_LABEL]; /* "demo, learning on"; "swa" when the model does not learn */
    char stem[EVAL_LABEL];  /* the label as part of a file's name */
    double *bin_mean; /* (n_items, n_bins + 1): nats per token; the last: over all positions */
    double nll_sum;   /* over all scored tokens */
    int64_t tokens;   /* scored: positions whose target is not a BOS */
    double seconds;
    float *nll; /* (n_items, T), NaN where there is none; NULL without EvalOptions.out */
} EvalColumn;

typedef struct Eval {
    EvalOptions options;
    TokenSource *source;
    EvalSet set;
    EvalModel *models;
    EvalColumn *columns;
    int n_columns;
    bool bytes; /* one token is one byte */
} Eval;

/* Checks everything that can be checked, then scores all columns. Progress goes to standard error.
 * After 0 or -1 eval_free is due. */
int eval_run(Eval *e, const EvalOptions *options, Err *err);
void eval_free(Eval *e);

/* The column in bin 0 .. n_bins, n_bins being all positions: over items, and less `base` (paired).
 */
Stat eval_stat(const Eval *e, int column, int bin);
Stat eval_difference(const Eval *e, int column, int base, int bin);
/* The column of this model and mode, -1 when it was not scored. */
int eval_column_find(const Eval *e, int model, bool learn);

#endif
