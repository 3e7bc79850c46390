/* Running another program for its output. */
#ifndef TTT_BASE_PROCESS_H
#define TTT_BASE_PROCESS_H

#include <stdbool.h>
#include <stddef.h>

/* argv ends in NULL; the program is looked for in PATH, and no shell sees the words. Its standard
 * error is dropped. Waits at most `seconds`, then kills it. True when it ended with status 0; out
 * has its first line without the line end, "" when it wrote none. */
bool process_first_line(const char *const *argv, double seconds, char *out, size_t size);
/* All that it says, standard error too, as far as it fits. Returns the exit status; -1 with errno
 * set when it could not be started (ENOENT: there is none), was killed, or took too long. */
int process_output(const char *const *argv, double seconds, char *out, size_t size);

#endif
