/* Unicode normalization forms, as the `tokenizers` library computes them (its data are of an older
 * Unicode than its classes; docs/tokenizers.md). */
#ifndef TTT_DATA_NORMALIZE_H
#define TTT_DATA_NORMALIZE_H

#include <stdbool.h>
#include <stddef.h>

typedef enum NormalForm {
    NORMAL_NONE,
    NORMAL_NFC,
    NORMAL_NFD,
    NORMAL_NFKC,
    NORMAL_NFKD
} NormalForm;

typedef struct Normalizer Normalizer;

/* Ends the program when there is no memory for the tables (1.5 MB). */
Normalizer *normalizer_new(NormalForm form);
void normalizer_free(Normalizer *z); /* NULL is fine */

/* How many of the n bytes can be normalized now, whatever follows; all of them at the `end`. */
size_t normalizer_settled(const Normalizer *z, const unsigned char *text, size_t n, bool end);
/* The settled bytes normalized: *size bytes, freed with mem_free. What is not UTF-8 stays. */
unsigned char *normalizer_run(const Normalizer *z, const unsigned char *text, size_t n,
                              size_t *size);

#endif
