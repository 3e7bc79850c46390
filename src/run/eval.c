/* The course of an evaluation: everything is checked before the first token is scored; then one
 * model after the other is opened, scored in its modes and closed. */
#include "run/eval.h"

#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "backend/gemm_bf16.h" // defines: bf16_native
#include "base/file.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/real.h"
#include "data/tokenizer.h"
#include "model/model.h"
#include "run/eval_score.h"
#include "run/machine_open.h"

/* "runs/demo/model/" is called "demo": a folder named model says nothing. */
static void name_from_dir(const char *dir, char out[EVAL_NAME])
{
    char path[PATH_MAX];
    char *real_path = realpath(dir, NULL);
    snprintf(path, sizeof path, "%s", real_path ? real_path : dir);
    free(real_path);
    char *slash = strrchr(path, '/');
    if (slash && slash != path && strcmp(slash, "/model") == 0) {
        *slash = '\0';
        slash = strrchr(path, '/');
    }
    const char *name = slash ? slash + 1 : path;
    snprintf(out, EVAL_NAME, "%.*s", EVAL_NAME - 1, *name ? name : "model");
}

/* Names stand in tables, in a tab-separated file and in files' names. */
static int names_set(Eval *e, Err *err)
{
    const EvalOptions *o = &e->options;
    for (int i = 0; i < o->n_models; i++) {
        char *name = e->models[i].name;
        if (o->names && strlen(o->names[i]) >= EVAL_NAME)
            return err_set(err, "the name '%.40s...' is too long: at most %d bytes", o->names[i],
                           EVAL_NAME - 1);
        if (o->names)
            snprintf(name, EVAL_NAME, "%s", o->names[i]);
        else
            name_from_dir(o->models[i], name);
        for (char *c = name; *c; c++)
            if (iscntrl((unsigned char)*c)) *c = '?';
        for (int j = 0; j < i; j++)
            if (strcmp(e->models[j].name, name) == 0)
                return err_set(err, "%s and %s are both called '%s': tell them apart with --names",
                               o->models[j], o->models[i], name);
    }
    return 0;
}

static int model_open(const EvalModel *em, const EvalOptions *options, Backend **be, Model **m,
                      Err *err)
{
    BackendOptions o = {.device = options->device, .threads = options->threads, .bf16 = em->bf16};
    *m = NULL;
    TRY(backend_open(be, &o, err));
    return model_load(m, *be, em->dir, NULL, 0, err);
}

/* Opens each model once, to know that it can be scored before any is. */
static int model_check(Eval *e, EvalModel *em, Err *err)
{
    Backend *be = NULL;
    Model *m = NULL;
    const char *compute = e->options.compute;
    if (!dir_exists(em->dir))
        return err_set(err, "there is no model folder %s: check the path", em->dir);
    int status = model_open(em, &e->options, &be, &m, err);
    if (status == 0) {
        em->cfg = m->cfg;
        em->learns = model_learns(m);
        em->bf16 =
            compute ? strcmp(compute, "bf16") == 0 : m->cfg.model.compute_dtype == COMPUTE_BF16;
        if (sizeof(real) > sizeof(float)) em->bf16 = false;
        em->inner_lr = em->learns ? inner_lr_at(&m->cfg.training, EVALUATION_STEP) : 0.0;
        model_digest(m, em->digest);
    }
    model_free(m);
    backend_close(be);
    return status;
}

/* The same ids must mean the same tokens to the model and in the data. A model may have ids to
 * spare when the tokenizers are known to be the same. */
static int vocabulary_check(const Eval *e, const EvalModel *em, Err *err)
{
    const TokenSource *s = e->source;
    const ModelConfig *c = &em->cfg.model;
    char name[TOKENIZER_NAME];
    token_source_declare(e->source, (int32_t)c->vocab_size, (int32_t)c->bos_token_id);
    const char *tokenizer = em->cfg.training.tokenizer_name;
    if (!tokenizer_name_exact(tokenizer)) {
        int there = tokenizer_folder_name(name, em->dir, err);
        if (there < 0) return -1;
        if (there) tokenizer = name;
    }
    /* A published name says less than a digest: then the size decides. */
    bool comparable = tokenizer_name_exact(tokenizer) || strchr(s->tokenizer, '@') == NULL;
    bool both_known = *tokenizer && *s->tokenizer && comparable;
    bool same_vocabulary = s->vocab_size == c->vocab_size;
    if (both_known)
        same_vocabulary = strcmp(tokenizer, s->tokenizer) == 0 && s->vocab_size <= c->vocab_size;
    bool same_bos = s->bos < 0 || s->bos == c->bos_token_id;
    if (same_vocabulary && same_bos) return 0;
    return err_set(
        err,
        "the model %s and the data %s do not fit together: the model reads tokenizer '%s' "
        "(%lld ids, BOS %lld), the data is tokenizer '%s' (%d ids, BOS %d); encode the "
        "text anew for this model",
        em->dir, s->name, tokenizer, (long long)c->vocab_size, (long long)c->bos_token_id,
        s->tokenizer, s->vocab_size, s->bos);
}

static int models_check(Eval *e, Err *err)
{
    bool bf16 = false;
    TRY(names_set(e, err));
    for (int i = 0; i < e->options.n_models; i++) {
        e->models[i].dir = e->options.models[i];
        TRY(model_check(e, &e->models[i], err));
        TRY(vocabulary_check(e, &e->models[i], err));
        bf16 = bf16 || e->models[i].bf16;
    }
    bf16_tell(bf16 && !bf16_native());
    return 0;
}

