/* A job of a sweep as a file: the whole configuration as it was composed when it was submitted, so
 * that nothing that is edited later reaches it, however often it is started. */
#ifndef TTT_CLI_SUBMITTED_H
#define TTT_CLI_SUBMITTED_H

#include "hydra/compose.h"
#include "run/train.h"

/* Options that go with it: threads and max_sequences. No secret is written. */
int submitted_write(const char *path, HyConfig *h, const TrainOptions *options, Err *err);
/* Fills h as hy_compose does, but for what it was composed from; hy_config_free is right in any
 * case. */
int submitted_read(const char *path, HyConfig *h, TrainOptions *options, Err *err);
/* The same of a text; name stands in messages. */
int submitted_parse(const char *text, size_t size, const char *name, HyConfig *h,
                    TrainOptions *options, Err *err);

#endif
