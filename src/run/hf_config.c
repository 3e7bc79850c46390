/* Keys of config.json and what they are here. */
#include "run/hf_config.h"

#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "base/mem.h"
#include "base/names.h"

enum { FILE_MAX = 1 << 22, DEFAULT_WINDOW = 2048 };

/* Copied into the configuration under another name. */
static const struct {
    const char *theirs, *ours;
    const char *missing; /* what the library takes when the key is not there; NULL: it must be */
} keys[] = {
    {"vocab_size", "model.vocab_size", NULL},
    {"hidden_size", "model.hidden_size", NULL},
    {"intermediate_size", "model.intermediate_size", NULL},
    {"num_hidden_layers", "model.num_hidden_layers", NULL},
    {"num_attention_heads", "model.num_attention_heads", NULL},
    {"rms_norm_eps", "model.rms_norm_eps", "1e-06"},
    {"tie_word_embeddings", "model.tie_word_embeddings", "false"},
    {"max_position_embeddings", "model.seq_len", "2048"},
};

/* What ours is beside those: the norms that Llama lacks, and a window as long as its context. */
static const char *const fixed[][2] = {
    {"model.qk_norm", "false"},          {"model.pre_norm", "true"},
    {"model.post_norm", "false"},        {"model.prime", "false"},
    {"model.suffix_len", "0"},           {"model.seq_modeling_block", "SWA"},
    {"training.train_mode", "pretrain"},
};

/* Keys that must have this value where they are there: anything else is another function. */
static const struct {
    const char *key, *value;
} demanded[] = {
    {"model_type", "llama"}, {"hidden_act", "silu"},   {"attention_bias", "false"},
    {"mlp_bias", "false"},   {"rope_scaling", "null"},
};

static int bad(const char *name, Err *err, const char *key, const char *value, const char *why)
{
    char shown[NAME_SHOWN_MAX];
    return err_set(err, "%s: \"%s\" is %s; %s", name, key, name_show(shown, value), why);
}

/* A value as config_set takes it: a text without its quotes. */
static char *value_text(const json_t *value)
{
    char *text = json_is_string(value) ? strdup(json_string_value(value))
                                       : json_dumps(value, JSON_ENCODE_ANY);
    mem_need(text, "config.json");
    return text;
}

static int demand(json_t *root, const char *key, const char *value, const char *name, Err *err)
{
    json_t *given = json_object_get(root, key);
    if (!given) return 0;
    char *text = value_text(given);
    int status = strcmp(text, value) == 0
                     ? 0
                     : bad(name, err, key, text, "only Llama's plain form can be taken over");
    free(text);
    return status;
}

static int key_copy(Config *c, json_t *root, int i, const char *name, Err *err)
{
    json_t *given = json_object_get(root, keys[i].theirs);
    if (json_is_null(given)) given = NULL;
    if (!given && !keys[i].missing)
        return err_set(err, "%s: \"%s\" is missing; it is no config.json of a Llama model", name,
                       keys[i].theirs);
    char *text = given ? value_text(given) : strdup(keys[i].missing);
    mem_need(text, "config.json");
    int status = config_set(c, keys[i].ours, text, name, err);
    free(text);
    return status;
}

/* An id, or the first of a list; -1: none. */
static int token_copy(Config *c, json_t *root, const char *theirs, const char *ours,
                      const char *name, Err *err)
{
    char text[32] = "-1";
    json_t *id = json_object_get(root, theirs);
    if (json_is_array(id)) id = json_array_get(id, 0);
    if (json_is_integer(id))
        snprintf(text, sizeof text, "%lld", (long long)json_integer_value(id));
    else if (id && !json_is_null(id))
        return bad(name, err, theirs, "no token id", "give it as a whole number");
    return config_set(c, ours, text, name, err);
}

/* "rope_theta" of its own, or inside "rope_parameters", as newer files have it. */
static int rope_copy(Config *c, json_t *root, const char *name, Err *err)
{
    json_t *inside = json_object_get(root, "rope_parameters");
    json_t *theta = json_object_get(root, "rope_theta");
    if (json_is_object(inside)) {
        TRY(demand(inside, "rope_type", "default", name, err));
        if (json_object_get(inside, "rope_theta")) theta = json_object_get(inside, "rope_theta");
    }
    char *text = theta ? value_text(theta) : strdup("10000.0");
    mem_need(text, "config.json");
    int status = config_set(c, "model.rope_theta", text, name, err);
    free(text);
    return status;
}

