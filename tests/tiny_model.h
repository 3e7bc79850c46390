/* A model folder with random weights, small enough that a test reads thousands of tokens a second.
 * Chunk and window are odd on purpose: neither divides the other. */
#ifndef TTT_TESTS_TINY_MODEL_H
#define TTT_TESTS_TINY_MODEL_H

#include "model/model.h"

static const char *const tiny_settings[][2] = {
    {"model.name", "tiny"},
    {"model.hidden_size", "32"},
    {"model.intermediate_size", "48"},
    {"model.num_hidden_layers", "3"},
    {"model.num_attention_heads", "2"},
    {"model.mini_batch_size", "7"},
    {"model.sliding_window_size", "10"},
    {"model.seq_len", "70"},
    {"model.suffix_len", "2"},
    {"model.prime", "true"},
    {"model.qk_norm", "true"},
    {"model.seq_modeling_block", "SWA"},
    {"model.compute_dtype", "fp32"},
    {"model.vocab_size", "258"},
    {"model.output_size", "258"},
    {"model.bos_token_id", "256"},
    {"model.eos_token_id", "257"},
    {"model.initializer_range", "0.2"},
    {"training.tokenizer_name", "bytes"},
    {"training.seq_length", "70"},
    {"training.spec_outer", "['**']"},
    {"training.spec_inner", "['language_model.**.suffix_blocks.feed_forward_prime.**']"},
    {"training.ilr_warmup_steps", "0"},
    {"training.optimizer_inner.lr", "0.5"},
    {"training.optimizer_inner.clip_gradient", "1.0"},
};

/* train_mode: "meta", whose models learn while they read, or "pretrain". */
static int tiny_model_write(const char *dir, int seed, const char *train_mode, Err *err)
{
    Config c;
    config_defaults(&c);
    for (int i = 0; i < ARRAY_LEN(tiny_settings); i++)
        TRY(config_set(&c, tiny_settings[i][0], tiny_settings[i][1], "test", err));
    TRY(config_set(&c, "training.train_mode", train_mode, "test", err));
    c.training.model_seed = seed;
    TRY(config_check(&c, err));
    Backend *be;
    const BackendOptions options = {.threads = 1};
    TRY(backend_open(&be, &options, err));
    Model *m = NULL;
    int status = model_create(&m, be, &c, err);
    if (status == 0) status = model_save(m, dir, err);
    model_free(m);
    backend_close(be);
    return status;
}

#endif
