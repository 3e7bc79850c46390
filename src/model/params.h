/* The one table of parameters: path, shape, initial value, place in the flat block. */
#ifndef TTT_MODEL_PARAMS_H
#define TTT_MODEL_PARAMS_H

#include <stddef.h>

#include "model/config.h"

typedef enum ParamId {
    P_WTE,
    P_LN_F,
    P_LM_HEAD,
    P_WQ,
    P_WK,
    P_WV,
    P_WO,
    P_Q_NORM,
    P_K_NORM,
    P_W1,
    P_W2,
    P_W3,
    P_SEQ_NORM,
    P_SEQ_POST_NORM,
    P_FFN_NORM,
    P_FFN_POST_NORM,
    P_PRIME_W1,
    P_PRIME_W2,
    P_PRIME_W3,
    P_PRIME_NORM,
    P_PRIME_POST_NORM,
    N_PARAMS
} ParamId;

enum { PARAM_PATH_MAX = 128 };

typedef struct ParamEntry {
    bool present;              /* lm_head and the prime tensors are optional */
    char path[PARAM_PATH_MAX]; /* published path, layers stacked on the leading axis */
    int n_dims;
    int64_t shape[3];
    int first_layer, n_layers; /* the blocks it belongs to; 0 layers: not in a block */
    size_t offset, size;       /* in the flat block */
    size_t layer_size;         /* size / n_layers, or size */
    bool is_norm;              /* starts at 1 instead of random */
} ParamEntry;

typedef struct ParamTable {
    ParamEntry entry[N_PARAMS];
    size_t size; /* elements of the flat block */
} ParamTable;

/* A piece of a tensor as the inner loop names it: prefix_blocks or suffix_blocks of a stacked one,
 * or the whole of another. */
typedef struct InnerSlice {
    ParamId id;
    char path[PARAM_PATH_MAX];
    int first_layer, n_layers;
    size_t param_offset, size; /* in the flat block of parameters */
    bool live;                 /* the chunk loss depends on it; else its gradient is zero */
    size_t inner_offset;       /* of a live slice, in one sequence's vector of inner weights */
} InnerSlice;

typedef struct InnerTable {
    int n;
    InnerSlice slice[2 * N_PARAMS];
    size_t size; /* elements of one sequence's live inner weights, P */
    int n_layers;
    ptrdiff_t *at; /* (N_PARAMS, n_layers): offset in P, or -1 */
} InnerTable;

void param_table_build(ParamTable *t, const ModelConfig *c);
/* In meta mode the slices that spec_inner selects; in pretrain mode none. */
int inner_table_build(InnerTable *inner, const ParamTable *t, const Config *c, Err *err);
void inner_table_free(InnerTable *inner);
/* Offset of (id, layer) in the live inner vector, -1 when it is not inner. */
ptrdiff_t inner_offset(const InnerTable *inner, ParamId id, int layer);

#endif
