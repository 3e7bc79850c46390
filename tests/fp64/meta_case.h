/* Tiny models and token sequences of every kind, for test_meta.c and test_reference.c. Float64. */
#ifndef TTT_TESTS_META_CASE_H
#define TTT_TESTS_META_CASE_H

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/rng.h"
#include "model/sweep.h"

enum { BOS = 1, HIDDEN = 8, HEADS = 2, VOCAB = 13 };

#define PRIME_MLP "language_model.**.suffix_blocks.feed_forward_prime.**"

/* Zero means: SWA, 3 layers, 1 suffix block, 1 sequence of 16 tokens, chunk 4, window 6, all norms,
 * tied head, prime MLPs learn, inner lr 0.1, no clipping. */
typedef struct MetaCase {
    const char *name;
    int block, layers, suffix, B, T, chunk, window; /* window -1: as long as anything */
    bool pretrain, no_prime, no_pre_norm, no_post_norm, no_qk_norm, untied;
    const char *spec[3];
    double lr, clip;
    int masked_chunk;     /* counted from 1: all its targets are BOS */
    bool masked_sequence; /* the first sequence has nothing else */
} MetaCase;

static int64_t or_else(int value, int64_t otherwise)
{
    return value ? value : otherwise;
}

static void case_model_config(const MetaCase *c, ModelConfig *m)
{
    m->seq_modeling_block = c->block ? c->block - 1 : SEQ_SWA;
    m->hidden_size = HIDDEN;
    m->num_attention_heads = HEADS;
    m->intermediate_size = 11;
    m->vocab_size = m->output_size = VOCAB;
    m->bos_token_id = BOS;
    m->num_hidden_layers = or_else(c->layers, 3);
    m->suffix_len = or_else(c->suffix, 1);
    m->mini_batch_size = or_else(c->chunk, 4);
    m->sliding_window_size = c->window < 0 ? 1000 : or_else(c->window, 6);
    m->rms_norm_eps = 1e-3;
    m->rope_theta = 50;
    m->prime = !c->no_prime;
    m->pre_norm = !c->no_pre_norm;
    m->post_norm = !c->no_post_norm;
    m->qk_norm = !c->no_qk_norm;
    m->tie_word_embeddings = !c->untied;
    m->compute_dtype = COMPUTE_FP64;
}

static void case_config(const MetaCase *c, Config *cfg)
{
    TrainingConfig *t = &cfg->training;
    config_defaults(cfg);
    case_model_config(c, &cfg->model);
    t->train_mode = c->pretrain ? TRAIN_PRETRAIN : TRAIN_META;
    t->optimizer_inner.optimizer_type = OPT_SGD;
    t->optimizer_inner.clip_gradient = c->clip;
    t->activation_mb = 1 << 20;
    t->inner_remat_freq = 1;
    t->spec_inner.n = 0;
    for (int i = 0; i < ARRAY_LEN(c->spec) && c->spec[i]; i++)
        snprintf(t->spec_inner.glob[t->spec_inner.n++], CFG_TEXT, "%s", c->spec[i]);
    if (t->spec_inner.n == 0)
        snprintf(t->spec_inner.glob[t->spec_inner.n++], CFG_TEXT, "%s", PRIME_MLP);
}

/* Weights large enough that every part of the model matters, but products of products, which
 * nothing brings back to size without norms, stay where finite differences can follow. */
static Model *case_model(Backend *be, const Config *cfg)
{
    Model *m = NULL;
    Err err = {""};
    double scale = cfg->model.pre_norm || cfg->model.post_norm ? 0.4 : 0.25;
    CHECK(model_create(&m, be, cfg, &err) == 0, "%s", err.text);
    for (int id = 0; id < N_PARAMS; id++) {
        const ParamEntry *e = &m->table.entry[id];
        Rng rng;
        rng_seed(&rng, 77, (uint64_t)id);
        for (size_t i = 0; e->present && i < e->size; i++)
            m->params[e->offset + i] =
                (e->is_norm ? 1 : 0) + (e->is_norm ? 0.2 : scale) * rng_normal(&rng);
    }
    return m;
}

static int case_length(const MetaCase *c)
{
    return (int)or_else(c->T, 16);
}
static int case_batch(const MetaCase *c)
{
    return (int)or_else(c->B, 1);
}
static double case_lr(const MetaCase *c)
{
    return c->lr > 0 ? c->lr : 0.1;
}

