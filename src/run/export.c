/* Exporting: the model's own file as a map, written in another layout. The configuration goes along
 * in the metadata, so that `ttt import` needs nothing else. */
#include "run/export.h"

#include <limits.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "data/tokenizer.h"
#include "run/hf_config.h"
#include "run/new_folder.h"

/* Llama has none of these norms, and learns nothing while it reads. */
static int llama_check(const Config *c, Err *err)
{
    const ModelConfig *m = &c->model;
    const struct {
        bool bad;
        const char *what;
    } rules[] = {{m->qk_norm, "model.qk_norm = true"},
                 {m->post_norm, "model.post_norm = true"},
                 {!m->pre_norm, "model.pre_norm = false"},
                 {m->prime, "model.prime = true"},
                 {m->output_size != m->vocab_size, "an output wider than the vocabulary"},
                 {c->training.train_mode == TRAIN_META, "training.train_mode = meta"}};
    for (int i = 0; i < ARRAY_LEN(rules); i++)
        if (rules[i].bad)
            return err_set(err,
                           "the model has %s, which Llama cannot express: take --layout "
                           "stacked or layers",
                           rules[i].what);
    return 0;
}

static int parts_open(Export *e, const ExportOptions *o, Err *err)
{
    char path[PATH_MAX];
    TRY(layout_named(&e->layout, o->layout, err));
    TRY(path_join(path, sizeof path, o->model, "config.yaml", err));
    TRY(config_read(&e->cfg, path, err));
    TRY(config_check(&e->cfg, err));
    if (e->layout == LAYOUT_LLAMA) TRY(llama_check(&e->cfg, err));
    TRY(path_join(path, sizeof path, o->model, "model.safetensors", err));
    TRY(st_set_open(&e->set, path, err));
    e->map = (WeightMap){.set = e->set,
                         .layout = LAYOUT_STACKED,
                         .prefix = "",
                         .model = e->cfg.model,
                         .kv_heads = e->cfg.model.num_attention_heads,
                         .allow_nan = o->allow_nan};
    param_table_build(&e->map.table, &e->cfg.model);
    return weights_check(&e->map, err);
}

int export_open(Export *e, const ExportOptions *o, Err *err)
{
    *e = (Export){0};
    if (parts_open(e, o, err) == 0) return 0;
    export_close(e);
    return -1;
}

void export_close(Export *e)
{
    st_set_close(e->set);
    e->set = NULL;
}

static int file_put(const Export *e, const ExportOptions *o, const char *path, const StMeta *meta,
                    int n_meta, Err *err)
{
    const WeightMap *map = &e->map;
    const char *const prefix[] = {""};
    const WeightOutput output = {e->layout, o->type, meta, n_meta};
    return weights_write(path, &map, prefix, 1, &output, err);
}

static int llama_fill(const Export *e, const ExportOptions *o, const char *folder, Err *err)
{
    char path[PATH_MAX], tokenizer[PATH_MAX];
    const char *name = e->cfg.training.tokenizer_name;
    const StMeta meta = {"format", "pt"}; /* the library refuses files without it */
    TRY(path_join(path, sizeof path, folder, "model.safetensors", err));
    TRY(file_put(e, o, path, &meta, 1, err));
    TRY(tokenizer_named_path(tokenizer, name, o->model, err));
    if (file_exists(tokenizer)) TRY(tokenizer_copy_file(name, tokenizer, folder, err));
    TRY(path_join(path, sizeof path, folder, "config.json", err));
    char *text = hf_config_text(&e->cfg);
    int status = file_write_atomic(path, text, strlen(text), err);
    free(text);
    return status;
}

static int llama_put(const Export *e, const ExportOptions *o, Err *err)
{
    NewFolder folder;
    TRY(new_folder_begin(&folder, o->out, o->force, err));
    return new_folder_end(&folder, llama_fill(e, o, folder.temp, err), err);
}

int export_write(const Export *e, const ExportOptions *o, Err *err)
{
    if (e->layout == LAYOUT_LLAMA) return llama_put(e, o, err);
    char *config = config_text(&e->cfg);
    const StMeta meta[] = {
        {"format", "ttt-model-1"}, {"layout", layout_name(e->layout)}, {"config", config}};
    int status = file_put(e, o, o->out, meta, ARRAY_LEN(meta), err);
    free(config);
    return status;
}
