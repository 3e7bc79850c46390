/* Checking first, then writing a folder under another name, then giving it its own. */
#include "run/import.h"

#include <stdio.h>
#include <string.h>

#include "base/file.h"
#include "data/tokenizer.h"
#include "run/checkpoint.h"
#include "run/new_folder.h"
#include "run/train_state.h"

/* --- opening ------------------------------------------------------------------------------------
 */

static int layout_take(WeightLayout *layout, const Import *im, const ImportOptions *o, Err *err)
{
    if (o->layout) return layout_named(layout, o->layout, err);
    return weights_layout_find(layout, im->set, o->prefix, err);
}

/* The spec must select something of this very model, as when it is opened. */
static int spec_check(const Import *im, Err *err)
{
    InnerTable inner;
    if (im->config.missing.n) return 0;
    TRY(inner_table_build(&inner, &im->map.table, &im->config.cfg, err));
    inner_table_free(&inner);
    return 0;
}

static int weights_open(Import *im, const ImportOptions *o, Err *err)
{
    WeightLayout layout;
    WeightShapes shapes;
    TRY(st_set_open(&im->set, o->source, err));
    TRY(layout_take(&layout, im, o, err));
    TRY(weights_shapes(&shapes, im->set, layout, o->prefix, err));
    TRY(import_config(&im->config, &o->config, im->set, layout, &shapes, err));
    im->map = (WeightMap){.set = im->set,
                          .layout = layout,
                          .prefix = o->prefix,
                          .model = im->config.cfg.model,
                          .kv_heads = im->config.kv_heads,
                          .allow_nan = o->allow_nan};
    param_table_build(&im->map.table, &im->map.model);
    TRY(weights_check(&im->map, err));
    return spec_check(im, err);
}

/* Every tensor of the file belongs to one of the two moments. */
static int moments_only(const Import *im, Err *err)
{
    NameList others = {0};
    for (int i = 0; i < st_set_count(im->moments); i++) {
        const char *name = st_set_at(im->moments, i)->name;
        if (strncmp(name, "mu/", 3) != 0 && strncmp(name, "nu/", 3) != 0)
            name_list_add(&others, name);
    }
    if (others.n == 0) return 0;
    return err_set(err, "%s holds what is no moment (mu/..., nu/...): %s", st_set_path(im->moments),
                   name_list_end(&others));
}

static int moments_open(Import *im, const ImportOptions *o, Err *err)
{
    if (!o->optimizer) return 0;
    TRY(st_set_open(&im->moments, o->optimizer, err));
    TRY(moments_only(im, err));
    im->mu = im->map;
    im->mu.set = im->moments;
    im->mu.prefix = "mu/";
    TRY(weights_layout_find(&im->mu.layout, im->moments, im->mu.prefix, err));
    if (im->mu.layout == LAYOUT_LLAMA)
        return err_set(err, "%s: moments must have the published names", o->optimizer);
    im->nu = im->mu;
    im->nu.prefix = "nu/";
    TRY(weights_check(&im->mu, err));
    return weights_check(&im->nu, err);
}

/* The tokenizer that was named, or the one beside the source; but not where the configuration names
 * another one exactly. */
static int tokenizer_find(Import *im, const ImportOptions *o, Err *err)
{
    char folder[PATH_MAX], name[TOKENIZER_NAME];
    Tokenizer *tok;
    Config *c = &im->config.cfg;
    const char *what = o->tokenizer;
    if (!what) {
        TRY(path_parent(folder, sizeof folder, st_set_path(im->set), err));
        const char *own = c->training.tokenizer_name;
        if (strcmp(own, "bytes") == 0) return 0;
        int there = tokenizer_folder_name(name, folder, err);
        if (there <= 0) return there;
        if (tokenizer_name_exact(own) && strcmp(own, name) != 0) return 0;
        what = folder;
    }
    TRY(tokenizer_open(&tok, what, err));
    int status = 0;
    if (tok->vocab_size > c->model.vocab_size)
        status =
            err_set(err, "%s has %d ids, the model %lld; name another with --tokenizer",
                    tok->file ? tok->file : what, tok->vocab_size, (long long)c->model.vocab_size);
    if (tok->file) snprintf(im->tokenizer, sizeof im->tokenizer, "%s", tok->file);
    snprintf(c->training.tokenizer_name, sizeof c->training.tokenizer_name, "%s", tok->name);
    tokenizer_close(tok);
    return status;
}

int import_open(Import *im, const ImportOptions *o, Err *err)
{
    *im = (Import){0};
    if (weights_open(im, o, err) == 0 && moments_open(im, o, err) == 0 &&
        tokenizer_find(im, o, err) == 0)
        return 0;
    import_close(im);
    return -1;
}

void import_close(Import *im)
{
    st_set_close(im->set);
    st_set_close(im->moments);
    im->set = im->moments = NULL;
}

/* --- writing ------------------------------------------------------------------------------------
 */

static int weights_put(const Import *im, const char *folder, Err *err)
{
    char path[PATH_MAX];
    const WeightMap *map = &im->map, *moments[] = {&im->mu, &im->nu};
    const char *const none[] = {""}, *const prefixes[] = {"mu/", "nu/"};
    const StMeta meta[] = {{"format", "ttt-model-1"}, st_checksum};
    const WeightOutput weights = {LAYOUT_STACKED, ST_F32, meta, ARRAY_LEN(meta)};
    const WeightOutput plain = {LAYOUT_STACKED, ST_F32, NULL, 0};
    TRY(path_join(path, sizeof path, folder, "model.safetensors", err));
    TRY(weights_write(path, &map, none, 1, &weights, err));
    if (!im->moments) return 0;
    TRY(path_join(path, sizeof path, folder, "optimizer.safetensors", err));
    return weights_write(path, moments, prefixes, 2, &plain, err);
}

/* The loader goes on behind what the steps so far have read, as far as that is known. */
static int state_put(const Import *im, const ImportOptions *o, const char *folder, Err *err)
{
    const TrainingConfig *t = &im->config.cfg.training;
    int64_t sequences = im->config.missing.n ? 0 : o->step * t->global_batch_size;
    TrainState state = {.step = o->step,
                        .updates = o->updates,
                        .model_seed = t->model_seed,
                        .data_seed = t->data_seed,
                        .sequences = sequences,
                        .tokens = sequences * t->seq_length};
    if (!im->moments) return 0;
    snprintf(state.number, sizeof state.number, "fp32");
    snprintf(state.isa, sizeof state.isa, "imported");
    return train_state_write_json(folder, &state, err);
}

static int files_put(const Import *im, const ImportOptions *o, const char *folder, Err *err)
{
    char path[PATH_MAX];
    TRY(weights_put(im, folder, err));
    TRY(state_put(im, o, folder, err));
    if (im->tokenizer[0])
        TRY(tokenizer_copy_file(im->config.cfg.training.tokenizer_name, im->tokenizer, folder,
                                err));
    if (im->config.missing.n) return 0;
    TRY(path_join(path, sizeof path, folder, "config.yaml", err));
    return config_write(&im->config.cfg, path, err);
}

int import_write(const Import *im, const ImportOptions *o, Err *err)
{
    NewFolder folder;
    TRY(new_folder_begin(&folder, o->out, o->force, err));
    int status = files_put(im, o, folder.temp, err);
    if (status == 0) status = checkpoint_seal(folder.temp, err);
    return new_folder_end(&folder, status, err);
}
