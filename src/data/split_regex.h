/* Split patterns that are not among the published ones (split_pattern.h): PCRE2 with its
 * just-in-time compiler. Classes in the pattern (\p{L}, \s, \d, \w) are written out as ranges of
 * our own table, so that they mean what they mean to the tokenizers of others. */
#ifndef TTT_DATA_SPLIT_REGEX_H
#define TTT_DATA_SPLIT_REGEX_H

#include <stdbool.h>
#include <stddef.h>

#include "base/err.h"

typedef struct SplitRegex SplitRegex;     /* does not change: threads may share one */
typedef struct RegexMatcher RegexMatcher; /* one for each thread */

/* pattern: UTF-8. file: for messages. */
int split_regex_new(SplitRegex **out, const char *pattern, size_t n, const char *file, Err *err);
void split_regex_free(SplitRegex *r); /* NULL is fine */
/* Whether a match depends on text before it: then text cannot be split in parts. */
bool split_regex_looks_back(const SplitRegex *r);

RegexMatcher *regex_matcher_new(const SplitRegex *r); /* ends the program when out of memory */
void regex_matcher_free(RegexMatcher *m);             /* NULL is fine */
/* The first match in text (n bytes) from `from` on: 1 and its place, 0: there is none, -1: failure.
 * end: the text is complete; without it, a match that more text might change is not one. */
int regex_find(const SplitRegex *r, RegexMatcher *m, const unsigned char *text, size_t n,
               size_t from, bool end, size_t place[2], Err *err);

#endif
