/* The content of a checkpoint: weights, moments and state.json, written and read back. */
#include "run/train_state.h"

#include <jansson.h>
#include <stdlib.h>

#include "base/file.h"
#include "base/jsonl.h"
#include "base/st_real.h"

enum { STATE_FORMAT = 1, STATE_MAX = 1 << 16, NAME_MAX_LENGTH = PARAM_PATH_MAX + 4 };

static json_t *state_object(const TrainState *s)
{
    return json_pack("{s:i, s:I, s:I, s:{s:I, s:I}, s:{s:I, s:I}, s:{s:I, s:s}, s:{s:s, s:s, s:i}}",
                     "format", STATE_FORMAT, "step", (json_int_t)s->step, "optimizer_updates",
                     (json_int_t)s->updates, "seeds", "model", (json_int_t)s->model_seed, "data",
                     (json_int_t)s->data_seed, "loader", "sequences", (json_int_t)s->sequences,
                     "tokens", (json_int_t)s->tokens, "dataset", "tokens",
                     (json_int_t)s->dataset_tokens, "digest", s->dataset_digest, "machine",
                     "number", s->number, "isa", s->isa, "threads", s->threads);
}

int train_state_write_json(const char *folder, const TrainState *state, Err *err)
{
    char path[PATH_MAX];
    TRY(path_join(path, sizeof path, folder, "state.json", err));
    return json_write_atomic(path, state_object(state), JSON_INDENT(2), err);
}

/* The tensors "mu/PATH" and "nu/PATH" of the moments at host, (2, table.size). */
static int moment_tensors(StTensor *tensors, char (*names)[NAME_MAX_LENGTH], const ParamTable *t,
                          const real *host)
{
    static const char *const moments[] = {"mu", "nu"};
    int n = 0;
    for (int k = 0; k < ARRAY_LEN(moments); k++) {
        for (int id = 0; id < N_PARAMS; id++) {
            const ParamEntry *e = &t->entry[id];
            if (!e->present) continue;
            snprintf(names[n], NAME_MAX_LENGTH, "%s/%s", moments[k], e->path);
            tensors[n] = (StTensor){.name = names[n],
                                    .type = sizeof(real) == 8 ? ST_F64 : ST_F32,
                                    .n_dims = e->n_dims,
                                    .n_elements = (int64_t)e->size,
                                    .data = host + (size_t)k * t->size + e->offset};
            for (int d = 0; d < e->n_dims; d++) tensors[n].shape[d] = e->shape[d];
            n++;
        }
    }
    return n;
}

static int moments_write(const char *folder, const Model *m, const Optimizer *o, real *host,
                         Err *err)
{
    StTensor tensors[2 * N_PARAMS];
    char names[2 * N_PARAMS][NAME_MAX_LENGTH], path[PATH_MAX];
    TRY(path_join(path, sizeof path, folder, "optimizer.safetensors", err));
    backend_download(m->be, host, o->mu, m->table.size);
    backend_download(m->be, host + m->table.size, o->nu, m->table.size);
    TRY(backend_wait(m->be, err));
    int n = moment_tensors(tensors, names, &m->table, host);
    return st_write(path, tensors, n, NULL, 0, err);
}

int train_state_write(const char *folder, const TrainState *state, const Model *m,
                      const Optimizer *o, real *host, Err *err)
{
    TRY(model_save(m, folder, err));
    TRY(moments_write(folder, m, o, host, err));
    return train_state_write_json(folder, state, err);
}

static int state_parse(TrainState *s, json_t *root, const char *path, Err *err)
{
    json_error_t why;
    json_int_t step, updates, model_seed, data_seed, sequences, tokens, dataset_tokens;
    const char *digest, *number, *isa;
    int format, threads;
    if (json_unpack_ex(root, &why, 0,
                       "{s:i, s:I, s:I, s:{s:I, s:I}, s:{s:I, s:I}, s:{s:I, s:s}, s:{s:s, s:s, "
                       "s:i}}",
                       "format", &format, "step", &step, "optimizer_updates", &updates, "seeds",
                       "model", &model_seed, "data", &data_seed, "loader", "sequences", &sequences,
                       "tokens", &tokens, "dataset", "tokens", &dataset_tokens, "digest", &digest,
                       "machine", "number", &number, "isa", &isa, "threads", &threads) != 0)
        return err_set(err, "%s: %s; it is not a training state", path, why.text);
    if (format != STATE_FORMAT)
        return err_set(err, "%s: format %d, this program reads %d; use the program that wrote it",
                       path, format, STATE_FORMAT);
    if (step < 0 || updates < 0 || sequences < 0)
        return err_set(err, "%s: a count is negative; it is not a training state", path);
    *s = (TrainState){.step = step,
                      .updates = updates,
                      .model_seed = model_seed,
                      .data_seed = data_seed,
                      .sequences = sequences,
                      .tokens = tokens,
                      .dataset_tokens = dataset_tokens,
                      .threads = threads};
    snprintf(s->dataset_digest, sizeof s->dataset_digest, "%s", digest);
    snprintf(s->number, sizeof s->number, "%s", number);
    snprintf(s->isa, sizeof s->isa, "%s", isa);
    return 0;
}

int train_state_read(TrainState *out, const char *folder, Err *err)
{
    char path[PATH_MAX], *text;
    size_t size;
    json_error_t why;
    TRY(path_join(path, sizeof path, folder, "state.json", err));
    TRY(file_read(path, &text, &size, STATE_MAX, err));
    json_t *root = json_loadb(text, size, 0, &why);
    free(text);
    if (!root) return err_set(err, "%s:%d: %s; it is not JSON", path, why.line, why.text);
    int status = state_parse(out, root, path, err);
    json_decref(root);
    return status;
}

/* Fills a flat block from the tensors "PREFIX/PATH". */
static int moment_load(real *to, const char *prefix, const StFile *file, const char *path,
                       const Model *m, real *host, Err *err)
{
    for (int id = 0; id < N_PARAMS; id++) {
        const ParamEntry *e = &m->table.entry[id];
        char name[NAME_MAX_LENGTH];
        if (!e->present) continue;
        snprintf(name, sizeof name, "%s/%s", prefix, e->path);
        const StTensor *t = st_find(file, name);
        bool fits = t && t->n_dims == e->n_dims && (t->type == ST_F32 || t->type == ST_F64);
        for (int d = 0; fits && d < e->n_dims; d++) fits = t->shape[d] == e->shape[d];
        if (!fits)
            return err_set(err, "%s: %s is missing or has another shape; it is of another model",
                           path, name);
        st_to_real(t, host + e->offset);
    }
    backend_upload(m->be, to, host, m->table.size);
    return 0;
}

int train_state_load(const char *folder, Model *m, Optimizer *o, real *host, Err *err)
{
    char path[PATH_MAX];
    StFile *file;
    TRY(path_join(path, sizeof path, folder, "model.safetensors", err));
    TRY(model_load_params(m, path, "", err));
    if (!o) return 0;
    TRY(path_join(path, sizeof path, folder, "optimizer.safetensors", err));
    TRY(st_open(&file, path, err));
    int status = moment_load(o->mu, "mu", file, path, m, host, err);
    if (status == 0) status = moment_load(o->nu, "nu", file, path, m, host, err);
    st_close(file);
    return status;
}
