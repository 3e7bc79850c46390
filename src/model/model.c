/* Models: fresh, loaded, saved, named by digest. */
#include "model/model.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "backend/bf16_copy.h"
#include "base/file.h"          // defines: path_join, dir_make
#include "base/mem.h"           // defines: mem_need, mem_refuse
#include "base/rng.h"           // defines: rng_seed, rng_normal
#include "base/safetensors.h"   // defines: st_open, st_find, st_write
#include "base/sha256.h"        // defines: sha256_init, sha256_text, sha256_update
#include "base/st_real.h"       // defines: ST_REAL, st_to_real
#include "model/reader_state.h" // defines: reader_room_free

static int model_shape(Model **out, Backend *be, const Config *cfg, Err *err)
{
    TRY(config_check(cfg, err));
    Model *m = calloc(1, sizeof *m);
    mem_need(m, "a model");
    m->cfg = *cfg;
    m->be = be;
    param_table_build(&m->table, &cfg->model);
    if (inner_table_build(&m->inner, &m->table, cfg, err) < 0) {
        free(m);
        return -1;
    }
    m->params = backend_alloc(be, m->table.size);
    if (backend_wait(be, err) < 0) {
        model_free(m);
        return -1;
    }
    *out = m;
    return 0;
}

void model_free(Model *m)
{
    if (!m) return;
    reader_room_free(m);
    backend_free(m->be, m->params, m->table.size);
    inner_table_free(&m->inner);
    free(m);
}

/* Whether products read tensor i. */
static bool multiplied(const Model *m, int i)
{
    const ParamEntry *e = &m->table.entry[i];
    return e->present && !e->is_norm && (i != P_WTE || m->cfg.model.tie_word_embeddings);
}

void model_copies_keep(const Model *m)
{
    const ParamEntry *e = m->table.entry;
    for (int i = 0; i < N_PARAMS; i++)
        if (multiplied(m, i)) bf16_copy_keep(m->be, m->params + e[i].offset, e[i].size);
}

void model_copies_drop(const Model *m)
{
    for (int i = 0; i < N_PARAMS; i++)
        if (multiplied(m, i)) bf16_copy_drop(m->be, m->params + m->table.entry[i].offset);
}

size_t model_copies_bytes(const Model *m)
{
    size_t bytes = 0;
    for (int i = 0; i < N_PARAMS; i++)
        if (multiplied(m, i)) bytes += bf16_copy_bytes(m->be, m->table.entry[i].size);
    return bytes;
}

/* Each tensor has its own stream of the seed, so that adding a tensor changes no other. */
static void init_entry(Model *m, const ParamEntry *e, uint64_t stream)
{
    real host[1 << 13]; /* a copy to a GPU takes microseconds, however short */
    Rng rng;
    rng_seed(&rng, (uint64_t)m->cfg.training.model_seed, stream);
    for (size_t done = 0, n; done < e->size; done += n) {
        n = e->size - done < ARRAY_LEN(host) ? e->size - done : ARRAY_LEN(host);
        for (size_t i = 0; i < n; i++)
            host[i] = e->is_norm ? 1 : (real)(m->cfg.model.initializer_range * rng_normal(&rng));
        backend_upload(m->be, m->params + e->offset + done, host, n);
    }
}

int model_create(Model **out, Backend *be, const Config *cfg, Err *err)
{
    TRY(model_shape(out, be, cfg, err));
    for (int id = 0; id < N_PARAMS; id++)
        if ((*out)->table.entry[id].present)
            init_entry(*out, &(*out)->table.entry[id], (uint64_t)id);
    return 0;
}

static void shape_text(char *out, size_t size, int n_dims, const int64_t *shape)
{
    size_t used = 0;
    for (int i = 0; i < n_dims && used < size; i++)
        used +=
            (size_t)snprintf(out + used, size - used, "%s%lld", i ? ", " : "", (long long)shape[i]);
}

static int load_entry(Model *m, const ParamEntry *e, const StTensor *t, const char *path, Err *err)
{
    bool same = t->n_dims == e->n_dims;
    for (int i = 0; same && i < e->n_dims; i++) same = t->shape[i] == e->shape[i];
    if (!same) {
        char have[96] = "", want[96] = "";
        shape_text(have, sizeof have, t->n_dims, t->shape);
        shape_text(want, sizeof want, e->n_dims, e->shape);
        return err_set(err, "%s: '%s' has shape (%s), this configuration needs (%s); check model.*",
                       path, t->name, have, want);
    }
    if (t->type > ST_BF16)
        return err_set(err, "%s: '%s' holds %s, weights must be floating point", path, t->name,
                       st_type_name(t->type));
    real host[1 << 13]; /* a copy to a GPU takes microseconds, however short */
    StTensor piece = *t;
    for (size_t done = 0; done < e->size; done += (size_t)piece.n_elements) {
        size_t left = e->size - done;
        piece.n_elements = (int64_t)(left < ARRAY_LEN(host) ? left : ARRAY_LEN(host));
        piece.data = (const char *)t->data + done * st_type_size(t->type);
        st_to_real(&piece, host);
        backend_upload(m->be, m->params + e->offset + done, host, (size_t)piece.n_elements);
    }
    return 0;
}

