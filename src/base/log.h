/* Messages for the person at the terminal. */
#ifndef TTT_BASE_LOG_H
#define TTT_BASE_LOG_H

/* One line on standard error; on a terminal it takes the place of a progress line. */
void log_info(const char *fmt, ...) __attribute__((format(printf, 1, 2)));

#endif
