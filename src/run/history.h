/* history.jsonl: a line when a run is started and one when it ends, with all that a result needs to
 * be repeated: command, revisions, machine, libraries. A start without an end was killed. */
#ifndef TTT_RUN_HISTORY_H
#define TTT_RUN_HISTORY_H

#include <stdint.h>

#include "backend/backend.h"
#include "base/err.h"

typedef struct RunStart {
    const char *kind;    /* "train", "eval" */
    const char *command; /* a wandb_key in it is not written */
    const char *loaded;  /* what of another run it starts from, in words; NULL or "": nothing */
    int64_t step;        /* done before */
    int64_t parameters, inner_parameters;
    const Backend *be;
} RunStart;

int history_start(const char *folder, const RunStart *start, Err *err);
/* kind as in the start; outcome: "finished", "interrupted", "failed"; message: NULL or why. */
int history_end(const char *folder, const char *kind, const char *outcome, int64_t step,
                const char *message, Err *err);

/* A copy of a command line without secrets, to be freed. */
char *command_redact(const char *command);

#endif
