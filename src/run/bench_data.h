/* How fast a dataset is read: tokens delivered per second, on one core, in file order and shuffled.
 */
#ifndef TTT_RUN_BENCH_DATA_H
#define TTT_RUN_BENCH_DATA_H

#include <jansson.h>
#include <stdint.h>
#include <stdio.h>

#include "base/err.h"

typedef struct BenchDataOptions {
    const char *dir;    /* a dataset; NULL: arrays are made, of several layouts */
    int64_t tokens;     /* of those; and the most that is read in one way; 0: the usual */
    int64_t seq_length; /* 0: the usual */
} BenchDataOptions;

/* Prints a table to out as results come, unless it is NULL. *json: an object, the caller's. */
int bench_data_run(json_t **json, const BenchDataOptions *options, FILE *out, Err *err);

#endif
