/* The tensors of a set as a model's parameters. */
#include "run/weights.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "base/names.h"

enum { FULL_NAME_MAX = WEIGHT_NAME_MAX + 64, MAX_LAYERS = 4096 };

static int tensor_find(const StSet *set, const char *prefix, const char *name)
{
    char full[FULL_NAME_MAX];
    snprintf(full, sizeof full, "%.63s%s", prefix, name);
    return st_set_find(set, full);
}

/* --- what a file is -----------------------------------------------------------------------------
 */

/* A table with every tensor that there can be, to have the names before the sizes are known. */
static void names_table(ParamTable *t, ModelConfig *c)
{
    *c = (ModelConfig){.vocab_size = 1,
                       .hidden_size = 1,
                       .intermediate_size = 1,
                       .output_size = 1,
                       .num_hidden_layers = 1,
                       .num_attention_heads = 1,
                       .suffix_len = 1,
                       .prime = true};
    param_table_build(t, c);
}

/* Tensor `id` of block `layer`, or -1. */
static int look(const StSet *set, WeightLayout layout, const char *prefix, ParamId id, int layer)
{
    ParamTable t;
    ModelConfig c;
    WeightPiece p;
    names_table(&t, &c);
    if (layout_pieces(layout, id, &t.entry[id]) == 0) return -1;
    layout_piece(&p, layout, id, &t.entry[id], layer, &c, 1);
    return tensor_find(set, prefix, p.name);
}

int weights_layout_find(WeightLayout *out, const StSet *set, const char *prefix, Err *err)
{
    for (int layout = 0; layout < N_LAYOUTS; layout++) {
        *out = (WeightLayout)layout;
        if (look(set, *out, prefix, P_WQ, 0) >= 0) return 0;
    }
    NameList held = {0};
    for (int i = 0; i < st_set_count(set); i++) name_list_add(&held, st_set_at(set, i)->name);
    return err_set(err,
                   "%s: no layout has these names: %s; known are those of `ttt help import`, with "
                   "--prefix where each name begins with something more",
                   st_set_path(set), held.n ? name_list_end(&held) : "(no tensor)");
}

/* Blocks: the leading axis, or one more than the highest number that is there. */
static int64_t count_layers(const StSet *set, WeightLayout layout, const char *prefix, ParamId id)
{
    int64_t n = 0;
    if (layout == LAYOUT_STACKED) {
        int i = look(set, layout, prefix, id, 0);
        return i < 0 ? 0 : st_set_at(set, i)->shape[0];
    }
    for (int l = 0; l < MAX_LAYERS; l++)
        if (look(set, layout, prefix, id, l) >= 0) n = l + 1;
    return n;
}

/* Dimension `dim` of a tensor of the given rank within a block; 0 when there is none such. */
static int64_t dim_of(const StSet *set, WeightLayout layout, const char *prefix, ParamId id,
                      int dim, int rank)
{
    bool stacked = layout == LAYOUT_STACKED && id != P_WTE && id != P_LN_F && id != P_LM_HEAD;
    int i = look(set, layout, prefix, id, 0);
    if (i < 0) return 0;
    const StTensor *t = st_set_at(set, i);
    return t->n_dims == rank + stacked ? t->shape[dim + stacked] : 0;
}

int weights_shapes(WeightShapes *out, const StSet *set, WeightLayout layout, const char *prefix,
                   Err *err)
{
    bool turned = layout == LAYOUT_LLAMA;
    *out = (WeightShapes){.vocab_size = dim_of(set, layout, prefix, P_WTE, 0, 2),
                          .hidden_size = dim_of(set, layout, prefix, P_WTE, 1, 2),
                          .intermediate_size = dim_of(set, layout, prefix, P_W1, !turned, 2),
                          .layers = count_layers(set, layout, prefix, P_WQ),
                          .suffix = count_layers(set, layout, prefix, P_PRIME_W1),
                          .output_size = dim_of(set, layout, prefix, P_LM_HEAD, !turned, 2),
                          .head_size = dim_of(set, layout, prefix, P_Q_NORM, 0, 1)};
    static const struct {
        ParamId id;
        size_t field;
    } needed[] = {{P_WTE, offsetof(WeightShapes, hidden_size)},
                  {P_W1, offsetof(WeightShapes, intermediate_size)},
                  {P_WQ, offsetof(WeightShapes, layers)}};
    for (int i = 0; i < ARRAY_LEN(needed); i++) {
        ParamTable t;
        ModelConfig c;
        WeightPiece p;
        int64_t size;
        memcpy(&size, (const char *)out + needed[i].field, sizeof size);
        if (size > 0) continue;
        names_table(&t, &c);
        layout_piece(&p, layout, needed[i].id, &t.entry[needed[i].id], 0, &c, 1);
        return err_set(err, "%s: tensor '%s%s' is missing, or of the wrong rank or empty",
                       st_set_path(set), prefix, p.name);
    }
    return 0;
}

