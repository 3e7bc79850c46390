/* The distinct pieces of a text with their counts; then each as the ids of its tokens so far. */
#ifndef TTT_DATA_BPE_WORDS_H
#define TTT_DATA_BPE_WORDS_H

#include <stddef.h>
#include <stdint.h>

typedef struct Word {
    int64_t count;
    size_t at;  /* in bytes, and in ids */
    uint32_t n; /* bytes, later ids */
    uint32_t hash;
} Word;

typedef struct WordList {
    Word *word; /* (n of room) in the order in which they came */
    size_t n, room;
    unsigned char *bytes; /* (n_bytes of bytes_room) */
    size_t n_bytes, bytes_room;
    uint32_t *slot; /* (mask + 1) place + 1 in word; 0: empty */
    size_t mask;
    int32_t *ids; /* (n_bytes) after words_start */
} WordList;

/* One more of this piece. Out of memory ends the program, as everywhere here. */
void words_count(WordList *w, const unsigned char *piece, size_t n);
/* Each piece becomes the ids of its bytes, which are the bytes. */
void words_start(WordList *w);
void words_free(WordList *w);

#endif
