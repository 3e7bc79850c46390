/* Sources of a configuration in their order, then the shapes, then what is still open. */
#include "run/import_config.h"

#include <stdio.h>
#include <string.h>

#include "base/file.h"
#include "model/config_table.h"
#include "run/hf_config.h"

typedef enum When { ALWAYS, WINDOWED, META, META_PLAIN, NO_HEADS } When;

/* Keys that change the function, and that no shape tells. */
static const struct {
    const char *key;
    bool demanded; /* else the table's default is taken, and said */
    When when;
} untold[] = {
    {"model.num_attention_heads", true, NO_HEADS},
    {"model.seq_modeling_block", true, ALWAYS},
    {"model.mini_batch_size", true, ALWAYS},
    {"model.sliding_window_size", true, WINDOWED},
    {"model.rope_theta", true, ALWAYS},
    {"training.train_mode", true, ALWAYS},
    {"model.suffix_len", true, META_PLAIN},
    {"training.spec_inner", true, META},
    {"training.optimizer_inner.lr", true, META},
    {"training.optimizer_inner.clip_gradient", false, META},
    {"model.bos_token_id", false, ALWAYS},
    {"model.eos_token_id", false, ALWAYS},
    {"model.rms_norm_eps", false, ALWAYS},
    {"model.qk_norm", false, ALWAYS},
    {"model.pre_norm", false, ALWAYS},
    {"model.post_norm", false, ALWAYS},
};

typedef struct Maker {
    ImportConfig *out;
    const ConfigSources *from;
    const StSet *set;
    WeightLayout layout;
    const WeightShapes *shapes;
    bool whole;                    /* a complete configuration was given */
    bool given[CONFIG_KEYS_MAX];   /* by row, in overrides */
    char base_path[PATH_MAX + 32]; /* where the whole one is from, for messages */
} Maker;

static bool chooses_group(const char *override)
{
    const char *equals = strchr(override, '=');
    return equals && !memchr(override, '.', (size_t)(equals - override));
}

/* --- what was given -----------------------------------------------------------------------------
 */

static int base_read(Maker *m, Err *err)
{
    m->whole = true;
    if (text_ends(m->base_path, ".json"))
        return hf_config_read(&m->out->cfg, &m->out->kv_heads, m->base_path, err);
    return config_read(&m->out->cfg, m->base_path, err);
}

/* The configuration that was named, or lies beside the tensors, or in their metadata. */
static int base_find(Maker *m, Err *err)
{
    char folder[PATH_MAX];
    const char *beside = m->layout == LAYOUT_LLAMA ? "config.json" : "config.yaml";
    const char *inside = st_set_meta(m->set, "config");
    if (m->from->config_file) {
        TRY(path_join(m->base_path, sizeof m->base_path, "", m->from->config_file, err));
        return base_read(m, err);
    }
    TRY(path_parent(folder, sizeof folder, st_set_path(m->set), err));
    TRY(path_join(m->base_path, sizeof m->base_path, folder, beside, err));
    if (file_exists(m->base_path)) return base_read(m, err);
    snprintf(m->base_path, sizeof m->base_path, "%s", st_set_path(m->set));
    if (!inside || m->layout == LAYOUT_LLAMA) return 0;
    m->whole = true;
    return config_parse(&m->out->cfg, inside, strlen(inside), m->base_path, true, err);
}

static int override_set(Maker *m, const char *text, Err *err)
{
    char key[CFG_TEXT], shown[NAME_SHOWN_MAX];
    const char *bare = text + strspn(text, "+"), *equals = strchr(bare, '=');
    if (!equals || equals == bare || equals - bare >= (ptrdiff_t)sizeof key)
        return err_set(err, "override '%s' is not of the form key=value", name_show(shown, text));
    snprintf(key, sizeof key, "%.*s", (int)(equals - bare), bare);
    TRY(config_set(&m->out->cfg, key, equals + 1, "override", err));
    int row = config_key_find(key);
    if (row >= 0) m->given[row] = true;
    return 0;
}

static int sources_read(Maker *m, Err *err)
{
    const ConfigSources *from = m->from;
    bool grouped = false;
    for (int i = 0; i < from->n_overrides; i++) grouped |= chooses_group(from->overrides[i]);
    if (grouped) {
        char dir[CFG_PATH];
        TRY(config_dir_find(dir, sizeof dir, from->config_dir, err));
        m->whole = true;
        snprintf(m->base_path, sizeof m->base_path, "the experiment");
        return config_compose(&m->out->cfg, dir, from->overrides, from->n_overrides, err);
    }
    TRY(base_find(m, err));
    for (int i = 0; i < from->n_overrides; i++) TRY(override_set(m, from->overrides[i], err));
    return 0;
}

/* --- what shapes tell ---------------------------------------------------------------------------
 */

static bool is_given(const Maker *m, const char *key)
{
    return m->whole || m->given[config_key_find(key)];
}

static int shape_set(Maker *m, const char *key, const char *value, Err *err)
{
    char have[CFG_TEXT];
    const char *where = st_set_path(m->set);
    CHECK(config_get(&m->out->cfg, key, have, sizeof have) == 0, "no key %s", key);
    if (strcmp(have, value) == 0) return 0;
    if (is_given(m, key))
        return err_set(err, "%s: its tensors have %s = %s, but %s says %s; is it of another model?",
                       where, key, value,
                       m->given[config_key_find(key)] ? "the override" : m->base_path, have);
    TRY(config_set(&m->out->cfg, key, value, where, err));
    m->given[config_key_find(key)] = true;
    return 0;
}