/* --- checking -----------------------------------------------------------------------------------
 */

static int tensor_check(const WeightMap *map, int index, const WeightPiece *p, Err *err)
{
    const StTensor *t = st_set_at(map->set, index);
    const char *file = st_set_file(map->set, index);
    bool same = t->n_dims == p->n_dims;
    for (int d = 0; same && d < p->n_dims; d++) same = t->shape[d] == p->shape[d];
    if (!same) {
        char have[96], want[96];
        st_shape_text(have, sizeof have, t->n_dims, t->shape);
        st_shape_text(want, sizeof want, p->n_dims, p->shape);
        return err_set(err, "%s: tensor '%s' has shape %s, the model needs %s; check model.*", file,
                       t->name, have, want);
    }
    if (t->type > ST_BF16)
        return err_set(err, "%s: tensor '%s' holds %s; weights must be F32, BF16, F16 or F64", file,
                       t->name, st_type_name(t->type));
    return 0;
}

/* Marks the tensors that are used, and lists those that are missing. */
static int pieces_check(const WeightMap *map, bool *used, NameList *missing, Err *err)
{
    for (int id = 0; id < N_PARAMS; id++) {
        const ParamEntry *e = &map->table.entry[id];
        int n = e->present ? layout_pieces(map->layout, (ParamId)id, e) : 0;
        for (int i = 0; i < n; i++) {
            WeightPiece p;
            layout_piece(&p, map->layout, (ParamId)id, e, i, &map->model, map->kv_heads);
            int index = tensor_find(map->set, map->prefix, p.name);
            if (index < 0) {
                name_list_add(missing, p.name);
                continue;
            }
            TRY(tensor_check(map, index, &p, err));
            used[index] = true;
        }
    }
    return 0;
}

int weights_check(const WeightMap *map, Err *err)
{
    int n = st_set_count(map->set);
    NameList missing = {0}, others = {0};
    bool *used = calloc((size_t)n + 1, sizeof *used);
    mem_need(used, "a list of tensors");
    int status = pieces_check(map, used, &missing, err);
    for (int i = 0; i < n; i++) {
        const char *name = st_set_at(map->set, i)->name;
        /* Llama files may carry rope's angles, which follow from the theta. */
        bool angles = text_ends(name, ".rotary_emb.inv_freq");
        if (!used[i] && text_starts(name, map->prefix) && !angles) name_list_add(&others, name);
    }
    free(used);
    TRY(status);
    if (missing.n == 0 && others.n == 0) return 0;
    int n_missing = missing.n, n_others = others.n;
    return err_set(err, "%s does not fit (%s):%s%s%s%s%s; nothing was written",
                   st_set_path(map->set), layout_name(map->layout), n_missing ? " missing " : "",
                   name_list_end(&missing), n_missing && n_others ? ";" : "",
                   n_others ? " belonging to no part of the model " : "", name_list_end(&others));
}

/* --- reading ------------------------------------------------------------------------------------
 */

static int values_check(const WeightMap *map, int index, const float *values, size_t n, Err *err)
{
    if (map->allow_nan) return 0;
    for (size_t i = 0; i < n; i++) {
        if (isfinite(values[i])) continue;
        return err_set(err,
                       "%s: tensor '%s' has %g at element %zu; a model that diverged? "
                       "(--allow-nan takes it as it is)",
                       st_set_file(map->set, index), st_set_at(map->set, index)->name,
                       (double)values[i], i);
    }
    return 0;
}

static int piece_read(const WeightMap *map, ParamId id, const WeightPiece *p, float *out, Err *err)
{
    int index = tensor_find(map->set, map->prefix, p->name);
    CHECK(index >= 0, "'%s' was not checked", p->name);
    const StTensor *t = st_set_at(map->set, index);
    float *values = malloc((p->size ? p->size : 1) * sizeof *values);
    if (!values) return err_set(err, "no memory for '%s' (%zu elements)", p->name, p->size);
    st_to_f32(t, values);
    int status = values_check(map, index, values, p->size, err);
    if (status == 0)
        layout_import(p, map->layout, id, &map->model, map->kv_heads, values, out + p->offset);
    free(values);
    return status;
}

