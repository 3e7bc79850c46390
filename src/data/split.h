/* Which documents are held out. The choice depends on the seed and on what the documents say, not
 * on their names or places, and equal documents always go to the same side. */
#ifndef TTT_DATA_SPLIT_H
#define TTT_DATA_SPLIT_H

#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"

enum { SPLIT_DIGEST = 32 };

typedef struct SplitItem {
    unsigned char digest[SPLIT_DIGEST]; /* SHA-256 of the document */
    int64_t size;                       /* bytes */
    bool val;                           /* the result */
} SplitItem;

/* Holds out documents of about `fraction` (0 <= fraction < 1) of all bytes; where there are two
 * different documents, each side gets at least one (val only if fraction > 0). */
int split_by_fraction(SplitItem *items, int64_t n, double fraction, uint64_t seed, Err *err);

/* Documents of val whose equal is in train: only a list made by hand can bring that about. */
int64_t split_count_shared(SplitItem *items, int64_t n, Err *err);

#endif
