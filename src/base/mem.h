/* Memory: aligned allocation, and what the process and the machine have of it; clocks. */
#ifndef TTT_BASE_MEM_H
#define TTT_BASE_MEM_H

#include <stddef.h>

/* n zeroed bytes, 64-byte aligned. Pages come from the system when first touched, so a bound that
 * is never reached costs nothing. Out of memory ends the program with a message. */
void *mem_alloc(size_t n);
void mem_free(void *p); /* NULL is fine */

/* Bytes: the most this process has held in memory so far. */
size_t mem_peak_rss(void);
/* Bytes that could be allocated without swapping, within the limits of a container too. */
size_t mem_available(void);

/* Seconds of a clock that never goes back; only differences mean something. */
double time_now(void);
/* The date and time of day: "2026-01-31T12:00:00Z" (ISO 8601, UTC). */
enum { TIME_TEXT_SIZE = 32 };
void time_text(char out[TIME_TEXT_SIZE]);

#endif
