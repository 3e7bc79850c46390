/* What commands print on standard output. */
#ifndef TTT_CLI_OUTPUT_H
#define TTT_CLI_OUTPUT_H

#include <jansson.h>
#include <stddef.h>

#include "base/err.h"

/* Prints the object and a line end and releases it. */
void output_json(json_t *object);
/* Sends off all that was printed: -1 where some of it could not be written. */
int output_flush(Err *err);
/* The same as a command's last act: EXIT_DONE, or EXIT_FAULT after a complaint. */
int output_finish(const char *command);
/* "512 B", "1.9 MiB". */
const char *bytes_show(char out[32], size_t bytes);

#endif
