/* The published evaluation: the sequences tokens[i T .. (i + 1) T] of a split in their order, each
 * starting afresh, scored with the inner loop as it was trained (docs/evaluation.md). */
#ifndef TTT_RUN_HOLDOUT_H
#define TTT_RUN_HOLDOUT_H

#include <signal.h>
#include <stdint.h>

#include "base/err.h"
#include "data/token_source.h"
#include "model/model.h"
#include "run/eval_set.h"

typedef struct HoldoutOptions {
    int64_t length;        /* T */
    int64_t max_sequences; /* 0: all of the split */
    int64_t batch;         /* side by side at most */
    size_t memory;         /* bytes that the sweep may take; one sequence is always tried */
    const char *out;       /* folder for the losses of every token, or NULL */
    const char *label;     /* of the progress line, or NULL: none */
    const volatile sig_atomic_t *stop; /* set: end early with what is scored; may be NULL */
} HoldoutOptions;

typedef struct Holdout {
    EvalSet set;        /* which sequences; its bins of positions */
    int64_t scored;     /* sequences, all of the set but after a stop */
    double loss;        /* mean over sequences of the mean over chunks of the masked chunk loss */
    double *chunk_loss; /* (chunks): mean over sequences */
    double *token_nll;  /* (T): mean over sequences of -log p(target), masked targets included */
    double *bin_loss;   /* (n_bins): mean over targets that are not masked; NaN: none */
    int64_t chunks;     /* per sequence */
    double seconds, tokens_per_second;
} Holdout;

enum { HOLDOUT_FILE_MAX = 64 };
extern const char holdout_name[]; /* "train_holdout", as in the published logs */

/* Needs to be freed after 0 only. */
int holdout_score(Holdout *h, Model *m, const TokenSource *source, const HoldoutOptions *o,
                  Err *err);
void holdout_free(Holdout *h);

#endif
