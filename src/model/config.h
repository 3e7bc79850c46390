/* The configuration: one struct, filled through one table (config_table.c) that names each key with
 * its type, bounds, default and meaning. Key names are the published ones. */
#ifndef TTT_MODEL_CONFIG_H
#define TTT_MODEL_CONFIG_H

#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"

enum { CFG_TEXT = 256, CFG_PATH = 1024, CFG_MAX_SPECS = 16 };

typedef enum SeqBlock { SEQ_SELF_ATTENTION, SEQ_SWA, SEQ_SWA_FULL } SeqBlock;
typedef enum ComputeType { COMPUTE_FP32, COMPUTE_BF16, COMPUTE_FP64 } ComputeType;
typedef enum TrainMode { TRAIN_PRETRAIN, TRAIN_META } TrainMode;
typedef enum OptimizerType { OPT_ADAMW, OPT_SGD } OptimizerType;
typedef enum BackendKind { BACKEND_ANY, BACKEND_CPU, BACKEND_GPU, BACKEND_CUDA } BackendKind;
typedef enum LoadPart { LOAD_NONE, LOAD_PARAMS, LOAD_ALL } LoadPart;

typedef struct ModelConfig {
    char name[CFG_TEXT];
    int64_t vocab_size, hidden_size, intermediate_size, num_hidden_layers, num_attention_heads;
    int64_t mini_batch_size;     /* tokens per chunk, b */
    int64_t sliding_window_size; /* keys a query sees, itself included, W */
    int64_t seq_len, output_size, bos_token_id, eos_token_id;
    int64_t suffix_len; /* last blocks, run chunk by chunk in meta mode */
    double rms_norm_eps, initializer_range, rope_theta;
    int seq_modeling_block; /* SeqBlock */
    int compute_dtype;      /* ComputeType */
    bool tie_word_embeddings, prime, qk_norm, pre_norm, post_norm;
} ModelConfig;

typedef struct OptimizerConfig {
    int optimizer_type; /* OptimizerType */
    double init_lr, end_lr, lr, b1, b2, clip_gradient, weight_decay;
    int64_t lr_warmup_steps, lr_decay_steps;
} OptimizerConfig;

typedef struct SpecList {
    int n;
    char glob[CFG_MAX_SPECS][CFG_TEXT];
} SpecList;

typedef struct TrainingConfig {
    int train_mode; /* TrainMode */
    int64_t seq_length, global_batch_size, accum_steps, total_steps, break_step;
    int64_t save_milestone_freq; /* steps between checkpoints */
    int64_t model_seed, data_seed;
    int64_t ilr_warmup_steps;
    double ilr_init;
    int64_t inner_remat_freq; /* segments are multiples of this many chunks */
    int64_t activation_mb;    /* memory that one sweep may fill; longer sequences recompute */
    int64_t eval_batch_size;
    int64_t eval_freq, eval_sequences; /* while training; 0: only at the end, none */
    SpecList spec_outer, spec_inner;
    OptimizerConfig optimizer_outer, optimizer_inner;
    char dataset_path[CFG_PATH], dataset_name[CFG_TEXT], tokenizer_name[CFG_PATH];
    char data_split[CFG_TEXT], eval_split[CFG_TEXT];
    char exp_dir[CFG_PATH], exp_folder[CFG_TEXT], exp_name[CFG_TEXT], checkpoint_path[CFG_PATH];
    char resume_exp_name[CFG_TEXT];
    int64_t resume_step; /* -1: newest */
    int load_part;       /* LoadPart */
    char wandb_entity[CFG_TEXT], wandb_project[CFG_TEXT];
    bool dummy_dataset, eval_mode, log_wandb;
} TrainingConfig;

typedef struct Config {
    ModelConfig model;
    TrainingConfig training;
    int backend; /* BackendKind */
} Config;

/* The device for backend_open: the given one, or else what backend.backend says. */
const char *config_device(const Config *c, const char *given);

/* All keys at their table defaults. */
void config_defaults(Config *c);

/* Sets one key ("model.hidden_size") from YAML scalar or flow-list text ("384", "['a', 'b']").
 * An unknown key names the nearest known one. where: "file.yaml:12" or "override". */
int config_set(Config *c, const char *key, const char *value, const char *where, Err *err);

/* Checks what one key cannot: heads divide hidden size, suffix fits, windows, specs present... */
int config_check(const Config *c, Err *err);

/* Composes from config_dir: its config.yaml, the groups that its defaults list or the overrides
 * name, then the overrides in order: "a.b=c", "+experiment=NAME", "model=NAME", "training=NAME". */
int config_compose(Config *c, const char *config_dir, const char *const *overrides, int n_overrides,
                   Err *err);

/* The folder of configurations: given if not NULL, else $TTT_CONFIG_DIR, else ./configs, else
 * ../configs beside the program's folder, else that of the source tree. It holds a config.yaml. */
int config_dir_find(char *out, int size, const char *given, Err *err);

/* Reads a resolved config.yaml as config_write leaves it: unknown keys are errors, and so is a
 * missing model key, the mark of a file cut short. Missing training keys take their defaults. */
int config_read(Config *c, const char *path, Err *err);
/* Writes every key, resolved, atomically. */
int config_write(const Config *c, const char *path, Err *err);
/* The same text, to be freed by the caller. */
char *config_text(const Config *c);
/* The key's value as text into out; -1 when the key is unknown. */
int config_get(const Config *c, const char *key, char *out, int out_size);

/* Whether a dotted path is selected: globs apply in order, "exclude G" deselects; '*' stands for
 * one path part or a piece of one, '**' for any number of parts; a glob that matches a node selects
 * everything below it. */
bool spec_selects(const SpecList *spec, const char *path);

#endif
