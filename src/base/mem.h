/* Memory: aligned allocation, and what the process and the machine have of it; clocks. */
#ifndef TTT_BASE_MEM_H
#define TTT_BASE_MEM_H

#include <stdbool.h>
#include <stddef.h>

#include "base/err.h"

/* n zeroed bytes, 64-byte aligned. Pages come from the system when first touched, so a bound that
 * is never reached costs nothing. NULL, with a line in err, when there is no memory for `what`. */
void *mem_try(size_t n, const char *what, Err *err);
/* The same for what is small; mem_need ends the program when it is not there. */
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
/* Sets "no memory for WHAT: so much wanted, so much free; next step", and returns -1. */
int mem_refuse(Err *err, size_t wanted, const char *what);
/* For what is small, where nothing could go on without it: unless it is there, the program ends
 * with that line on standard error and status 1. Nothing is cleaned up, as after a kill. */
void mem_need(bool there, const char *what, ...) __attribute__((format(printf, 2, 3)));

/* Bytes: the most this process has held in memory so far. */
size_t mem_peak_rss(void);
/* Bytes that could be allocated without swapping, within the limits of a container and of ulimit
 * too; 0: not known. */
size_t mem_available(void);
/* The same, with swapping. */
size_t mem_obtainable(void);
/* The same by ulimit alone, at no cost where it sets no limit (0): the others read some files. */
size_t mem_limit_left(void);

/* Seconds of a clock that never goes back; only differences mean something. */
double time_now(void);
/* The date and time of day: "2026-01-31T12:00:00Z" (ISO 8601, UTC). */
enum { TIME_TEXT_SIZE = 32 };
void time_text(char out[TIME_TEXT_SIZE]);

#endif
