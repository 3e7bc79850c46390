/* A small model and its readers on a GPU, for the tests of reading there. Without a GPU it is the
 * emulator's. */
#ifndef TTT_TESTS_CUDA_READER_H
#define TTT_TESTS_CUDA_READER_H

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/rng.h"
#include "cuda_device.h"
#include "model/reader_state.h"

enum { VOCAB = 19, CHUNK = 8, TEXT = 240 };

/* A window of 20 and chunks of 8: room for 24 rows of past, and chunks begin at 24 and 32. */
static inline Config small_config(int block, bool bf16, int64_t head)
{
    Config cfg;
    config_defaults(&cfg);
    cfg.model.vocab_size = cfg.model.output_size = VOCAB;
    cfg.model.hidden_size = 2 * head;
    cfg.model.num_attention_heads = 2;
    cfg.model.intermediate_size = 12;
    cfg.model.num_hidden_layers = 2;
    cfg.model.initializer_range = 0.3;
    cfg.model.compute_dtype = bf16 ? COMPUTE_BF16 : COMPUTE_FP32;
    cfg.model.tie_word_embeddings = true;
    cfg.model.seq_modeling_block = block;
    cfg.model.mini_batch_size = CHUNK;
    cfg.model.sliding_window_size = 20;
    cfg.model.suffix_len = 1;
    cfg.model.prime = true;
    cfg.training.train_mode = TRAIN_META;
    cfg.training.optimizer_inner.optimizer_type = OPT_SGD;
    cfg.training.optimizer_inner.lr = 0.1;
    cfg.training.optimizer_inner.clip_gradient = 1;
    cfg.training.spec_inner.n = 1;
    snprintf(cfg.training.spec_inner.glob[0], CFG_TEXT, "**.suffix_blocks.feed_forward_prime.**");
    return cfg;
}

static inline Model *make_of(Backend *be, const Config *cfg)
{
    Model *m;
    Err err;
    if (model_create(&m, be, cfg, &err) < 0) fail_msg("%s", err.text);
    return m;
}

static inline Model *make_wide(Backend *be, int block, bool bf16, int64_t head)
{
    Config cfg = small_config(block, bf16, head);
    return make_of(be, &cfg);
}

static inline Model *make_model(Backend *be, int block, bool bf16)
{
    return make_wide(be, block, bf16, 8);
}

static inline void draw_text(int32_t *tokens, int n, uint64_t seed)
{
    Rng rng;
    rng_seed(&rng, seed, 0);
    for (int i = 0; i < n; i++) tokens[i] = (int32_t)rng_below(&rng, VOCAB);
}

static inline Reader *make_reader(Model *m, bool learn)
{
    Reader *r;
    Err err;
    if (reader_create(&r, m, learn, 0, &err) < 0) fail_msg("%s", err.text);
    return r;
}

static inline void feed(Reader *r, const int32_t *tokens, size_t n, double *nll)
{
    Err err;
    if (reader_feed(r, tokens, n, nll, &err) < 0) fail_msg("%s", err.text);
}

static inline void expect_near(const char *what, const double *got, const double *wanted, int from,
                               int to, double limit)
{
    for (int i = from; i < to; i++)
        if (!(fabs(got[i] - wanted[i]) <= limit * (1 + fabs(wanted[i]))))
            fail_msg("%s: token %d scores %.9g instead of %.9g", what, i, got[i], wanted[i]);
}

static inline int records_kept(const Model *m)
{
    int n = 0;
    for (int i = 0; i < CHUNK_RECORDS; i++) n += m->room->record[i].repeat.record != NULL;
    return n;
}

static inline void close_all(Model *m, Backend *be)
{
    model_free(m);
    backend_close(be);
}

#endif