static int load_entries(Model *m, const StFile *file, const char *path, const char *prefix,
                        Err *err)
{
    int found = 0;
    for (int id = 0; id < N_PARAMS; id++) {
        const ParamEntry *e = &m->table.entry[id];
        if (!e->present) continue;
        char name[PARAM_PATH_MAX + 64];
        snprintf(name, sizeof name, "%s%s", prefix, e->path);
        const StTensor *t = st_find(file, name);
        if (!t)
            return err_set(err, "%s: tensor '%s' is missing; is this the model's own file?", path,
                           name);
        TRY(load_entry(m, e, t, path, err));
        found++;
    }
    if (prefix[0] || st_count(file) == found) return 0;
    for (int i = 0; i < st_count(file); i++) {
        const char *name = st_at(file, i)->name;
        bool known = false;
        for (int id = 0; id < N_PARAMS && !known; id++)
            known = m->table.entry[id].present && !strcmp(m->table.entry[id].path, name);
        if (!known)
            return err_set(err,
                           "%s: tensor '%s' belongs to no part of this configuration "
                           "(model.prime, model.tie_word_embeddings?)",
                           path, name);
    }
    return 0;
}

int model_load_params(Model *m, const char *path, const char *prefix, Err *err)
{
    StFile *file;
    TRY(st_open(&file, path, err));
    int status = load_entries(m, file, path, prefix, err);
    st_close(file);
    return status;
}

int model_load(Model **out, Backend *be, const char *dir, const char *const *overrides,
               int n_overrides, Err *err)
{
    char path[CFG_PATH];
    Config cfg;
    TRY(path_join(path, sizeof path, dir, "config.yaml", err));
    TRY(config_read(&cfg, path, err));
    for (int i = 0; i < n_overrides; i++) {
        const char *equals = strchr(overrides[i], '=');
        char key[CFG_TEXT];
        if (!equals || equals - overrides[i] >= (ptrdiff_t)sizeof key)
            return err_set(err, "override '%s' is not of the form key=value", overrides[i]);
        snprintf(key, sizeof key, "%.*s", (int)(equals - overrides[i]), overrides[i]);
        TRY(config_set(&cfg, key, equals + 1, "override", err));
    }
    TRY(path_join(path, sizeof path, dir, "model.safetensors", err));
    TRY(model_shape(out, be, &cfg, err));
    if (model_load_params(*out, path, "", err) == 0) return 0;
    model_free(*out);
    *out = NULL;
    return -1;
}

int model_save(const Model *m, const char *dir, Err *err)
{
    char path[CFG_PATH];
    TRY(dir_make(dir, err));
    real *host = malloc(m->table.size * sizeof *host);
    if (!host) return mem_refuse(err, m->table.size * sizeof *host, "a copy of the weights");
    backend_download(m->be, host, m->params, m->table.size);
    if (backend_wait(m->be, err) < 0) {
        free(host);
        return -1;
    }
    StTensor tensors[N_PARAMS];
    int n = 0;
    for (int id = 0; id < N_PARAMS; id++) {
        const ParamEntry *e = &m->table.entry[id];
        if (!e->present) continue;
        StTensor t = {.name = e->path,
                      .type = ST_REAL,
                      .n_dims = e->n_dims,
                      .n_elements = (int64_t)e->size,
                      .data = host + e->offset};
        memcpy(t.shape, e->shape, sizeof e->shape);
        tensors[n++] = t;
    }
    StMeta meta[] = {{"format", "ttt-model-1"}, st_checksum};
    int status = path_join(path, sizeof path, dir, "model.safetensors", err);
    if (status == 0) status = st_write(path, tensors, n, meta, ARRAY_LEN(meta), err);
    free(host);
    TRY(status);
    TRY(path_join(path, sizeof path, dir, "config.yaml", err));
    return config_write(&m->cfg, path, err);
}

/* Keys that change what the model computes from the same weights. */
static const char *const digest_keys[] = {"model.num_attention_heads",
                                          "model.mini_batch_size",
                                          "model.sliding_window_size",
                                          "model.rms_norm_eps",
                                          "model.bos_token_id",
                                          "model.rope_theta",
                                          "model.seq_modeling_block",
                                          "model.qk_norm",
                                          "model.pre_norm",
                                          "model.post_norm",
                                          "model.suffix_len",
                                          "training.train_mode",
                                          "training.spec_inner",
                                          "training.optimizer_inner.lr",
                                          "training.optimizer_inner.clip_gradient"};

void model_digest(const Model *m, char out[65])
{
    enum { DIGEST_BLOCK = 1 << 16 }; /* elements */
    Sha256 sha;
    sha256_init(&sha);
    for (int i = 0; i < ARRAY_LEN(digest_keys); i++) {
        char value[CFG_MAX_SPECS * CFG_TEXT];
        CHECK(config_get(&m->cfg, digest_keys[i], value, sizeof value) == 0, "no key '%s'",
              digest_keys[i]);
        sha256_text(&sha, digest_keys[i]);
        sha256_text(&sha, value);
    }
    real *host = malloc(DIGEST_BLOCK * sizeof *host);
    mem_need(host, "a digest");
    for (int id = 0; id < N_PARAMS; id++) {
        const ParamEntry *e = &m->table.entry[id];
        if (!e->present) continue;
        sha256_text(&sha, e->path);
        for (size_t done = 0, n; done < e->size; done += n) {
            n = e->size - done < DIGEST_BLOCK ? e->size - done : DIGEST_BLOCK;
            backend_download(m->be, host, m->params + e->offset + done, n);
            sha256_update(&sha, host, n * sizeof *host);
        }
    }
    free(host);
    sha256_hex(&sha, out);
}

double inner_lr_at(const TrainingConfig *t, int64_t step)
{
    double lr = t->optimizer_inner.lr;
    if (t->ilr_warmup_steps == 0) return lr;
    double progress = (double)(step + 1) / (double)t->ilr_warmup_steps;
    return t->ilr_init + (lr - t->ilr_init) * (progress < 1 ? progress : 1);
}

bool model_learns(const Model *m)
{
    return m->inner.size > 0;
}
