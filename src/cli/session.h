/* What `ttt read` and `ttt generate` share: a model with its tokenizer and one reader, signals that
 * ask for an end, and small things about output. */
#ifndef TTT_CLI_SESSION_H
#define TTT_CLI_SESSION_H

#include <jansson.h>
#include <signal.h>

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

/* What a table of options cannot check; complains as options_usage does. */
bool session_options_ok(const char *command, const SessionOptions *o);
/* On failure nothing is left open. */
int session_open(Session *s, const SessionOptions *o, Err *err);
void session_close(Session *s);

/* Tokens to feed at once: whole chunks, few enough that a signal is answered soon, and ending where
 * a chunk ends, so that how a text arrives does not change in which order sums are made. */
size_t session_slice(const Session *s);
size_t session_slice_max(const Session *s);
/* As ttt_feed, with the reader's error in err. */
int session_feed(Session *s, const int32_t *tokens, size_t n, double *nll, Err *err);

/* SIGINT and SIGTERM set a flag, and the same signal a second time ends the process; SIGPIPE
 * becomes a failing write. */
void interrupt_catch(void);
/* The signal that came, 0 while there was none. */
int interrupt_signal(void);
/* What the signal sets: not zero once it came. */
const volatile sig_atomic_t *interrupt_flag(void);
/* Exit status after it, as shells count: 130, 143. */
int interrupt_status(void);

/* Whether a memory could be written to PATH now: in a place that takes it, and over nothing but an
 * older memory. Nothing is changed. */
int memory_target_check(const char *path, Err *err);
/* A JSON string of text that need not be UTF-8, such as a path. */
json_t *json_text(const char *text);
/* Prints the object and a line end on standard output and releases it. */
void output_json(json_t *object);
/* Flushes standard output; a failure is reported and is EXIT_FAULT. */
int output_finish(const char *command);
/* "512 B", "1.9 MiB". */
const char *bytes_show(char out[32], size_t bytes);

#endif
