/* What an evaluation scores: stretches of a token source, each one unit of the statistics, and the
 * bins of positions that the loss is reported in. The same for every model and mode. */
#ifndef TTT_RUN_EVAL_SET_H
#define TTT_RUN_EVAL_SET_H

#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"
#include "data/token_source.h"

enum { EVAL_MIN_TOKENS = 64, EVAL_MAX_BINS = 48, EVAL_BIN_NAME = 48 };

/* Positions 0 .. positions-1: inputs source[start + p], targets source[start + p + 1]. */
typedef struct EvalItem {
    const char *name; /* the document's; NULL in the stream layout */
    int64_t start, positions;
} EvalItem;

/* Positions [first, end). */
typedef struct EvalBin {
    int64_t first, end;
    char name[EVAL_BIN_NAME]; /* "64-127" */
} EvalBin;

typedef struct EvalSetOptions {
    int64_t length;        /* T */
    bool full_length_only; /* documents: leave out those of fewer than T tokens */
    bool stream;           /* sequences tokens[i T .. (i+1) T] instead of documents */
    int64_t max_tokens;    /* positions in all; 0: no bound. The last item is cut to keep it. */
    int64_t max_items;     /* 0: no bound */
} EvalSetOptions;

typedef struct EvalSet {
    const TokenSource *source; /* borrowed */
    EvalSetOptions options;
    EvalItem *items; /* (n_items), in the order of the source */
    int64_t n_items;
    int64_t too_short; /* documents left out */
    int64_t positions; /* sum over items */
    char digest[65];   /* SHA-256 of the tokens of all items as little-endian int32 */
    EvalBin bins[EVAL_MAX_BINS];
    int n_bins;
} EvalSet;

/* Chooses the items and reads each token once, so that a damaged source shows before anything is
 * computed. Fails when nothing is long enough. */
int eval_set_make(EvalSet *out, const TokenSource *source, const EvalSetOptions *options, Err *err);
void eval_set_free(EvalSet *set);
/* The fewest tokens that a document must have to be scored. */
int64_t eval_set_least(const EvalSet *set);

/* Tokens of item i into out (length + 1): inputs and the last target. What lies after the item is
 * filled with pad, which as a target must be masked. length >= the item's positions. */
int eval_set_read(const EvalSet *set, int64_t i, int64_t length, int32_t pad, int32_t *out,
                  Err *err);

/* "document" or "sequence", and the item's name for a message. */
const char *eval_set_unit(const EvalSet *set);
void eval_item_name(const EvalSet *set, int64_t i, char *out, int out_size);

#endif
