/* The split patterns that byte-level BPE models publish, as hand-written matchers: they go by our
 * own classes of Unicode and are several times faster than a regular expression. Each pattern
 * covers every text, so that pieces follow on each other without gaps. */
#ifndef TTT_DATA_SPLIT_PATTERN_H
#define TTT_DATA_SPLIT_PATTERN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Bytes of the first piece of text (n > 0 bytes, all of it). bits: unicode_bits(). A byte that is
 * not UTF-8 counts as a character without a class. */
typedef size_t (*SplitMatch)(const uint8_t *bits, const unsigned char *text, size_t n);

typedef struct SplitPattern {
    const char *name;
    const char *regex; /* as published; several patterns may share a matcher */
    SplitMatch match;
    unsigned hold; /* bits: in runs of these an end may still move when more text comes */
} SplitPattern;

/* By name ("llama3") or by the text of the regular expression; NULL when it is not among them. */
const SplitPattern *split_pattern_named(const char *name);
const SplitPattern *split_pattern_find(const char *regex);
/* The names, separated by ", ". */
void split_pattern_names(char *out, size_t size);

/* Pieces that end at this place of text (n bytes) or before it stay as they are when more follows.
 */
size_t split_pattern_settled(const SplitPattern *pattern, const uint8_t *bits,
                             const unsigned char *text, size_t n);

#endif
