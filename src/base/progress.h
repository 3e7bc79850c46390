/* Progress on standard error. On a terminal: one line, redrawn at most 10 times a second, with a
 * bar, percent, rate and time left. Elsewhere: a plain line every 10 seconds and one at the end. */
#ifndef TTT_BASE_PROGRESS_H
#define TTT_BASE_PROGRESS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef struct Progress {
    const char *label, *unit; /* the caller's; they outlive the Progress. No label: not shown */
    uint64_t total;           /* 0: unknown, so no bar and no time left */
    uint64_t skipped;         /* done before the start */
    double start, last_drawn; /* seconds of time_now() */
    bool terminal;
} Progress;

/* unit_name is the plural of what is counted: "tokens". label NULL: nothing is shown, now or later.
 */
void progress_start(Progress *p, const char *label, uint64_t total_units, const char *unit_name);
/* Units done in an earlier run (resume): part of the bar, but not of the rate. */
void progress_skip(Progress *p, uint64_t done);
/* done counts from the beginning; note ("loss 2.31") may be NULL. Cheap enough for every step. */
void progress_update(Progress *p, uint64_t done, const char *note);
/* Ends the line: "LABEL: SUMMARY (time)". */
void progress_end(Progress *p, const char *summary);

/* The line that progress_update draws, of at most width columns; `seconds` since the start. For a
 * terminal it has a bar, and is cut to the width. out_size of 512 is enough. */
void progress_line(const Progress *p, uint64_t done, double seconds, const char *note, int width,
                   char *out, size_t out_size);

#endif
