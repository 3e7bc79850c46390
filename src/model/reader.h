/* One reader of a stream: adapted weights, windows, unfinished chunk, counters. Fed token by token,
 * chunk by chunk or all at once it gives the same scores. Its memory does not grow with what it
 * read.
 *
 * A chunk is learned from when its last target, the first token after it, is known. */
#ifndef TTT_MODEL_READER_H
#define TTT_MODEL_READER_H

#include "model/model.h"

typedef struct Reader Reader;

typedef struct ReaderCounters {
    int64_t tokens;         /* fed */
    int64_t steps;          /* inner steps taken */
    int64_t pending;        /* inputs of the unfinished chunk */
    double last_chunk_loss; /* NaN before the first */
    double last_grad_norm;
    double last_step_seconds;
} ReaderCounters;

int reader_create(Reader **out, Model *m, bool learn, double inner_lr, Err *err);
void reader_free(Reader *r); /* NULL is fine */
int reader_clone(Reader **out, const Reader *r, Err *err);
void reader_set_learning(Reader *r, bool learn);
bool reader_learning(const Reader *r);
void reader_counters(const Reader *r, ReaderCounters *c);
size_t reader_state_bytes(const Reader *r);

/* nll: NULL, or (n): -log p(tokens[i] | all before); 0 for the first token of the stream. Fails on
 * an id outside the vocabulary and on a NaN or Inf in loss or gradient, before the weights change.
 */
int reader_feed(Reader *r, const int32_t *tokens, size_t n, double *nll, Err *err);
/* log-softmax over the vocabulary for the next token; fails before the first token. */
int reader_logprobs(Reader *r, float *out, Err *err);

/* Several readers of one model side by side: each weight is read once for all of them, only windows
 * and adapted weights are each one's own. Same scores as one by one. A reader stands there once.
 *
 * readers_feed: one token to each; where a chunk is complete, that reader learns first, in turn. On
 * failure some may have learned, and none has read its token. readers_logprobs: out (n, V). */
int readers_feed(Reader *const *r, int n, const int32_t *tokens, Err *err);
int readers_logprobs(Reader *const *r, int n, float *out, Err *err);

/* The state as named host arrays, for saving: visit is called once per array. */
typedef struct ReaderArray {
    const char *name; /* "fast/<path>", "window/k", "window/v", "chunk/hidden", ... */
    bool integer;     /* int32 data instead of real */
    int n_dims;
    int64_t shape[4];
    const void *data;
} ReaderArray;

/* A host snapshot of everything, to be freed with reader_snapshot_free. */
typedef struct ReaderSnapshot {
    int n;
    ReaderArray array[2 * N_PARAMS + 16];
    ReaderCounters counters;
    void *storage;
} ReaderSnapshot;

int reader_snapshot(const Reader *r, ReaderSnapshot *s, Err *err);
void reader_snapshot_free(ReaderSnapshot *s);
/* Puts a snapshot's arrays (found by name, shapes checked) and counters into a reader. */
int reader_restore(Reader *r, const ReaderSnapshot *s, Err *err);

#endif
