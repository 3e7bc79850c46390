/* How far the writing of a dataset has come: a small file beside it, renewed after every file of
 * tokens. */
#ifndef TTT_DATA_WRITE_STATE_H
#define TTT_DATA_WRITE_STATE_H

#include "base/sha256.h"
#include "data/dataset.h"

typedef struct WriteState {
    int split;         /* being written */
    int64_t documents; /* written whole, of all splits */
    int64_t skip;      /* tokens of the next document that are written */
    int64_t doc_start; /* where in its split that document starts */
    struct {
        int64_t tokens, documents, docs_bytes;
        Sha256 sha;
    } splits[SPLIT_COUNT];
} WriteState;

enum { PLAN_HEX = SHA256_HEX_SIZE };

/* Returns 1 when the folder has the state of this plan, 0 when it has none, or another's. */
int write_state_read(WriteState *out, const char *folder, const char *plan, Err *err);
int write_state_write(const WriteState *state, const char *folder, const char *plan, Err *err);
int write_state_remove(const char *folder, Err *err);

#endif