static int shape_number(Maker *m, const char *key, int64_t value, Err *err)
{
    char text[32];
    snprintf(text, sizeof text, "%lld", (long long)value);
    return shape_set(m, key, text, err);
}

/* An output of its own follows the vocabulary unless it was given. */
static int output_set(Maker *m, Err *err)
{
    const WeightShapes *s = m->shapes;
    ModelConfig *c = &m->out->cfg.model;
    TRY(shape_set(m, "model.tie_word_embeddings", s->output_size ? "false" : "true", err));
    if (!is_given(m, "model.output_size")) c->output_size = s->vocab_size;
    return shape_number(m, "model.output_size", s->output_size ? s->output_size : s->vocab_size,
                        err);
}

static int shapes_apply(Maker *m, Err *err)
{
    const WeightShapes *s = m->shapes;
    TRY(shape_number(m, "model.vocab_size", s->vocab_size, err));
    TRY(shape_number(m, "model.hidden_size", s->hidden_size, err));
    TRY(shape_number(m, "model.intermediate_size", s->intermediate_size, err));
    TRY(shape_number(m, "model.num_hidden_layers", s->layers, err));
    TRY(output_set(m, err));
    TRY(shape_set(m, "model.prime", s->suffix ? "true" : "false", err));
    if (s->suffix) TRY(shape_number(m, "model.suffix_len", s->suffix, err));
    if (s->head_size == 0) return 0;
    if (s->hidden_size % s->head_size != 0)
        return err_set(err, "%s: heads of %lld channels do not divide %lld", st_set_path(m->set),
                       (long long)s->head_size, (long long)s->hidden_size);
    return shape_number(m, "model.num_attention_heads", s->hidden_size / s->head_size, err);
}

/* --- what nothing tells -------------------------------------------------------------------------
 */

static bool applies(const Maker *m, When when)
{
    const Config *c = &m->out->cfg;
    bool meta = c->training.train_mode == TRAIN_META;
    switch (when) {
    case WINDOWED:
        return c->model.seq_modeling_block != SEQ_SELF_ATTENTION || meta ||
               !is_given(m, "model.seq_modeling_block");
    case META:
        return meta || !is_given(m, "training.train_mode");
    case META_PLAIN:
        return applies(m, META) && m->shapes->suffix == 0;
    case NO_HEADS:
        return m->shapes->head_size == 0;
    default:
        return true;
    }
}

static void open_keys_list(Maker *m)
{
    for (int i = 0; i < ARRAY_LEN(untold); i++) {
        char value[CFG_TEXT], text[2 * CFG_TEXT];
        const char *key = untold[i].key;
        if (is_given(m, key) || !applies(m, untold[i].when)) continue;
        if (untold[i].demanded) {
            name_list_add(&m->out->missing, key);
            continue;
        }
        CHECK(config_get(&m->out->cfg, key, value, sizeof value) == 0, "no key %s", key);
        snprintf(text, sizeof text, "%s = %s", key, value);
        name_list_add(&m->out->assumed, text);
    }
}

static int heads_check(const Maker *m, Err *err)
{
    const ModelConfig *c = &m->out->cfg.model;
    if (m->layout == LAYOUT_LLAMA && !m->whole)
        return err_set(err,
                       "%s: a Llama checkpoint needs its config.json; put it beside the file, or "
                       "name it with --config",
                       st_set_path(m->set));
    if (m->layout == LAYOUT_LLAMA && (c->qk_norm || c->post_norm || !c->pre_norm || c->prime))
        return err_set(err, "model.qk_norm, model.post_norm and model.prime must be false and "
                            "model.pre_norm true for a Llama checkpoint");
    if (c->num_attention_heads > 0 && c->hidden_size % c->num_attention_heads == 0) return 0;
    return err_set(err, "model.num_attention_heads = %lld does not divide model.hidden_size = %lld",
                   (long long)c->num_attention_heads, (long long)c->hidden_size);
}

int import_config(ImportConfig *out, const ConfigSources *from, const StSet *set,
                  WeightLayout layout, const WeightShapes *shapes, Err *err)
{
    *out = (ImportConfig){0};
    Maker m = {.out = out, .from = from, .set = set, .layout = layout, .shapes = shapes};
    config_defaults(&out->cfg);
    TRY(sources_read(&m, err));
    TRY(shapes_apply(&m, err));
    bool from_llama = layout == LAYOUT_LLAMA; /* its config.json names no tokenizer */
    if ((!m.whole || from_llama) && !m.given[config_key_find("training.tokenizer_name")])
        out->cfg.training.tokenizer_name[0] = '\0';
    open_keys_list(&m);
    if (shapes->head_size == 0 && !is_given(&m, "model.num_attention_heads"))
        out->cfg.model.num_attention_heads = 1; /* the tensors' places do not depend on it */
    TRY(heads_check(&m, err));
    if (layout != LAYOUT_LLAMA || out->kv_heads == 0)
        out->kv_heads = out->cfg.model.num_attention_heads;
    return out->missing.n ? 0 : config_check(&out->cfg, err);
}
