/* Inside of a reader: shared by reader.c (reading), reader_chunk.c (the passes), reader_record.c
 * and reader_room.c, reader_group.c (several at once) and reader_snapshot.c (saving). */
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

/* Of one chunk, in one block of bytes likewise. */
typedef struct ChunkArrays {
    double *lr;             /* (1): the inner learning rate */
    int32_t *ids, *targets; /* (rows) */
} ChunkArrays;

/* What is done with a whole chunk at once: its rows come, through both halves; or its tail is run
 * again, as one; its loss, and the inner step. */
enum { CHUNK_ROWS = 1, CHUNK_TAIL = 2, CHUNK_LOSS = 4 };

/* What these operations depend on, beside the room. */
typedef struct ChunkKey {
    const real *memory; /* of the reader */
    int first;          /* row of the window that the chunk begins at */
    unsigned parts;     /* CHUNK_* */
    bool learn;         /* an inner step is taken */
} ChunkKey;

/* A chunk's operations, kept: see reader_record.c. */
enum { CHUNK_RECORDS = 64 };
typedef struct ChunkRecord {
    ChunkKey key;
    int64_t used;  /* last, in chunks run in this room */
    Repeat repeat; /* no runs: the place is free */
} ChunkRecord;

/* What a pass needs only while it runs. Readers of a model take turns and share it. */
typedef struct ReaderRoom {
    int rows;    /* of a span: a chunk, or one of each stream */
    int streams; /* that go on together */
    size_t elements;
    real *memory; /* everything below */
    Lead lead;
    Tail tail;
    BlockScratch scratch;
    real *rope;               /* (rows, D/2, 2) */
    real *next, *g;           /* (P): an inner step's result, its gradient */
    real *report;             /* (rows + 1): a chunk's nll and, behind them, its gradient's norm */
    real *norm;               /* there */
    real *hidden;             /* (streams, C) */
    real *logits;             /* (streams, V) */
    ChunkArrays chunk;        /* of the rows at hand */
    ChunkArrays staged_chunk; /* the same, host */
    StepArrays step;          /* of the streams that go on together */
    StepArrays staged;        /* the same, host */
    ptrdiff_t *fast;          /* (streams), host: distances of adapted weights */
    real **together;          /* (streams), host: memory of the readers that `repeat` is of */
    int n_together;
    Repeat repeat;  /* of their step's passes */
    real *x;        /* what those left: the tail's input; its output is the tail's hidden */
    double *scalar; /* (1): a log-sum-exp */
    real *host;     /* (rows + 1 or V, the larger), host: a report, or logits */
    ChunkRecord record[CHUNK_RECORDS];
    int64_t chunks_run;
    const real *held; /* memory of the reader whose chunk the tail's activations are of, or NULL */
} ReaderRoom;

/* `staged` to `step`, `staged_chunk` to `chunk`. */
void room_step_upload(const Model *m);
void room_chunk_upload(const Model *m);
/* After this the reader's memory may go away; NULL: that of all. */
void reader_room_forget(Model *m, const real *memory);

/* The record, or the place for one, of chunks like this; NULL: places are taken. */
Repeat *reader_record(Model *m, const ChunkKey *key);
void reader_records_forget(Model *m, const real *memory);

/* The model's room, with at least this many streams' places. NULL: there is no memory for it, which
 * backend_wait tells; the room that was there stays. */
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
/* Rows of the window's room. */
int64_t reader_window_rows(const Reader *r);
/* Rows that the chunk at hand can look back on. */
int64_t reader_past_rows(const Reader *r);
/* The chunk, with so much past, is put at a place where chunks begin; returns the past's row. */
int64_t reader_window_place(Reader *r);
/* n more rows of the unfinished chunk, which has room for them. */
void reader_append_rows(Reader *r, const int32_t *tokens, int n);
/* Scores of tokens[1..n) from the n rows just appended. */
void reader_score_rows(Reader *r, const int32_t *tokens, int n, double *nll);
/* tokens: a chunk's inputs and, behind them, its last target. nll: of tokens[1..chunk], or NULL. */
int reader_read_chunk(Reader *r, const int32_t *tokens, double *nll, Err *err);
/* Learns from a full chunk, now that its last target is known. */
int reader_learn_pieces(Reader *r, int32_t next_token, Err *err);
/* Whether these tokens can be fed. */
int reader_check_tokens(const Reader *r, const int32_t *tokens, size_t n, Err *err);
/* The input of the tail for one more row is `x`, and what came out of it `hidden`; (C) each. */
void reader_row_done(Reader *r, int32_t token, const real *x, const real *hidden);

#endif
