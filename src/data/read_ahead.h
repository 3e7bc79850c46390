/* Reading rows ahead of their use, on a thread. A row is one training sequence; rows are numbered
 * from 0 without end, and are nearly always asked for one after the other. */
#ifndef TTT_DATA_READ_AHEAD_H
#define TTT_DATA_READ_AHEAD_H

#include <stdint.h>

#include "base/err.h"

typedef struct ReadAhead ReadAhead;

/* Reads a row into out (row_tokens). Called on the thread and on the caller's, at the same time. */
typedef int (*ReadRow)(const void *context, int64_t row, int32_t *out, Err *err);

/* Keeps up to n_rows rows of row_tokens each. The thread starts with the first row asked for. */
int read_ahead_open(ReadAhead **out, ReadRow read, const void *context, int64_t row_tokens,
                    int64_t n_rows, Err *err);
void read_ahead_close(ReadAhead *a); /* ends the thread; NULL is fine */

/* Gives a row; the thread goes on behind it. Rows in any order are right, only slower. */
int read_ahead_get(ReadAhead *a, int64_t row, int32_t *out, Err *err);

#endif
