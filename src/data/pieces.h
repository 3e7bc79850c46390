/* Splitting a text into pieces, step by step, and each piece into tokens. */
#ifndef TTT_DATA_PIECES_H
#define TTT_DATA_PIECES_H

#include "data/token_model.h"

typedef struct Span {
    size_t from, to;
    bool match;
} Span;

/* What one step needs while the next ones run. */
typedef struct StepWork {
    RegexMatcher *matcher;
    Span *span; /* (n of room) */
    size_t n, room;
    unsigned char *text; /* with a space in front */
    size_t text_room;
} StepWork;

typedef struct PieceWork {
    const TokenModel *model;
    StepWork step[MAX_SPLIT_STEPS];
    BpeWork bpe;
    Ids ids; /* of all pieces so far */
    /* tiktoken's way with what is not UTF-8 asks which ids could still change (token_stream.c). */
    size_t loose;  /* those from here on */
    size_t spaces; /* where the run of tokens begins, up to the last id, that are all space */
} PieceWork;

void piece_work_begin(PieceWork *w, const TokenModel *model);
void piece_work_free(PieceWork *w);

/* Appends the ids of text (n bytes) and returns how many of its bytes were used: all of them at the
 * `end`; else up to where more text could change something. -1: a split pattern failed. */
int64_t pieces_take(PieceWork *w, const unsigned char *text, size_t n, bool end, Err *err);

/* Whether a text is to begin with a space, which the caller then puts there. */
bool pieces_wants_space(const TokenModel *m);

#endif
