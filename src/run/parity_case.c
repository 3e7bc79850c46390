/* A case's two files: configuration from the JSON, inputs from the arrays. */
#include <stdlib.h>
#include <string.h>

#include "base/file.h" // defines: file_read, file_exists, path_join, path_parent
#include "base/mem.h"
#include "base/names.h" // defines: name_show
#include "run/parity.h"

enum { JSON_MAX = 16 << 20 };

static int json_read(ParityCase *c, Err *err)
{
    char *text;
    size_t size;
    json_error_t why;
    TRY(file_read(c->path, &text, &size, JSON_MAX, err));
    c->json = json_loadb(text, size, JSON_REJECT_DUPLICATES, &why);
    free(text);
    if (!c->json)
        return err_set(err, "%s:%d: not JSON: %s; mend the file or get it again", c->path, why.line,
                       why.text);
    if (!json_is_object(c->json))
        return err_set(err, "%s: not a parity case: it must be a JSON object", c->path);
    return 0;
}

/* The number types of weights and state follow the build, so that of a float64 case is no error. */
static bool is_dtype_of_build(const char *key, const json_t *value)
{
    const char *text = json_string_value(value);
    bool dtype = strcmp(key, "model.param_dtype") == 0 || strcmp(key, "model.state_dtype") == 0;
    return dtype && text && strcmp(text, "fp64") == 0;
}

/* Sets every key below one object, by its dotted name. */
static int config_from_json(ParityCase *c, const char *prefix, json_t *object, Err *err)
{
    const char *name;
    json_t *value;
    json_object_foreach(object, name, value)
    {
        char key[CFG_TEXT], shown[NAME_SHOWN_MAX];
        if (strlen(prefix) + strlen(name) + 2 > sizeof key)
            return err_set(err, "%s: unknown key '%s.%s'", c->path, prefix, name_show(shown, name));
        strcpy(key, prefix);
        strcat(key, ".");
        strcat(key, name);
        if (json_is_object(value)) {
            TRY(config_from_json(c, key, value, err));
        } else if (!is_dtype_of_build(key, value)) {
            char *text = json_dumps(value, JSON_ENCODE_ANY);
            mem_need(text, "a case");
            int status = config_set(&c->cfg, key, text, c->path, err);
            free(text);
            TRY(status);
        }
    }
    return 0;
}

static int config_build(ParityCase *c, Err *err)
{
    static const char *const parts[] = {"model", "training"};
    config_defaults(&c->cfg);
    for (int i = 0; i < ARRAY_LEN(parts); i++) {
        json_t *object = json_object_get(c->json, parts[i]);
        if (!json_is_object(object))
            return err_set(err,
                           "%s: no object '%s'; a case holds its configuration in 'model' and "
                           "'training'",
                           c->path, parts[i]);
        TRY(config_from_json(c, parts[i], object, err));
    }
    if (!json_object_get(json_object_get(c->json, "model"), "output_size"))
        c->cfg.model.output_size = c->cfg.model.vocab_size;
    const char *dtype = json_string_value(json_object_get(c->json, "dtype"));
    c->reference_wide =
        dtype ? strcmp(dtype, "float64") == 0 : c->cfg.model.compute_dtype == COMPUTE_FP64;
    return 0;
}

static int start_step_read(ParityCase *c, Err *err)
{
    const json_t *step = json_object_get(c->json, "start_step");
    c->start_step = json_integer_value(step);
    if (step && (!json_is_integer(step) || c->start_step < 0))
        return err_set(err, "%s: start_step must be an integer, 0 or more", c->path);
    return 0;
}

/* The neighbour of the JSON, and the file that the inputs are in. */
static int paths_find(ParityCase *c, const char *json_path, Err *err)
{
    static const char ending[] = ".json", arrays[] = ".safetensors";
    size_t size = strlen(json_path), stem = size - strlen(ending);
    if (size <= strlen(ending) || strcmp(json_path + stem, ending) != 0)
        return err_set(err, "%s: a case is named by its .json file", json_path);
    if (stem + sizeof arrays > sizeof c->path)
        return err_set(err, "the path of the case is too long: at most %zu bytes",
                       sizeof c->path - sizeof arrays);
    memcpy(c->path, json_path, size + 1);
    memcpy(c->reference_path, json_path, stem);
    memcpy(c->reference_path + stem, arrays, sizeof arrays);
    return 0;
}

