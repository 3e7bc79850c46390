/* The rows: published names and defaults; where a default differs, its text says so. A key that
 * only steers the published implementation has no field here: configurations keep working. */
#include "model/config_table.h"

#include <stddef.h>
#include <string.h>

#include "base/names.h"

enum { TEXT = CFG_TEXT - 1, PATH = CFG_PATH - 1, NONE = CONFIG_NO_FIELD, IDLE = CONFIG_NO_EFFECT };

#define MODEL(field)    offsetof(Config, model.field)
#define TRAINING(field) offsetof(Config, training.field)

static const char *const blocks[] = {"self_attention", "SWA", "SWAFull", NULL};
static const char *const compute_types[] = {"fp32", "bf16", "fp64", NULL};
static const char *const fp32_only[] = {"fp32", NULL};
static const char *const swiglu_only[] = {"swiglu", NULL};
static const char *const float_types[] = {"fp32", "bf16", "fp16", NULL};
static const char *const train_modes[] = {"pretrain", "meta", NULL};
static const char *const optimizers[] = {"adamw", "sgd", NULL};
static const char *const backends[] = {"null", "cpu", "gpu", "cuda", NULL};
static const char *const load_parts[] = {"none", "params", "all", NULL};

static const char remat[] = "JAX rematerialisation; no effect.";
static const char inner_unused[] = "Means nothing to plain SGD; no effect.";
static const char jax_backend[] = "JAX start-up; no effect.";
static const char wandb[] = "For `tools/wandb_sync`; nothing else speaks to Weights & Biases.";
static const char data_place[] = "Where a deployment keeps this data set; for ${...} references.";

