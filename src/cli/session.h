/* What `ttt read` and `ttt generate` share: a model with its tokenizer and one reader. */
#ifndef TTT_CLI_SESSION_H
#define TTT_CLI_SESSION_H

#include "base/err.h"
#include "data/token_stream.h"
#include "ttt.h"

typedef struct SessionOptions {
    const char *model;   /* folder */
    const char *memory;  /* file to go on from, or NULL */
    const char *compute; /* NULL: as the model's configuration says */
    const char *device;  /* NULL: the CPU; or "cuda:N" */
    int64_t threads;     /* 0: one per physical core */
    bool no_learning;
} SessionOptions;

typedef struct Session {
    ttt_model *model;
    ttt_model_info info;
    Tokenizer *tokenizer;
    TokenStream *stream; /* of the text that is read */
    ttt_reader *reader;
    size_t slice; /* see session_slice */
} Session;

/* On failure nothing is left open. */
int session_open(Session *s, const SessionOptions *o, Err *err);
void session_close(Session *s);

/* Tokens to feed at once: whole chunks, few enough that a signal is answered soon, and ending where
 * a chunk ends, so that how a text arrives does not change in which order sums are made. */
size_t session_slice(const Session *s);
size_t session_slice_max(const Session *s);
/* As ttt_feed, with the reader's error in err. */
int session_feed(Session *s, const int32_t *tokens, size_t n, double *nll, Err *err);

/* Whether a memory could be written to PATH now: in a place that takes it, and over nothing but an
 * older memory. Nothing is changed. */
int memory_target_check(const char *path, Err *err);

#endif
