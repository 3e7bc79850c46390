/* JSON-lines logs: one object a line, appended; each line reaches the file in one write. */
#ifndef TTT_BASE_JSONL_H
#define TTT_BASE_JSONL_H

#include <jansson.h>

#include "base/err.h"

typedef struct JsonLog JsonLog;

/* Opens for appending and makes the file if needed. An unfinished last line, left by a kill or a
 * full disk, is closed with a line end, so that what follows stays readable. */
int jsonl_open(JsonLog **out, const char *path, Err *err);
/* The object stays the caller's. On failure the file is as long as before. */
int jsonl_write(JsonLog *log, const json_t *object, Err *err);
void jsonl_close(JsonLog *log); /* NULL is fine */

/* A JSON number, or null for NaN and infinities, which JSON cannot hold. */
json_t *json_number(double value);
/* A JSON string of text that need not be UTF-8, such as a path: what is not becomes U+FFFD. */
json_t *json_text(const char *text);

/* Writes a whole object as a file of its own, atomically, with a final newline. flags: jansson's,
 * such as JSON_INDENT(2). Takes the reference. */
int json_write_atomic(const char *path, json_t *object, size_t flags, Err *err);

#endif