static const ConfigKey rows[] = {
    {"training.log_wandb", KEY_BOOL, TRAINING(log_wandb), 0, 1, "true", 0,
     "Whether `tools/wandb_sync` takes this run. Training itself never contacts Weights & Biases."},
    {"training.wandb_entity", KEY_TEXT, TRAINING(wandb_entity), 0, TEXT, "???", 0, wandb},
    {"training.wandb_project", KEY_TEXT, TRAINING(wandb_project), 0, TEXT, "???", 0, wandb},
    {"training.wandb_key", KEY_TEXT, IDLE, 0, PATH, "???", 0,
     "Not used and never written anywhere: give WANDB_API_KEY to `tools/wandb_sync`."},
    {"training.model_seed", KEY_INT, TRAINING(model_seed), 0, 1e15, "0", 0,
     "Seed of the initial weights."},
    {"training.data_seed", KEY_INT, TRAINING(data_seed), 0, 1e15, "0", 0,
     "Seed of the order of training sequences."},
    {"training.load_part", KEY_ENUM, TRAINING(load_part), 0, 0, "none", load_parts,
     "What to take from `resume_exp_name`: nothing, the weights, or weights, moments and step."},
    {"training.total_steps", KEY_INT, TRAINING(total_steps), 1, 1e15, "2500", 0,
     "Optimizer steps of the run."},
    {"training.break_step", KEY_INT, TRAINING(break_step), -1, 1e15, "-1", 0,
     "Stop early at this step, schedules unchanged; -1: never."},
    {"training.save_milestone_freq", KEY_INT, TRAINING(save_milestone_freq), 1, 1e15, "2500", 0,
     "Steps between checkpoints."},
    {"training.dataset_path", KEY_TEXT, TRAINING(dataset_path), 0, PATH, "???", 0,
     "Folder of the token arrays."},
    {"training.dataset_name", KEY_TEXT, TRAINING(dataset_name), 0, TEXT, "???", 0,
     "Name of the data set, for logs."},
    {"training.tokenizer_name", KEY_TEXT, TRAINING(tokenizer_name), 0, PATH,
     "meta-llama/Llama-2-7b-hf", 0, "Tokenizer the data set was made with."},
    {"training.seq_length", KEY_INT, TRAINING(seq_length), 1, 1e12, "1024", 0,
     "Tokens per training sequence, T."},
    {"training.global_batch_size", KEY_INT, TRAINING(global_batch_size), 1, 1e9, "8", 0,
     "Sequences per optimizer step."},
    {"training.accum_steps", KEY_INT, TRAINING(accum_steps), 1, 1e9, "1", 0,
     "Parts a batch is computed in, one after the other; divides the batch."},
    {"training.loader_workers", KEY_INT, IDLE, 0, 1e6, "32", 0,
     "Loader processes; no effect: tokens are read in place."},
    {"training.dummy_dataset", KEY_BOOL, TRAINING(dummy_dataset), 0, 1, "false", 0,
     "Train on random tokens, to measure speed without data."},
    {"training.checkpoint_path", KEY_TEXT, TRAINING(checkpoint_path), 1, PATH, "./checkpoints", 0,
     "Folder of all checkpoints."},
    {"training.exp_dir", KEY_TEXT, TRAINING(exp_dir), 1, PATH, "./experiments", 0,
     "Folder of all logs and results."},
    {"training.exp_folder", KEY_TEXT, TRAINING(exp_folder), 0, TEXT, "demo", 0,
     "Folder of this family of runs, inside the two above."},
    {"training.exp_name", KEY_TEXT, TRAINING(exp_name), 0, TEXT, "???", 0, "Name of this run."},
    {"training.resume_exp_name", KEY_TEXT, TRAINING(resume_exp_name), 0, TEXT, "", 0,
     "Run to load from, in the same family."},
    {"training.resume_step", KEY_INT_NULL, TRAINING(resume_step), 0, 1e15, "null", 0,
     "Step to load; null: the newest complete one."},
    {"training.eval_mode", KEY_BOOL, TRAINING(eval_mode), 0, 1, "false", 0,
     "Evaluate only, no training."},
    {"training.train_mode", KEY_ENUM, TRAINING(train_mode), 0, 0, "pretrain", train_modes,
     "Plain next-token training, or training through the inner learning steps."},
    {"training.data_split", KEY_TEXT, TRAINING(data_split), 1, TEXT, "train", 0,
     "Token array to train on."},
    {"training.eval_split", KEY_TEXT, TRAINING(eval_split), 1, TEXT, "val", 0,
     "Token array to evaluate on."},
    {"training.inner_remat_freq", KEY_INT, TRAINING(inner_remat_freq), 1, 1e9, "1", 0,
     "Saved states of the inner loop are a multiple of this many chunks apart."},
    {"training.activation_mb", KEY_INT, TRAINING(activation_mb), 0, 1e9, "0", 0,
     "Memory in MiB that one sweep may fill; more is computed again where it needs more. 0: as "
     "much "
     "as weights, gradient and moments take, at least 560. Ours."},
    {"training.optimizer_outer.optimizer_type", KEY_ENUM, TRAINING(optimizer_outer.optimizer_type),
     0, 0, "adamw", optimizers, "Optimizer of the initial weights."},
    {"training.optimizer_outer.init_lr", KEY_FLOAT, TRAINING(optimizer_outer.init_lr), 0, 1e30,
     "0.0", 0, "Learning rate at step 0, before the warmup."},
    {"training.optimizer_outer.end_lr", KEY_FLOAT, TRAINING(optimizer_outer.end_lr), 0, 1e30,
     "1e-05", 0, "Learning rate after the cosine decay."},
    {"training.optimizer_outer.lr", KEY_FLOAT, TRAINING(optimizer_outer.lr), 0, 1e30, "0.01", 0,
     "Learning rate after the warmup."},
    {"training.optimizer_outer.lr_warmup_steps", KEY_INT, TRAINING(optimizer_outer.lr_warmup_steps),
     0, 1e15, "2000", 0, "Steps of linear warmup."},
    {"training.optimizer_outer.lr_decay_steps", KEY_INT, TRAINING(optimizer_outer.lr_decay_steps),
     0, 1e15, "500000", 0, "Step at which the decay ends, warmup included."},
    {"training.optimizer_outer.b1", KEY_FLOAT, TRAINING(optimizer_outer.b1), 0, 1, "0.9", 0,
     "AdamW: decay of the first moment, below 1."},
    {"training.optimizer_outer.b2", KEY_FLOAT, TRAINING(optimizer_outer.b2), 0, 1, "0.95", 0,
     "AdamW: decay of the second moment, below 1."},
    {"training.optimizer_outer.clip_gradient", KEY_FLOAT, TRAINING(optimizer_outer.clip_gradient),
     0, 1e30, "1.0", 0, "Largest global norm of the gradient; 0: no clipping."},
    {"training.optimizer_outer.weight_decay", KEY_FLOAT, TRAINING(optimizer_outer.weight_decay), 0,
     1e30, "0.1", 0, "AdamW: decoupled weight decay."},
    {"training.optimizer_outer.bf16_momentum", KEY_BOOL, IDLE, 0, 1, "false", 0,
     "Moments in bf16; no effect: they are fp32."},
    {"training.optimizer_outer.emb_wd", KEY_BOOL, NONE, 1, 1, "true", 0,
     "Weight decay of the embedding; only true: every tensor decays."},
    {"training.optimizer_inner.optimizer_type", KEY_ENUM, TRAINING(optimizer_inner.optimizer_type),
     0, 0, "sgd", optimizers, "Optimizer of the inner steps; train mode meta takes sgd only."},
    {"training.optimizer_inner.init_lr", KEY_FLOAT, IDLE, 0, 1e30, "???", 0, inner_unused},
    {"training.optimizer_inner.end_lr", KEY_FLOAT, IDLE, 0, 1e30, "???", 0, inner_unused},
    {"training.optimizer_inner.lr", KEY_FLOAT, TRAINING(optimizer_inner.lr), 0, 1e30, "0.01", 0,
     "Learning rate of the inner steps, after `ilr_warmup_steps`."},
    {"training.optimizer_inner.lr_warmup_steps", KEY_INT, IDLE, 0, 1e15, "???", 0, inner_unused},
    {"training.optimizer_inner.lr_decay_steps", KEY_INT, IDLE, 0, 1e15, "???", 0, inner_unused},
    {"training.optimizer_inner.b1", KEY_FLOAT, IDLE, 0, 1, "???", 0, inner_unused},
    {"training.optimizer_inner.b2", KEY_FLOAT, IDLE, 0, 1, "???", 0, inner_unused},
    {"training.optimizer_inner.clip_gradient", KEY_FLOAT, TRAINING(optimizer_inner.clip_gradient),
     0, 1e30, "0.0", 0, "Largest global norm of an inner gradient; 0: no clipping."},
    {"training.optimizer_inner.weight_decay", KEY_FLOAT, IDLE, 0, 1e30, "???", 0, inner_unused},
    {"training.optimizer_inner.bf16_momentum", KEY_BOOL, IDLE, 0, 1, "???", 0, inner_unused},
    {"training.spec_outer", KEY_LIST, TRAINING(spec_outer), 0, TEXT, "['**']", 0,
     "Parameters the outer optimizer trains: globs over dotted paths, `exclude ` deselects."},
    {"training.spec_inner", KEY_LIST, TRAINING(spec_inner), 0, TEXT, "['**']", 0,
     "Parameters the inner steps change, in the same way."},
    {"training.n_data_parallel", KEY_INT_NULL, IDLE, 1, 1e6, "null", 0,
     "Devices that share a batch; no effect: one process."},
    {"training.n_state_parallel", KEY_INT, IDLE, 1, 1e6, "1", 0,
     "Devices that share a model; no effect: one process."},
    {"training.ilr_warmup_steps", KEY_INT, TRAINING(ilr_warmup_steps), 0, 1e15, "0", 0,
     "Outer steps over which the inner learning rate goes from `ilr_init` to its lr; 0: none."},
    {"training.ilr_init", KEY_FLOAT, TRAINING(ilr_init), 0, 1e30, "1.0", 0,
     "Inner learning rate at the start of that warmup."},
    {"training.eval_batch_size", KEY_INT, TRAINING(eval_batch_size), 1, 1e9, "8", 0,
     "Sequences evaluated side by side."},
    {"training.eval_freq", KEY_INT, TRAINING(eval_freq), 0, 1e15, "0", 0,
     "Steps between evaluations on `eval_split` while training; 0: at the end only. Ours."},
    {"training.eval_sequences", KEY_INT, TRAINING(eval_sequences), 0, 1e15, "16", 0,
     "Sequences of each of these evaluations, the first of the split; 0: no evaluation. Ours."},
    {"backend.distributed", KEY_BOOL, IDLE, 0, 1, "false", 0, jax_backend},
    {"backend.coordinator_address", KEY_TEXT_NULL, IDLE, 0, TEXT, "null", 0, jax_backend},
    {"backend.num_processes", KEY_INT_NULL, IDLE, 0, 1e9, "null", 0, jax_backend},
    {"backend.process_id", KEY_INT_NULL, IDLE, 0, 1e9, "null", 0, jax_backend},
    {"backend.local_device_ids", KEY_TEXT_NULL, IDLE, 0, TEXT, "null", 0, jax_backend},
    {"backend.backend", KEY_ENUM, offsetof(Config, backend), 0, 0, "null", backends,
     "What computes: null or cpu, the processor; gpu or cuda, an NVIDIA GPU (docs/cuda.md)."},
    {"backend.num_devices", KEY_INT_NULL, IDLE, 0, 1e9, "null", 0, jax_backend},
    {"backend.compilation_cache_dir", KEY_TEXT_NULL, IDLE, 0, PATH, "/tmp/jax_cache", 0,
     jax_backend},
    {"model.name", KEY_TEXT, MODEL(name), 0, TEXT, "unnamed", 0, "For people."},
    {"model.vocab_size", KEY_INT, MODEL(vocab_size), 2, 1 << 24, "32000", 0, "Tokens known, V."},
    {"model.hidden_size", KEY_INT, MODEL(hidden_size), 1, 1 << 20, "768", 0,
     "Width of the residual stream, D."},
    {"model.intermediate_size", KEY_INT, MODEL(intermediate_size), 1, 1 << 22, "2048", 0,
     "Inner width of every MLP, F."},
    {"model.num_hidden_layers", KEY_INT, MODEL(num_hidden_layers), 1, 4096, "12", 0, "Blocks, L."},
    {"model.num_attention_heads", KEY_INT, MODEL(num_attention_heads), 1, 65536, "12", 0,
     "Attention heads; they divide `hidden_size`."},
    {"model.mini_batch_size", KEY_INT, MODEL(mini_batch_size), 1, 1e12, "1024", 0,
     "Tokens per chunk, b: what is read between two inner steps."},
    {"model.sliding_window_size", KEY_INT, MODEL(sliding_window_size), 1, 1e12, "1024", 0,
     "Keys a query sees, itself included, k."},
    {"model.seq_len", KEY_INT, MODEL(seq_len), 1, 1e12, "131072", 0,
     "Longest sequence the model is meant for; nothing is cut at it."},
    {"model.rms_norm_eps", KEY_FLOAT, MODEL(rms_norm_eps), 0, 1, "1e-06", 0,
     "Added to the mean square in RMSNorm."},
    {"model.initializer_range", KEY_FLOAT, MODEL(initializer_range), 0, 100, "0.02", 0,
     "Standard deviation of initial weights."},
    {"model.bos_token_id", KEY_INT, MODEL(bos_token_id), -1, 1 << 24, "1", 0,
     "Token that opens a document; as a target it is not scored; -1: none."},
    {"model.eos_token_id", KEY_INT, MODEL(eos_token_id), -1, 1 << 24, "2", 0,
     "Token that ends a generated text; -1: none."},
    {"model.resid_pdrop", KEY_FLOAT, NONE, 0, 0, "0.0", 0, "Dropout; not supported: only 0."},
    {"model.embd_pdrop", KEY_FLOAT, NONE, 0, 0, "0.0", 0, "Dropout; not supported: only 0."},
    {"model.attn_pdrop", KEY_FLOAT, NONE, 0, 0, "0.0", 0, "Dropout; not supported: only 0."},
    {"model.tie_word_embeddings", KEY_BOOL, MODEL(tie_word_embeddings), 0, 1, "false", 0,
     "Use the embedding as the output head too."},
    {"model.remat_block", KEY_TEXT, IDLE, 0, TEXT, "", 0, remat},
    {"model.remat_block_bwd", KEY_TEXT, IDLE, 0, TEXT, "", 0, remat},
    {"model.remat_prefix_block", KEY_TEXT, IDLE, 0, TEXT, "nothing_saveable", 0, remat},
    {"model.remat_attention", KEY_TEXT, IDLE, 0, TEXT, "", 0, remat},
    {"model.remat_attention_bwd", KEY_TEXT, IDLE, 0, TEXT, "", 0, remat},
    {"model.remat_mlp", KEY_TEXT, IDLE, 0, TEXT, "", 0, remat},
    {"model.remat_mlp_bwd", KEY_TEXT, IDLE, 0, TEXT, "", 0, remat},
    {"model.remat_rms", KEY_TEXT, IDLE, 0, TEXT, "", 0, remat},
    {"model.remat_rms_bwd", KEY_TEXT, IDLE, 0, TEXT, "", 0, remat},
    {"model.remat_multiple_gd", KEY_TEXT, IDLE, 0, TEXT, "", 0, remat},
    {"model.seq_modeling_block", KEY_ENUM, MODEL(seq_modeling_block), 0, 0, "self_attention",
     blocks,
     "Attention inside a chunk, through a window and a rolling cache, or through a window "
     "over the sequence as one chunk."},
    {"model.rope_theta", KEY_FLOAT, MODEL(rope_theta), 1, 1e30, "10000.0", 0,
     "Base of the rotary position angles."},
    {"model.output_size", KEY_INT, MODEL(output_size), 2, 1 << 24, "32000", 0,
     "Width of the head; follows `vocab_size` unless it is given."},
    {"model.compute_dtype", KEY_ENUM, MODEL(compute_dtype), 0, 0, "fp32", compute_types,
     "Type of matrix products; sums are fp32. The published default is bf16; fp32 here suits every "
     "CPU. fp64 is for the exactness build."},
    {"model.param_dtype", KEY_ENUM, NONE, 0, 0, "fp32", fp32_only, "Weights are fp32."},
    {"model.state_dtype", KEY_ENUM, NONE, 0, 0, "fp32", fp32_only, "Fast weights are fp32."},
    {"model.unroll_block_scan", KEY_BOOL, IDLE, 0, 1, "false", 0, "JAX compilation; no effect."},
    {"model.unroll_inner_scan", KEY_BOOL, IDLE, 0, 1, "false", 0, "JAX compilation; no effect."},
    {"model.force_flash", KEY_BOOL, IDLE, 0, 1, "false", 0, "JAX attention kernel; no effect."},
    {"model.suffix_len", KEY_INT, MODEL(suffix_len), 0, 4096, "0", 0,
     "Last blocks that may learn while reading; the others run once over the sequence."},
    {"model.prime", KEY_BOOL, MODEL(prime), 0, 1, "false", 0,
     "A second MLP in every suffix block, the one that usually learns."},
    {"model.feed_forward_prime", KEY_ENUM, NONE, 0, 0, "swiglu", swiglu_only,
     "Kind of that MLP; only swiglu."},
    {"model.qk_norm", KEY_BOOL, MODEL(qk_norm), 0, 1, "true", 0,
     "RMSNorm of queries and keys per head."},
    {"model.pre_norm", KEY_BOOL, MODEL(pre_norm), 0, 1, "true", 0,
     "RMSNorm before attention and MLPs."},
    {"model.post_norm", KEY_BOOL, MODEL(post_norm), 0, 1, "true", 0,
     "RMSNorm after attention and MLPs."},
    {"checkpoint.float_dtype", KEY_ENUM, IDLE, 0, 0, "bf16", float_types,
     "Type of saved weights; no effect: they are saved in fp32, exactly."},
    {"checkpoint.save_optimizer_state", KEY_BOOL, IDLE, 0, 1, "true", 0,
     "No effect: the optimizer's state is always saved."},
    {"checkpoint.checkpoint_dir", KEY_TEXT, IDLE, 0, PATH, "???", 0,
     "No effect: see `training.checkpoint_path`."},
    {"checkpoint.resume_checkpoint_dir", KEY_TEXT, IDLE, 0, PATH, "???", 0,
     "No effect: see `training.resume_exp_name`."},
    {"deploy_paths.data.books3", KEY_TEXT, NONE, 0, PATH, "???", 0, data_place},
    {"deploy_paths.data.the_pile", KEY_TEXT, NONE, 0, PATH, "???", 0, data_place},
    {"deploy_paths.data.dclm_filter_8k", KEY_TEXT, NONE, 0, PATH, "???", 0, data_place},
    {"deploy_paths.checkpoint", KEY_TEXT, NONE, 0, PATH, "???", 0,
     "Where a deployment keeps checkpoints; for ${...} references."},
};
_Static_assert(ARRAY_LEN(rows) <= CONFIG_KEYS_MAX, "raise CONFIG_KEYS_MAX");

const ConfigKey *config_keys(int *n)
{
    *n = ARRAY_LEN(rows);
    return rows;
}

int config_key_find(const char *name)
{
    for (int i = 0; i < ARRAY_LEN(rows); i++) {
        if (strcmp(rows[i].name, name) == 0) return i;
    }
    return -1;
}

int config_key_unknown(const char *name, const char *where, Err *err)
{
    const char *known[ARRAY_LEN(rows)];
    for (int i = 0; i < ARRAY_LEN(rows); i++) known[i] = rows[i].name;
    const char *near = name_nearest(name, known, ARRAY_LEN(rows));
    char shown[NAME_SHOWN_MAX];
    name_show(shown, name);
    if (near) {
        return err_set(err, "%s: unknown key '%s'; did you mean '%s'?", where, shown, near);
    }
    return err_set(err, "%s: unknown key '%s'; `ttt config --keys` lists all", where, shown);
}
