/* Running another program for its first line of output. */
#ifndef TTT_BASE_PROCESS_H
#define TTT_BASE_PROCESS_H

#include <stdbool.h>
#include <stddef.h>

/* argv ends in NULL; the program is looked for in PATH, and no shell sees the words. Its standard
 * error is dropped. Waits at most `seconds`, then kills it. True when it ended with status 0; out
 * has its first line without the line end, "" when it wrote none. */
bool process_first_line(const char *const *argv, double seconds, char *out, size_t size);

#endif
