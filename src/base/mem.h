/* Memory: aligned allocation, and what the process and the machine have of it; clocks. */
#ifndef TTT_BASE_MEM_H
#define TTT_BASE_MEM_H

#include <stddef.h>

/* n zeroed bytes, 64-byte aligned. Pages come from the system when first touched, so a bound that
 * is never reached costs nothing. Out of memory ends the program with a message. */
void *mem_alloc(size_t n);
void mem_free(void *p); /* NULL is fine */

/* Under AddressSanitizer: bytes of a block that is handed out in parts, which touching is to be an
 * error, and bytes that may be touched again. MEM_GUARD: how many to leave between two parts. */
#if defined(__SANITIZE_ADDRESS__)
#define MEM_GUARDED 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define MEM_GUARDED 1
#endif
#endif
#ifdef MEM_GUARDED
enum { MEM_GUARD = 16 };
#else
enum { MEM_GUARD = 0 };
#endif
void mem_close(void *begin, size_t n);
void mem_open(void *begin, size_t n);

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