int weights_read(const WeightMap *map, ParamId id, float *out, Err *err)
{
    const ParamEntry *e = &map->table.entry[id];
    int n = layout_pieces(map->layout, id, e);
    CHECK(n > 0 || e->is_norm, "%s can only be read", e->path);
    for (size_t i = 0; n == 0 && i < e->size; i++) out[i] = 1;
    for (int i = 0; i < n; i++) {
        WeightPiece p;
        layout_piece(&p, map->layout, id, e, i, &map->model, map->kv_heads);
        TRY(piece_read(map, id, &p, out, err));
    }
    return 0;
}

/* --- writing ------------------------------------------------------------------------------------
 */

typedef struct OutPiece {
    const WeightMap *map;
    ParamId id;
    WeightPiece piece;
    char name[FULL_NAME_MAX];
} OutPiece;

typedef struct Writer {
    const WeightOutput *output;
    OutPiece *pieces;
    /* The parameter that was read last: its blocks follow on each other. */
    const WeightMap *map;
    ParamId id;
    float *values;
} Writer;

static int param_load(Writer *w, const OutPiece *o, Err *err)
{
    if (w->values && w->map == o->map && w->id == o->id) return 0;
    free(w->values);
    w->values = malloc(o->map->table.entry[o->id].size * sizeof *w->values);
    if (!w->values) return err_set(err, "no memory for '%s'", o->name);
    w->map = o->map;
    w->id = o->id;
    return weights_read(o->map, o->id, w->values, err);
}

static int writer_fill(void *context, int i, void *out, Err *err)
{
    Writer *w = context;
    const OutPiece *o = &w->pieces[i];
    TRY(param_load(w, o, err));
    float *values = malloc((o->piece.size ? o->piece.size : 1) * sizeof *values);
    if (!values) return err_set(err, "no memory for '%s'", o->name);
    layout_export(&o->piece, w->output->layout, o->id, &o->map->model, w->values + o->piece.offset,
                  values);
    st_from_f32(out, w->output->type, values, o->piece.size);
    free(values);
    return 0;
}

/* The pieces of one map; only counts while out is NULL. */
static int pieces_list(OutPiece *out, const WeightMap *map, const char *prefix, WeightLayout layout)
{
    int total = 0;
    for (int id = 0; id < N_PARAMS; id++) {
        const ParamEntry *e = &map->table.entry[id];
        int n = e->present ? layout_pieces(layout, (ParamId)id, e) : 0;
        for (int i = 0; i < n && out; i++) {
            OutPiece *o = &out[total + i];
            o->map = map;
            o->id = (ParamId)id;
            layout_piece(&o->piece, layout, o->id, e, i, &map->model,
                         map->model.num_attention_heads);
            snprintf(o->name, sizeof o->name, "%s%s", prefix, o->piece.name);
        }
        total += n;
    }
    return total;
}

int weights_write(const char *path, const WeightMap *const *maps, const char *const *prefixes,
                  int n_maps, const WeightOutput *output, Err *err)
{
    int n = 0;
    for (int m = 0; m < n_maps; m++) n += pieces_list(NULL, maps[m], prefixes[m], output->layout);
    Writer w = {.output = output, .pieces = calloc((size_t)n + 1, sizeof *w.pieces)};
    StTensor *tensors = calloc((size_t)n + 1, sizeof *tensors);
    mem_need(w.pieces && tensors, "%d tensors", n);
    n = 0;
    for (int m = 0; m < n_maps; m++)
        n += pieces_list(w.pieces + n, maps[m], prefixes[m], output->layout);
    for (int i = 0; i < n; i++) {
        const WeightPiece *p = &w.pieces[i].piece;
        tensors[i] = (StTensor){.name = w.pieces[i].name,
                                .type = output->type,
                                .n_dims = p->n_dims,
                                .n_elements = (int64_t)p->size};
        memcpy(tensors[i].shape, p->shape, sizeof p->shape);
    }
    int status =
        st_write_filled(path, tensors, n, output->meta, output->n_meta, writer_fill, &w, err);
    free(w.values);
    free(w.pieces);
    free(tensors);
    return status;
}