static int heads_read(const Config *c, int64_t *kv_heads, json_t *root, const char *name, Err *err)
{
    int64_t heads = c->model.num_attention_heads;
    json_t *kv = json_object_get(root, "num_key_value_heads");
    json_t *size = json_object_get(root, "head_dim");
    *kv_heads = json_is_integer(kv) ? json_integer_value(kv) : heads;
    if (*kv_heads < 1 || *kv_heads > heads || heads % *kv_heads != 0)
        return err_set(err, "%s: %lld \"num_key_value_heads\" do not divide %lld heads", name,
                       (long long)*kv_heads, (long long)heads);
    if (json_is_integer(size) && json_integer_value(size) * heads != c->model.hidden_size)
        return bad(name, err, "head_dim", "not hidden_size / num_attention_heads",
                   "such heads are not supported");
    return 0;
}

static int root_read(Config *c, int64_t *kv_heads, json_t *root, const char *name, Err *err)
{
    for (int i = 0; i < ARRAY_LEN(demanded); i++)
        TRY(demand(root, demanded[i].key, demanded[i].value, name, err));
    for (int i = 0; i < ARRAY_LEN(keys); i++) TRY(key_copy(c, root, i, name, err));
    for (int i = 0; i < ARRAY_LEN(fixed); i++)
        TRY(config_set(c, fixed[i][0], fixed[i][1], name, err));
    TRY(token_copy(c, root, "bos_token_id", "model.bos_token_id", name, err));
    TRY(token_copy(c, root, "eos_token_id", "model.eos_token_id", name, err));
    TRY(rope_copy(c, root, name, err));
    ModelConfig *m = &c->model;
    m->output_size = m->vocab_size;
    m->sliding_window_size = m->seq_len;
    m->mini_batch_size = m->seq_len < 1024 ? m->seq_len : 1024;
    return heads_read(c, kv_heads, root, name, err);
}

int hf_config_parse(Config *c, int64_t *kv_heads, const char *text, size_t n, const char *name,
                    Err *err)
{
    json_error_t why;
    char shown[NAME_SHOWN_MAX];
    json_t *root = json_loadb(text, n, JSON_REJECT_DUPLICATES, &why);
    if (!root)
        return err_set(err, "%s:%d: not JSON: %s", name, why.line, name_show(shown, why.text));
    int status = json_is_object(root) ? root_read(c, kv_heads, root, name, err)
                                      : err_set(err, "%s: it is not a JSON object", name);
    json_decref(root);
    return status;
}

int hf_config_read(Config *c, int64_t *kv_heads, const char *path, Err *err)
{
    char *text;
    size_t n;
    TRY(file_read(path, &text, &n, FILE_MAX, err));
    int status = hf_config_parse(c, kv_heads, text, n, path, err);
    free(text);
    return status;
}

char *hf_config_text(const Config *c)
{
    const ModelConfig *m = &c->model;
    json_t *root = json_pack(
        "{s:[s], s:s, s:s, s:s, s:b, s:b, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:f, s:f, s:b, s:I, "
        "s:I}",
        "architectures", "LlamaForCausalLM", "model_type", "llama", "hidden_act", "silu",
        "torch_dtype", "float32", "attention_bias", 0, "mlp_bias", 0, "vocab_size",
        (json_int_t)m->vocab_size, "hidden_size", (json_int_t)m->hidden_size, "intermediate_size",
        (json_int_t)m->intermediate_size, "num_hidden_layers", (json_int_t)m->num_hidden_layers,
        "num_attention_heads", (json_int_t)m->num_attention_heads, "num_key_value_heads",
        (json_int_t)m->num_attention_heads, "max_position_embeddings",
        (json_int_t)m->sliding_window_size, "rms_norm_eps", m->rms_norm_eps, "rope_theta",
        m->rope_theta, "tie_word_embeddings", m->tie_word_embeddings, "bos_token_id",
        (json_int_t)m->bos_token_id, "eos_token_id", (json_int_t)m->eos_token_id);
    CHECK(root, "cannot make config.json");
    char *text = json_dumps(root, JSON_INDENT(2) | JSON_REAL_PRECISION(15));
    mem_need(text, "config.json");
    json_decref(root);
    return text;
}