/* (B, T+1), to be freed; some tokens are BOS. */
static int32_t *case_tokens(const MetaCase *c)
{
    int B = case_batch(c), T = case_length(c), chunk = (int)or_else(c->chunk, 4);
    int32_t *tokens = malloc((size_t)B * (size_t)(T + 1) * sizeof *tokens);
    CHECK(tokens, "out of memory");
    Rng rng;
    rng_seed(&rng, 5, 5);
    for (int i = 0; i < B * (T + 1); i++) {
        int at = i % (T + 1);
        bool masked = c->masked_chunk && at >= 1 && (at - 1) / chunk == c->masked_chunk - 1;
        tokens[i] = (int32_t)rng_below(&rng, VOCAB);
        if (masked || i % 7 == 3 || (c->masked_sequence && i <= T)) tokens[i] = BOS;
    }
    return tokens;
}

static Sweep *case_sweep(const MetaCase *c, Model *m, bool gradient, bool learn)
{
    Sweep *s = NULL;
    Err err = {""};
    SweepOptions o = {
        .batch = case_batch(c), .length = case_length(c), .gradient = gradient, .learn = learn};
    CHECK(sweep_create(&s, m, &o, &err) == 0, "%s", err.text);
    return s;
}

static const MetaCase meta_cases[] = {
    {.name = "prime MLP"},
    {.name = "prime, two suffix blocks, batch", .suffix = 2, .B = 3, .T = 14},
    {.name = "all blocks are suffix", .layers = 2, .suffix = 2, .window = 3},
    {.name = "one block", .layers = 1, .suffix = 1, .B = 2},
    {.name = "window = chunk", .window = 4, .suffix = 2, .clip = 0.3},
    {.name = "window > T", .window = -1, .suffix = 2, .B = 2},
    {.name = "window 1", .window = 1, .suffix = 2},
    {.name = "window spans three chunks", .window = 11, .suffix = 2, .T = 24, .chunk = 3},
    {.name = "chunk 1", .chunk = 1, .T = 10, .suffix = 2, .window = 4, .lr = 0.03},
    {.name = "chunk does not divide T", .chunk = 5, .T = 17, .suffix = 2, .B = 2},
    {.name = "chunk > T", .chunk = 30, .T = 10, .suffix = 2},
    {.name = "clipping, always", .clip = 0.05, .suffix = 2, .B = 2, .lr = 2},
    {.name = "clipping, sometimes", .clip = 2, .suffix = 2, .B = 2, .T = 24},
    {.name = "clipping, never", .clip = 1000, .suffix = 2},
    {.name = "whole suffix blocks", .suffix = 2, .spec = {"**.suffix_blocks.**"}, .clip = 0.4},
    {.name = "everything", .suffix = 2, .spec = {"**"}, .clip = 1, .B = 2},
    {.name = "everything, untied", .suffix = 2, .spec = {"**"}, .untied = true, .lr = 0.005},
    {.name = "everything, no norms",
     .suffix = 2,
     .spec = {"**"},
     .no_pre_norm = true,
     .no_post_norm = true,
     .no_qk_norm = true,
     .lr = 0.005,
     .B = 2},
    {.name = "everything but w2", .suffix = 2, .spec = {"**", "exclude **.w2.**"}, .lr = 0.1},
    {.name = "only wk", .suffix = 2, .spec = {"**.suffix_blocks.seq_modeling_block.wk.weight"}},
    {.name = "only wv", .suffix = 2, .spec = {"**.suffix_blocks.seq_modeling_block.wv.weight"}},
    {.name = "only wq, wk, no qk_norm",
     .suffix = 2,
     .no_qk_norm = true,
     .B = 2,
     .spec = {"**.suffix_blocks.seq_modeling_block.wq.**",
              "**.suffix_blocks.seq_modeling_block.wk.**"}},
    {.name = "only wo", .suffix = 2, .spec = {"**.suffix_blocks.**.wo.**"}},
    {.name = "only k_norm", .suffix = 2, .spec = {"**.suffix_blocks.**.k_norm.**"}},
    {.name = "only q_norm", .suffix = 2, .spec = {"**.suffix_blocks.**.q_norm.**"}},
    {.name = "only w1", .suffix = 2, .spec = {"**.suffix_blocks.feed_forward.w1.**"}},
    {.name = "only w2", .suffix = 2, .spec = {"**.suffix_blocks.feed_forward.w2.**"}},
    {.name = "only w3",
     .suffix = 2,
     .spec = {"**.suffix_blocks.feed_forward.w3.**"},
     .no_prime = true},
    {.name = "only norms", .suffix = 2, .spec = {"**.suffix_blocks.*norm.weight", "**.ln_f.*"}},
    {.name = "only pre-norms",
     .suffix = 2,
     .spec = {"**.suffix_blocks.ffn_norm.*", "**.suffix_blocks.ffn_prime_norm.*"}},
    {.name = "only post-norms", .suffix = 2, .spec = {"**.suffix_blocks.*post_norm.*"}},
    {.name = "norms that are off",
     .suffix = 2,
     .spec = {"**.suffix_blocks.*norm.*", PRIME_MLP},
     .no_pre_norm = true,
     .no_post_norm = true,
     .lr = 0.05},
    {.name = "only ln_f", .spec = {"**.ln_f.weight"}, .B = 2},
    {.name = "only the tied head", .spec = {"**.wte.weight"}, .B = 2, .suffix = 2},
    {.name = "only the untied head", .spec = {"**.lm_head.weight"}, .untied = true, .B = 2},
    {.name = "embedding and prefix of an untied model",
     .untied = true,
     .spec = {"**.wte.*", "**.prefix_blocks.**", PRIME_MLP}},
    {.name = "no pre_norm", .suffix = 2, .no_pre_norm = true, .lr = 0.1},
    {.name = "no post_norm", .suffix = 2, .no_post_norm = true, .lr = 0.005},
    {.name = "no qk_norm", .suffix = 2, .no_qk_norm = true},
    {.name = "no prime, whole blocks",
     .suffix = 2,
     .no_prime = true,
     .spec = {"**.suffix_blocks.**"}},
    {.name = "a masked chunk", .suffix = 2, .masked_chunk = 2, .B = 2, .clip = 0.4},
    {.name = "a masked first chunk", .suffix = 2, .masked_chunk = 1, .spec = {"**"}, .lr = 0.1},
    {.name = "a masked last chunk", .suffix = 2, .masked_chunk = 4, .B = 2},
    {.name = "a masked sequence", .suffix = 2, .masked_sequence = true, .B = 2, .clip = 0.4},
    {.name = "SWAFull", .block = SEQ_SWA_FULL + 1, .suffix = 2, .chunk = 5},
    {.name = "SWAFull, one chunk",
     .block = SEQ_SWA_FULL + 1,
     .suffix = 2,
     .chunk = 16,
     .window = 5},
    {.name = "self_attention", .block = SEQ_SELF_ATTENTION + 1, .suffix = 2, .B = 2, .clip = 0.4},
    {.name = "self_attention, everything",
     .block = SEQ_SELF_ATTENTION + 1,
     .suffix = 2,
     .spec = {"**"},
     .lr = 0.1,
     .chunk = 7},
    {.name = "pretrain SWA", .pretrain = true, .B = 2, .suffix = 2, .T = 19},
    {.name = "pretrain SWA, no prime", .pretrain = true, .no_prime = true, .window = 3},
    {.name = "pretrain self_attention",
     .block = SEQ_SELF_ATTENTION + 1,
     .pretrain = true,
     .no_prime = true,
     .chunk = 16,
     .untied = true},
    {.name = "pretrain self_attention, chunks",
     .block = SEQ_SELF_ATTENTION + 1,
     .pretrain = true,
     .B = 2,
     .chunk = 6},
    {.name = "pretrain SWAFull",
     .block = SEQ_SWA_FULL + 1,
     .pretrain = true,
     .chunk = 16,
     .no_pre_norm = true,
     .B = 2},
    {.name = "pretrain, a masked chunk", .pretrain = true, .masked_chunk = 2, .no_post_norm = true},
    {.name = "short window, long sequence",
     .suffix = 2,
     .window = 2,
     .chunk = 2,
     .T = 24,
     .B = 2,
     .lr = 0.03},
};

#endif
