/* TensorBoard's event files: what a run logs, as `tensorboard --logdir` reads it. */
#ifndef TTT_RUN_EVENTS_H
#define TTT_RUN_EVENTS_H

#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

typedef struct EventFile EventFile;

typedef struct EventScalar {
    const char *tag;
    double value; /* NaN: left out */
} EventScalar;

/* One hyperparameter: a number, or a text when there is one. */
typedef struct EventParam {
    const char *name, *text;
    double number;
} EventParam;

/* Makes a new file in the folder, named to come after those that are there. from_step >= 0: what
 * older files say of this step and later ones is void, because those steps are going to be done
 * again; -1: they stay. */
int events_open(EventFile **out, const char *folder, int64_t from_step, Err *err);
void events_close(EventFile *e); /* NULL is fine */

/* Each call writes one record, at once. A record that cannot be written whole is taken back, so
 * that what comes later can be read. */
int events_scalars(EventFile *e, int64_t step, const EventScalar *scalars, int n, Err *err);
int events_text(EventFile *e, int64_t step, const char *tag, const char *markdown, Err *err);
int events_image(EventFile *e, int64_t step, const char *tag, const void *png, size_t size,
                 Err *err);
int events_params(EventFile *e, const EventParam *params, int n, Err *err);

#endif