static int set_make(Eval *e, Err *err)
{
    const EvalOptions *o = &e->options;
    EvalSetOptions so = {.length = o->length,
                         .full_length_only = o->length > 0,
                         .stream = o->stream || (!o->documents && doc_count(e->source) == 0),
                         .max_tokens = o->max_tokens,
                         .max_items = o->max_documents};
    if (so.stream && !o->stream)
        log_info("%s lists no documents: the sequences of training are scored (--layout stream)",
                 e->source->name);
    if (so.length == 0) so.length = e->models[0].cfg.training.seq_length;
    return eval_set_make(&e->set, e->source, &so, err);
}

static void column_add(Eval *e, int model, bool learn)
{
    EvalColumn *c = &e->columns[e->n_columns++];
    const EvalModel *em = &e->models[model];
    const char *mode = !em->learns ? "" : learn ? ", learning on" : ", learning off";
    const char *suffix = !em->learns ? "" : learn ? "_on" : "_off";
    *c = (EvalColumn){.model = model, .learn = learn};
    snprintf(c->label, sizeof c->label, "%s%s", em->name, mode);
    snprintf(c->stem, sizeof c->stem, "%s%s", em->name, suffix);
    for (char *p = c->stem; *p; p++)
        if (!isalnum((unsigned char)*p) && !strchr("._-", *p)) *p = '_';
    size_t n = (size_t)e->set.n_items * (size_t)(e->set.n_bins + 1);
    c->bin_mean = mem_alloc(n * sizeof *c->bin_mean);
}

static int columns_make(Eval *e, Err *err)
{
    const EvalOptions *o = &e->options;
    for (int i = 0; i < o->n_models; i++) {
        bool learns = e->models[i].learns;
        if (learns && o->mode_on) column_add(e, i, true);
        if (!learns || o->mode_off) column_add(e, i, false);
    }
    for (int i = 0; i < e->n_columns; i++)
        for (int j = 0; j < i; j++)
            if (strcmp(e->columns[i].stem, e->columns[j].stem) == 0)
                return err_set(err, "%s and %s would both be written as '%s': use --names",
                               e->columns[j].label, e->columns[i].label, e->columns[i].stem);
    return 0;
}

static size_t column_nll_bytes(const Eval *e)
{
    return (size_t)e->set.n_items * (size_t)e->set.options.length * sizeof(float);
}

/* Every token's loss can be more than fits into memory. It is kept in a file without a name in the
 * output folder: the disk space is taken now, and a kill leaves nothing behind. */
static int column_nll_make(const Eval *e, EvalColumn *c, Err *err)
{
    char path[PATH_MAX];
    size_t size = column_nll_bytes(e);
    TRY(path_join(path, sizeof path, e->options.out, "token_nll.XXXXXX", err));
    int fd = mkstemp(path);
    if (fd < 0) return file_error(err, "write into", e->options.out);
    unlink(path);
    int status = 0;
    int code = posix_fallocate(fd, 0, (off_t)size);
    void *map = MAP_FAILED;
    if (code == 0) map = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (map == MAP_FAILED)
        status =
            err_set(err, "cannot take %zu bytes in %s: %s; free some space or lower --max-tokens",
                    size, e->options.out, strerror(code ? code : errno));
    else
        c->nll = map;
    close(fd);
    return status;
}

static int out_prepare(Eval *e, Err *err)
{
    if (!e->options.out) return 0;
    TRY(dir_make(e->options.out, err));
    for (int i = 0; i < e->n_columns; i++) TRY(column_nll_make(e, &e->columns[i], err));
    return 0;
}

static int model_score(Eval *e, int model, Err *err)
{
    Backend *be = NULL;
    Model *m = NULL;
    int status = model_open(&e->models[model], &e->options, &be, &m, err);
    for (int i = 0; status == 0 && i < e->n_columns; i++)
        if (e->columns[i].model == model) status = eval_score(e, &e->columns[i], m, err);
    model_free(m);
    backend_close(be);
    return status;
}

int eval_run(Eval *e, const EvalOptions *options, Err *err)
{
    *e = (Eval){.options = *options};
    e->models = mem_alloc((size_t)options->n_models * sizeof *e->models);
    e->columns = mem_alloc(2 * (size_t)options->n_models * sizeof *e->columns);
    TRY(token_source_open(&e->source, options->data, options->split, err));
    e->bytes = strcmp(e->source->tokenizer, "bytes") == 0;
    TRY(models_check(e, err));
    TRY(set_make(e, err));
    TRY(columns_make(e, err));
    TRY(out_prepare(e, err));
    for (int i = 0; i < options->n_models; i++) TRY(model_score(e, i, err));
    return 0;
}

void eval_free(Eval *e)
{
    for (int i = 0; i < e->n_columns; i++) {
        if (e->columns[i].nll) munmap(e->columns[i].nll, column_nll_bytes(e));
        mem_free(e->columns[i].bin_mean);
    }
    mem_free(e->columns);
    mem_free(e->models);
    eval_set_free(&e->set);
    token_source_close(e->source);
    *e = (Eval){0};
}

Stat eval_stat(const Eval *e, int column, int bin)
{
    return stat_of(e->columns[column].bin_mean + bin, e->set.n_items, e->set.n_bins + 1);
}

Stat eval_difference(const Eval *e, int column, int base, int bin)
{
    return stat_of_difference(e->columns[column].bin_mean + bin, e->columns[base].bin_mean + bin,
                              e->set.n_items, e->set.n_bins + 1);
}

int eval_column_find(const Eval *e, int model, bool learn)
{
    for (int i = 0; i < e->n_columns; i++)
        if (e->columns[i].model == model && e->columns[i].learn == learn) return i;
    return -1;
}
