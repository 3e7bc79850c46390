/* Byte pair encoding of one piece of text: the vocabulary, the table of merges, and the merging.
 * A piece is at first its bytes; then, again and again, the pair of neighbours with the lowest rank
 * becomes one token, the leftmost first among equals. */
#ifndef TTT_DATA_BPE_H
#define TTT_DATA_BPE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

enum {
    BPE_MAX_TOKEN = 1024,   /* bytes of a token */
    BPE_MAX_IDS = 1 << 22,  /* ids are below */
    BPE_MAX_PIECE = 1 << 25 /* longer pieces are cut here: merging takes up to 40 bytes for each */
};

typedef struct Ids {
    int32_t *v; /* (n of room) */
    size_t n, room;
} Ids;

/* Room for n more ids at v + n. */
int32_t *ids_more(Ids *ids, size_t n);
void ids_free(Ids *ids);

typedef struct BpeSlot {
    uint32_t hash;
    int32_t id; /* -1: empty */
} BpeSlot;

typedef struct BpePair {
    int32_t left, right; /* left -1: empty */
    uint32_t rank;
    int32_t id; /* of the token that they become */
} BpePair;

typedef struct Bpe {
    int32_t n_ids;        /* all ids are below; there may be holes */
    uint32_t *start;      /* (n_ids + 1) where each token's bytes are in `bytes` */
    unsigned char *bytes; /* all tokens, by id */
    uint8_t *kind;        /* (n_ids) BPE_... bits */
    uint32_t slot_mask, pair_mask;
    BpeSlot *slots;       /* (slot_mask + 1) by bytes */
    BpePair *pairs;       /* (pair_mask + 1) by left and right */
    int32_t of_byte[256]; /* the tokens of single bytes */
} Bpe;

enum {
    BPE_USED = 1,    /* there is such a token */
    BPE_TEXT = 2,    /* it stands for its bytes wherever they are a piece of their own */
    BPE_CONTROL = 4, /* it is for the model, not text: BOS and its like */
    BPE_SPACE = 8,   /* spaces, tabs and line ends only; told of ranks files */
};

/* What merging needs beside the table; one for each thread. Zeroed to begin with. */
typedef struct BpeWork {
    uint64_t *heap;
    uint32_t *rank;
    int32_t *id, *next, *previous;
    size_t room;
} BpeWork;

void bpe_work_free(BpeWork *w);

/* Appends the tokens of a piece of n bytes. */
void bpe_encode(const Bpe *b, BpeWork *w, const unsigned char *piece, size_t n, Ids *out);
/* The same without looking the piece up as a whole. */
void bpe_merge(const Bpe *b, BpeWork *w, const unsigned char *piece, size_t n, Ids *out);

/* The token with these bytes, -1: none. Only tokens with BPE_TEXT are found. */
int32_t bpe_find(const Bpe *b, const unsigned char *bytes, size_t n);
/* The pair's row, NULL when they do not merge. */
const BpePair *bpe_pair(const Bpe *b, int32_t left, int32_t right);
/* The pair's row, or the empty one where it would be. */
BpePair *bpe_pair_slot(const Bpe *b, int32_t left, int32_t right);
uint32_t bpe_hash(const unsigned char *bytes, size_t n);
/* Bytes of a token; *n = 0 where there is none. */
static inline const unsigned char *bpe_bytes(const Bpe *b, int32_t id, size_t *n)
{
    *n = b->start[id + 1] - b->start[id];
    return b->bytes + b->start[id];
}

/* --- making one: add tokens, place them, then pairs ---------------------------------------------
 */

typedef struct BpeToken {
    int32_t id;
    uint8_t kind;
    uint32_t at, length; /* in the text given to bpe_place */
} BpeToken;

/* tokens (n), of which no two may have the same id. file: for messages. On failure nothing is left
 * to free. */
int bpe_place(Bpe *b, const BpeToken *tokens, size_t n, const unsigned char *text, const char *file,
              Err *err);
/* Room for n pairs; then add them. The last of equal pairs counts. */
int bpe_pairs_begin(Bpe *b, size_t n, Err *err);
void bpe_pairs_add(Bpe *b, BpePair pair);
/* Every way to split a token in two tokens is a pair with the token's id as its rank: merging by
 * ranks, as tiktoken does. */
int bpe_pairs_from_ranks(Bpe *b, Err *err);
/* Takes BPE_TEXT from tokens that merging their bytes does not give. */
void bpe_keep_reachable(Bpe *b);
void bpe_free(Bpe *b);

#endif
