/* Inside of a reader: shared by reader.c (reading) and reader_snapshot.c (saving). */
#ifndef TTT_MODEL_READER_STATE_H
#define TTT_MODEL_READER_STATE_H

#include "model/reader.h"
#include "model/tail.h"

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
    Lead lead;
    Tail tail;
    BlockScratch scratch;
    real *rope;                /* (chunk, D/2, 2) */
    real *x;                   /* (chunk, C): tail inputs of the unfinished chunk */
    real *fast, *next, *g;     /* (P): adapted weights, the step's result, its gradient */
    real *norm;                /* (1) */
    real *last_hidden;         /* (C): of the last token, before the head */
    real *logits;              /* (V): of the next token */
    int32_t *tokens, *targets; /* (chunk), host */
};

#endif
