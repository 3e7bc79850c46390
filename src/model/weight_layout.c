/* The names of each layout, and the one change of values: Llama's linear maps are stored (out, in),
 * ours (in, out); and Llama turns channel i of a head with i + d/2 where ours turn neighbours
 * (rope.c), so the channels of queries and keys trade places. Scores are sums over channels: their
 * order does not matter as long as queries and keys agree, so the model stays the same function. */
#include "model/weight_layout.h"

#include <stdio.h>
#include <string.h>

typedef struct LlamaRow {
    const char *name; /* NULL: Llama has no such tensor */
    bool turned;      /* (out, in) */
    bool rope;        /* channels of a head in Llama's order */
    bool shared;      /* one head for several of the queries' */
} LlamaRow;

static const LlamaRow llama[N_PARAMS] = {
    [P_WTE] = {"model.embed_tokens.weight", false, false, false},
    [P_LN_F] = {"model.norm.weight", false, false, false},
    [P_LM_HEAD] = {"lm_head.weight", true, false, false},
    [P_WQ] = {"model.layers.%d.self_attn.q_proj.weight", true, true, false},
    [P_WK] = {"model.layers.%d.self_attn.k_proj.weight", true, true, true},
    [P_WV] = {"model.layers.%d.self_attn.v_proj.weight", true, false, true},
    [P_WO] = {"model.layers.%d.self_attn.o_proj.weight", true, false, false},
    [P_W1] = {"model.layers.%d.mlp.gate_proj.weight", true, false, false},
    [P_W2] = {"model.layers.%d.mlp.down_proj.weight", true, false, false},
    [P_W3] = {"model.layers.%d.mlp.up_proj.weight", true, false, false},
    [P_SEQ_NORM] = {"model.layers.%d.input_layernorm.weight", false, false, false},
    [P_FFN_NORM] = {"model.layers.%d.post_attention_layernorm.weight", false, false, false},
};

static const char *const names[N_LAYOUTS] = {"stacked", "layers", "hf-llama"};

const char *layout_name(WeightLayout layout)
{
    return names[layout];
}

int layout_named(WeightLayout *out, const char *name, Err *err)
{
    for (int i = 0; i < N_LAYOUTS; i++) {
        if (strcmp(names[i], name) != 0) continue;
        *out = (WeightLayout)i;
        return 0;
    }
    return err_set(err, "no layout '%.64s': take stacked, layers or hf-llama", name);
}

int layout_pieces(WeightLayout layout, ParamId id, const ParamEntry *e)
{
    if (layout == LAYOUT_LLAMA && !llama[id].name) return 0;
    return layout == LAYOUT_STACKED || e->n_layers == 0 ? 1 : e->n_layers;
}

/* Formats come from the table above; %d is the only thing they ask for. */
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wformat-nonliteral"
static void llama_name(char *out, ParamId id, int layer)
{
    snprintf(out, WEIGHT_NAME_MAX, llama[id].name, layer);
}
#pragma GCC diagnostic pop

/* The published path with the block's number behind the part that holds all blocks. */
static void layer_name(char *out, const char *path, int layer)
{
    static const char *const holders[] = {".blocks.", ".prime_storage."};
    for (int i = 0; i < ARRAY_LEN(holders); i++) {
        const char *at = strstr(path, holders[i]);
        if (!at) continue;
        at += strlen(holders[i]);
        snprintf(out, WEIGHT_NAME_MAX, "%.*s%d.%s", (int)(at - path), path, layer, at);
        return;
    }
    snprintf(out, WEIGHT_NAME_MAX, "%s", path);
}

static void llama_shape(WeightPiece *p, ParamId id, const ModelConfig *c, int64_t kv_heads)
{
    if (!llama[id].turned) return;
    int64_t out = p->shape[1], in = p->shape[0];
    p->shape[0] = llama[id].shared ? out / c->num_attention_heads * kv_heads : out;
    p->shape[1] = in;
}

void layout_piece(WeightPiece *p, WeightLayout layout, ParamId id, const ParamEntry *e, int i,
                  const ModelConfig *c, int64_t kv_heads)
{
    bool part = layout != LAYOUT_STACKED && e->n_layers > 0;
    p->n_dims = e->n_dims - part;
    memcpy(p->shape, e->shape + part, sizeof *p->shape * (size_t)p->n_dims);
    p->ours = part ? e->layer_size : e->size;
    p->offset = part ? e->layer_size * (size_t)i : 0;
    if (layout == LAYOUT_LLAMA)
        llama_name(p->name, id, i);
    else if (part)
        layer_name(p->name, e->path, i);
    else
        snprintf(p->name, sizeof p->name, "%s", e->path);
    if (layout == LAYOUT_LLAMA) llama_shape(p, id, c, kv_heads);
    p->size = 1;
    for (int d = 0; d < p->n_dims; d++) p->size *= (size_t)p->shape[d];
}

/* The row of a Llama matrix that makes output channel o of ours. */
static size_t llama_row(const LlamaRow *row, size_t o, const ModelConfig *c, int64_t kv_heads)
{
    if (!row->rope && !row->shared) return o;
    size_t heads = (size_t)c->num_attention_heads, d = (size_t)c->hidden_size / heads;
    size_t head = o / d, channel = o % d;
    if (row->shared) head /= heads / (size_t)kv_heads;
    if (row->rope) channel = channel % 2 ? d / 2 + channel / 2 : channel / 2;
    return head * d + channel;
}

void layout_import(const WeightPiece *p, WeightLayout layout, ParamId id, const ModelConfig *c,
                   int64_t kv_heads, const float *from, float *to)
{
    const LlamaRow *row = &llama[id];
    if (layout != LAYOUT_LLAMA || !row->turned) {
        memcpy(to, from, p->size * sizeof *to);
        return;
    }
    size_t in = (size_t)p->shape[1], out = p->ours / in;
    for (size_t o = 0; o < out; o++) {
        const float *source = from + llama_row(row, o, c, kv_heads) * in;
        for (size_t i = 0; i < in; i++) to[i * out + o] = source[i];
    }
}

void layout_export(const WeightPiece *p, WeightLayout layout, ParamId id, const ModelConfig *c,
                   const float *from, float *to)
{
    const LlamaRow *row = &llama[id];
    if (layout != LAYOUT_LLAMA || !row->turned) {
        memcpy(to, from, p->size * sizeof *to);
        return;
    }
    size_t in = (size_t)p->shape[1], out = p->ours / in;
    for (size_t o = 0; o < out; o++) {
        float *target = to + llama_row(row, o, c, c->num_attention_heads) * in;
        for (size_t i = 0; i < in; i++) target[i] = from[i * out + o];
    }
}
