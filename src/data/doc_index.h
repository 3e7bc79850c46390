/* The list of a split's documents: one JSON object a line, {"name", "start", "tokens"}, in the
 * order of the tokens, without gaps. */
#ifndef TTT_DATA_DOC_INDEX_H
#define TTT_DATA_DOC_INDEX_H

#include <stdint.h>

#include "base/err.h"
#include "data/token_source.h"

typedef struct DocIndex {
    Document *docs; /* (n_docs) */
    int64_t n_docs;
    char *names; /* what the docs' names point into */
} DocIndex;

/* Reads the file, which must list n_docs documents that fill n_tokens tokens exactly. */
int doc_index_read(DocIndex *out, const char *path, int64_t n_docs, int64_t n_tokens, Err *err);
void doc_index_free(DocIndex *index);

/* The document's line, "\n" at its end, to be freed by the caller; NULL without memory. The name
 * may hold any bytes. */
char *doc_index_line(const char *name, int64_t start, int64_t tokens);

#endif
