/* Documents into tokens, on several threads, in the order given. */
#ifndef TTT_DATA_ENCODE_TEXTS_H
#define TTT_DATA_ENCODE_TEXTS_H

#include <signal.h>

#include "data/dataset_writer.h"
#include "data/split.h"
#include "data/token_stream.h"
#include "data/walk.h"

/* The largest document: it is in memory while it is encoded. */
extern const int64_t encode_max_document;

typedef struct EncodeTexts {
    const Tokenizer *tok;
    const FileList *files;
    const SplitItem *items; /* (files->n): digests and splits */
    const int64_t *order;   /* (files->n): which file is next */
    DatasetWriter *writer;
    int threads;
    TokenStream **stream;              /* (threads) while it runs */
    const volatile sig_atomic_t *stop; /* or NULL */
    void (*progress)(void *context, int64_t bytes_done);
    void *context;
} EncodeTexts;

/* Takes the SHA-256 and the size of a file. */
int encode_digest(SplitItem *out, const char *path, Err *err);
/* Writes the documents from place `from` of the order on. */
int encode_texts(EncodeTexts *e, int64_t from, Err *err);
int encode_check_stop(const volatile sig_atomic_t *stop, Err *err);

#endif
