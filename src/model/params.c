/* The table of parameters and the selection of inner ones. To add a tensor: one ParamId, one row.
 */
#include "model/params.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"

#define ROOT   "language_model.model."
#define BLOCKS ROOT "h.blocks."
#define PRIME  ROOT "h.prime_storage."

typedef enum Place { ONCE, EVERY_BLOCK, SUFFIX_BLOCK } Place;
typedef enum Use { BEFORE_TAIL, IN_TAIL, PRE_NORM, POST_NORM, QK_NORM } Use;

typedef struct ParamRow {
    const char *path; /* published, stacked */
    Place place;
    char dims[3]; /* C hidden, F ffn, V vocab, O output, D head */
    bool is_norm;
    Use use; /* the switch that decides whether the loss depends on it */
} ParamRow;

static const ParamRow rows[N_PARAMS] = {
    [P_WTE] = {ROOT "wte.weight", ONCE, "VC", false, BEFORE_TAIL},
    [P_LN_F] = {ROOT "ln_f.weight", ONCE, "C", true, IN_TAIL},
    [P_LM_HEAD] = {"language_model.lm_head.weight", ONCE, "CO", false, IN_TAIL},
    [P_WQ] = {BLOCKS "seq_modeling_block.wq.weight", EVERY_BLOCK, "CC", false, IN_TAIL},
    [P_WK] = {BLOCKS "seq_modeling_block.wk.weight", EVERY_BLOCK, "CC", false, IN_TAIL},
    [P_WV] = {BLOCKS "seq_modeling_block.wv.weight", EVERY_BLOCK, "CC", false, IN_TAIL},
    [P_WO] = {BLOCKS "seq_modeling_block.wo.weight", EVERY_BLOCK, "CC", false, IN_TAIL},
    [P_Q_NORM] = {BLOCKS "seq_modeling_block.q_norm.weight", EVERY_BLOCK, "D", true, QK_NORM},
    [P_K_NORM] = {BLOCKS "seq_modeling_block.k_norm.weight", EVERY_BLOCK, "D", true, QK_NORM},
    [P_W1] = {BLOCKS "feed_forward.w1.weight", EVERY_BLOCK, "CF", false, IN_TAIL},
    [P_W2] = {BLOCKS "feed_forward.w2.weight", EVERY_BLOCK, "FC", false, IN_TAIL},
    [P_W3] = {BLOCKS "feed_forward.w3.weight", EVERY_BLOCK, "CF", false, IN_TAIL},
    [P_SEQ_NORM] = {BLOCKS "seq_norm.weight", EVERY_BLOCK, "C", true, PRE_NORM},
    [P_SEQ_POST_NORM] = {BLOCKS "seq_post_norm.weight", EVERY_BLOCK, "C", true, POST_NORM},
    [P_FFN_NORM] = {BLOCKS "ffn_norm.weight", EVERY_BLOCK, "C", true, PRE_NORM},
    [P_FFN_POST_NORM] = {BLOCKS "ffn_post_norm.weight", EVERY_BLOCK, "C", true, POST_NORM},
    [P_PRIME_W1] = {PRIME "feed_forward_prime.w1.weight", SUFFIX_BLOCK, "CF", false, IN_TAIL},
    [P_PRIME_W2] = {PRIME "feed_forward_prime.w2.weight", SUFFIX_BLOCK, "FC", false, IN_TAIL},
    [P_PRIME_W3] = {PRIME "feed_forward_prime.w3.weight", SUFFIX_BLOCK, "CF", false, IN_TAIL},
    [P_PRIME_NORM] = {PRIME "ffn_prime_norm.weight", SUFFIX_BLOCK, "C", true, PRE_NORM},
    [P_PRIME_POST_NORM] = {PRIME "ffn_prime_post_norm.weight", SUFFIX_BLOCK, "C", true, POST_NORM},
};

static int64_t dim_size(char dim, const ModelConfig *c)
{
    switch (dim) {
    case 'C':
        return c->hidden_size;
    case 'F':
        return c->intermediate_size;
    case 'V':
        return c->vocab_size;
    case 'O':
        return c->output_size;
    default:
        return c->hidden_size / c->num_attention_heads;
    }
}

static bool row_present(ParamId id, const ModelConfig *c)
{
    if (id == P_LM_HEAD) return !c->tie_word_embeddings;
    return rows[id].place != SUFFIX_BLOCK || (c->prime && c->suffix_len > 0);
}

