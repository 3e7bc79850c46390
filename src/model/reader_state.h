/* Inside of a reader: shared by reader.c (reading), reader_room.c, reader_group.c (several at once)
 * and reader_snapshot.c (saving). */
#ifndef TTT_MODEL_READER_STATE_H
#define TTT_MODEL_READER_STATE_H

#include "backend/repeat.h"
#include "model/reader.h"
#include "model/tail.h"

/* Of one step of streams side by side, in one block of bytes: host memory, or the backend's. */
typedef struct StepArrays {
    ptrdiff_t *shift; /* (streams) each: as in Places */
    int64_t *position;
    int *first;
    int32_t *ids;
} StepArrays;

/* What a pass needs only while it runs. Readers of a model take turns and share it. */
typedef struct ReaderRoom {
    int rows;    /* of a span: a chunk, or one of each stream */
    int streams; /* that go on together */
    size_t elements;
    real *memory; /* everything below */
    Lead lead;
    Tail tail;
    BlockScratch scratch;
    real *rope;        /* (rows, D/2, 2) */
    real *next, *g;    /* (P): an inner step's result, its gradient */
    real *norm;        /* (1) */
    real *hidden;      /* (streams, C) */
    real *logits;      /* (streams, V) */
    int32_t *ids;      /* (rows): inputs, or targets, of the rows at hand */
    StepArrays step;   /* of the streams that go on together */
    StepArrays staged; /* the same, host */
    ptrdiff_t *fast;   /* (streams), host: distances of adapted weights */
    real **together;   /* (streams), host: memory of the readers that `repeat` is of */
    int n_together;
    Repeat repeat;  /* of their step's passes */
    real *x;        /* what those left: the tail's input; its output is the tail's hidden */
    double *scalar; /* (1): an inner learning rate, or a log-sum-exp */
    real *host;     /* (rows or V, the larger), host: the rows' nll, or logits */
} ReaderRoom;

/* Ids of a pass into the room; good until the next ones. */
const int32_t *room_ids(const Model *m, const int32_t *host, int n);

/* `staged` to `step`. */
void room_step_upload(const Model *m);
/* After this the memory of readers may go away. */
void reader_room_forget(Model *m);

/* The model's room, with at least this many streams' places; NULL is never returned. */
ReaderRoom *reader_room(Model *m, int streams);
void reader_room_free(Model *m); /* the model's; none is fine */

struct Reader {
    Model *m;
    bool learn;
    double inner_lr;
    ReaderCounters counters;
    int chunk;         /* tokens of a chunk */
    int fill;          /* inputs of the unfinished chunk, 0..chunk */
    int64_t history;   /* rows of keys kept before a chunk; -1: all */
    int64_t kv_base;   /* position of row 0 of the keys */
    bool logits_known; /* `logits` belong to last_hidden */

    size_t elements;
    real *memory; /* everything below */
    KvCache kv;
    real *x;                   /* (chunk, C): tail inputs of the unfinished chunk */
    real *fast;                /* (P): adapted weights */
    real *last_hidden;         /* (C): of the last token, before the head */
    real *logits;              /* (V): of the next token */
    int32_t *tokens, *targets; /* (chunk), host */
};

/* After `fast` has changed: copies that products read follow it. */
void reader_fast_changed(Reader *r);
/* Learns from a full chunk, now that its last target is known. */
int reader_learn_pieces(Reader *r, int32_t next_token, Err *err);
/* Whether these tokens can be fed. */
int reader_check_tokens(const Reader *r, const int32_t *tokens, size_t n, Err *err);
/* The input of the tail for one more row is `x`, and what came out of it `hidden`; (C) each. */
void reader_row_done(Reader *r, int32_t token, const real *x, const real *hidden);

#endif