static int files_open(ParityCase *c, Err *err)
{
    const json_t *from = json_object_get(c->json, "inputs_from");
    const char *name = json_string_value(from);
    if (from && (!name || !*name))
        return err_set(err, "%s: inputs_from must be the name of a file in the same folder",
                       c->path);
    if (name) {
        char folder[CFG_PATH];
        TRY(path_parent(folder, sizeof folder, c->path, err));
        TRY(path_join(c->inputs_path, sizeof c->inputs_path, folder, name, err));
    } else {
        memcpy(c->inputs_path, c->reference_path, sizeof c->inputs_path);
    }
    TRY(st_open(&c->inputs, c->inputs_path, err));
    if (strcmp(c->inputs_path, c->reference_path) == 0) {
        c->reference = c->inputs;
        return 0;
    }
    return file_exists(c->reference_path) ? st_open(&c->reference, c->reference_path, err) : 0;
}

static int tokens_shape(ParityCase *c, const StTensor *t, Err *err)
{
    const TrainingConfig *training = &c->cfg.training;
    if (!t)
        return err_set(err,
                       "%s: array 'tokens' is missing; the case's inputs are 'params/...' and "
                       "'tokens' (inputs_from names another file)",
                       c->inputs_path);
    if ((t->type != ST_I32 && t->type != ST_I64) || t->n_dims != 3 || t->n_elements == 0)
        return err_set(err, "%s: 'tokens' must be I32 of shape (batches, sequences, length + 1)",
                       c->inputs_path);
    c->n_batches = t->shape[0];
    c->B = t->shape[1];
    c->T = t->shape[2] - 1;
    if (c->B == training->global_batch_size && c->T == training->seq_length) return 0;
    return err_set(err,
                   "%s: 'tokens' has batches of %lld sequences of %lld tokens, %s says "
                   "training.global_batch_size = %lld, training.seq_length = %lld",
                   c->inputs_path, (long long)c->B, (long long)c->T, c->path,
                   (long long)training->global_batch_size, (long long)training->seq_length);
}

static int tokens_read(ParityCase *c, Err *err)
{
    const StTensor *t = st_find(c->inputs, "tokens");
    TRY(tokens_shape(c, t, err));
    c->tokens = malloc((size_t)t->n_elements * sizeof *c->tokens);
    mem_need(c->tokens, "a case");
    size_t width = st_type_size(t->type);
    for (int64_t i = 0; i < t->n_elements; i++) {
        int64_t id = 0;
        int32_t narrow;
        const char *at = (const char *)t->data + (size_t)i * width;
        if (t->type == ST_I32) {
            memcpy(&narrow, at, width);
            id = narrow;
        } else {
            memcpy(&id, at, width);
        }
        if (id < 0 || id >= c->cfg.model.vocab_size)
            return err_set(err,
                           "%s: 'tokens' holds the id %lld at place %lld, model.vocab_size is "
                           "%lld",
                           c->inputs_path, (long long)id, (long long)i,
                           (long long)c->cfg.model.vocab_size);
        c->tokens[i] = (int32_t)id;
    }
    return 0;
}

static int parts_open(ParityCase *c, const char *json_path, Err *err)
{
    TRY(paths_find(c, json_path, err));
    TRY(json_read(c, err));
    TRY(config_build(c, err));
    TRY(start_step_read(c, err));
    TRY(files_open(c, err));
    return tokens_read(c, err);
}

int parity_case_open(ParityCase *c, const char *json_path, Err *err)
{
    memset(c, 0, sizeof *c);
    if (parts_open(c, json_path, err) == 0) return 0;
    parity_case_close(c);
    return -1;
}

void parity_case_close(ParityCase *c)
{
    free(c->tokens);
    if (c->reference != c->inputs) st_close(c->reference);
    st_close(c->inputs);
    json_decref(c->json);
    memset(c, 0, sizeof *c);
}
