/* Tensors of files laid onto a model's parameters: found, checked, read, written in any layout. */
#ifndef TTT_RUN_WEIGHTS_H
#define TTT_RUN_WEIGHTS_H

#include "base/st_set.h"
#include "model/weight_layout.h"

typedef struct WeightMap {
    const StSet *set;
    WeightLayout layout;
    const char *prefix; /* before every name of the file, such as "params/"; "": none */
    ModelConfig model;
    int64_t kv_heads; /* in a Llama file; elsewhere num_attention_heads */
    bool allow_nan;
    ParamTable table;
} WeightMap;

/* What the shapes of a file tell. */
typedef struct WeightShapes {
    int64_t vocab_size, hidden_size, intermediate_size, layers,
        suffix;          /* suffix 0: no prime MLPs */
    int64_t output_size; /* 0: the embedding is the head too */
    int64_t head_size;   /* 0: not told */
} WeightShapes;

/* The layout whose names are in the set. */
int weights_layout_find(WeightLayout *out, const StSet *set, const char *prefix, Err *err);
int weights_shapes(WeightShapes *out, const StSet *set, WeightLayout layout, const char *prefix,
                   Err *err);

/* Every tensor of the model is there with its shape and of a float type, and no other is (with a
 * prefix, only names that begin with it count). */
int weights_check(const WeightMap *map, Err *err);

/* All of a parameter, (table.entry[id].size) floats. What the layout does not have is ones: only
 * norms, which the configuration switches off. NaN and Inf fail unless allowed. */
int weights_read(const WeightMap *map, ParamId id, float *out, Err *err);

/* One file of the tensors of all maps, each map's under its prefix. */
typedef struct WeightOutput {
    WeightLayout layout;
    StType type; /* ST_F32 or ST_BF16 */
    const StMeta *meta;
    int n_meta;
} WeightOutput;
int weights_write(const char *path, const WeightMap *const *maps, const char *const *prefixes,
                  int n_maps, const WeightOutput *output, Err *err);

#endif