void param_table_build(ParamTable *t, const ModelConfig *c)
{
    memset(t, 0, sizeof *t);
    int layers = (int)c->num_hidden_layers, suffix = (int)c->suffix_len;
    for (int id = 0; id < N_PARAMS; id++) {
        const ParamRow *row = &rows[id];
        ParamEntry *e = &t->entry[id];
        e->present = row_present((ParamId)id, c);
        if (!e->present) continue;
        snprintf(e->path, sizeof e->path, "%s", row->path);
        e->is_norm = row->is_norm;
        if (row->place != ONCE) {
            e->first_layer = row->place == SUFFIX_BLOCK ? layers - suffix : 0;
            e->n_layers = layers - e->first_layer;
            e->shape[e->n_dims++] = e->n_layers;
        }
        e->layer_size = 1;
        for (int i = 0; i < 2 && row->dims[i]; i++) {
            e->shape[e->n_dims] = dim_size(row->dims[i], c);
            e->layer_size *= (size_t)e->shape[e->n_dims++];
        }
        e->size = e->layer_size * (size_t)(e->n_layers ? e->n_layers : 1);
        e->offset = t->size;
        t->size += e->size;
    }
}

/* Whether a chunk's loss depends on this slice (the embedding's own role ended in the leading
 * blocks; a tied head reads it again). */
static bool slice_live(ParamId id, bool in_suffix, const ModelConfig *c)
{
    if (rows[id].place != ONCE && !in_suffix) return false;
    switch (rows[id].use) {
    case BEFORE_TAIL:
        return c->tie_word_embeddings;
    case PRE_NORM:
        return c->pre_norm;
    case POST_NORM:
        return c->post_norm;
    case QK_NORM:
        return c->qk_norm;
    default:
        return true;
    }
}

/* The name under which the inner loop sees layers [first, first + n) of a stacked tensor. */
static void slice_path(char *out, ParamId id, bool in_suffix)
{
    const char *rest = rows[id].path, *part = in_suffix ? "suffix_blocks." : "prefix_blocks.";
    if (rows[id].place == EVERY_BLOCK)
        rest += strlen(BLOCKS);
    else if (rows[id].place == SUFFIX_BLOCK)
        rest += strlen(PRIME);
    if (rows[id].place == ONCE)
        snprintf(out, PARAM_PATH_MAX, "%s", rest);
    else
        snprintf(out, PARAM_PATH_MAX, ROOT "h.%s%s", part, rest);
}

static void add_slice(InnerTable *inner, const ParamEntry *e, ParamId id, int first, int n,
                      bool in_suffix, const Config *c)
{
    InnerSlice s = {.id = id, .first_layer = first, .n_layers = n};
    if (rows[id].place != ONCE && n == 0) return;
    slice_path(s.path, id, in_suffix);
    if (!spec_selects(&c->training.spec_inner, s.path)) return;
    s.param_offset = e->offset + (size_t)(first - e->first_layer) * e->layer_size;
    s.size = e->layer_size * (size_t)(n ? n : 1);
    s.live = slice_live(id, in_suffix, &c->model);
    if (s.live) {
        s.inner_offset = inner->size;
        for (int l = 0; l < (n ? n : 1); l++)
            inner->at[(int)id * inner->n_layers + first + l] =
                (ptrdiff_t)(inner->size + (size_t)l * e->layer_size);
        inner->size += s.size;
    }
    inner->slice[inner->n++] = s;
}

int inner_table_build(InnerTable *inner, const ParamTable *t, const Config *c, Err *err)
{
    memset(inner, 0, sizeof *inner);
    int layers = (int)c->model.num_hidden_layers, prefix = layers - (int)c->model.suffix_len;
    inner->n_layers = layers;
    size_t places = (size_t)N_PARAMS * (size_t)layers;
    inner->at = malloc(places * sizeof *inner->at);
    mem_need(inner->at, "a table of parameters");
    for (size_t i = 0; i < places; i++) inner->at[i] = -1;
    if (c->training.train_mode != TRAIN_META) return 0;
    for (int id = 0; id < N_PARAMS; id++) {
        const ParamEntry *e = &t->entry[id];
        if (!e->present) continue;
        if (rows[id].place == EVERY_BLOCK) add_slice(inner, e, (ParamId)id, 0, prefix, false, c);
        if (rows[id].place == ONCE)
            add_slice(inner, e, (ParamId)id, 0, 0, false, c);
        else
            add_slice(inner, e, (ParamId)id, prefix, layers - prefix, true, c);
    }
    if (inner->n > 0) return 0;
    inner_table_free(inner);
    return err_set(
        err, "training.spec_inner selects no parameter of this model; for example "
             "['language_model.**.suffix_blocks.feed_forward_prime.**'] selects the prime MLPs "
             "(model.prime=true), 'language_model.**.suffix_blocks.**' whole blocks");
}

void inner_table_free(InnerTable *inner)
{
    free(inner->at);
    inner->at = NULL;
}

ptrdiff_t inner_offset(const InnerTable *inner, ParamId id, int layer)
{
    return inner->at[(int)id * inner->n_layers + layer];
}
