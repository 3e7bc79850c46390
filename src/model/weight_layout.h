/* How files name and shape a model's tensors: ours (published paths, blocks stacked on the leading
 * axis), the same one block at a time, or as Hugging Face's Llama has them. */
#ifndef TTT_MODEL_WEIGHT_LAYOUT_H
#define TTT_MODEL_WEIGHT_LAYOUT_H

#include "model/params.h"

typedef enum WeightLayout {
    LAYOUT_STACKED, /* language_model.model.h.blocks.feed_forward.w1.weight   (L, C, F) */
    LAYOUT_LAYERS,  /* language_model.model.h.blocks.0.feed_forward.w1.weight (C, F) */
    LAYOUT_LLAMA,   /* model.layers.0.mlp.gate_proj.weight                    (F, C) */
    N_LAYOUTS
} WeightLayout;

enum { WEIGHT_NAME_MAX = 192 };

/* One tensor of a file: a whole parameter, or its part of one block. */
typedef struct WeightPiece {
    char name[WEIGHT_NAME_MAX];
    int n_dims;
    int64_t shape[3];
    size_t size;   /* elements in the file */
    size_t offset; /* of its first element in the parameter */
    size_t ours;   /* elements of the parameter that it makes: more than size for shared keys */
} WeightPiece;

const char *layout_name(WeightLayout layout);                    /* "stacked" */
int layout_named(WeightLayout *out, const char *name, Err *err); /* the other way */

/* How many tensors of a file make up a parameter; 0: the layout does not have it (Llama has no
 * norms of queries and keys, nor any after attention and MLP). */
int layout_pieces(WeightLayout layout, ParamId id, const ParamEntry *e);
/* Piece i of them. kv_heads: heads of keys and values in a Llama file; ours have as many as of
 * queries, so each one there makes several here. */
void layout_piece(WeightPiece *p, WeightLayout layout, ParamId id, const ParamEntry *e, int i,
                  const ModelConfig *c, int64_t kv_heads);

/* A piece's elements to ours, (p->ours) of them, and ours to a piece's. They may not overlap. */
void layout_import(const WeightPiece *p, WeightLayout layout, ParamId id, const ModelConfig *c,
                   int64_t kv_heads, const float *from, float *to);
void layout_export(const WeightPiece *p, WeightLayout layout, ParamId id, const ModelConfig *c,
                   const float *from, float *to);

#endif
