/* The public library: handles around a Model and its Readers. It adds names, errors and memory
 * files; all computing is in model/. It never prints. */
#include "ttt.h"

#include <limits.h>
#include <math.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "api/memory_file.h"
#include "base/file.h"
#include "base/mem.h"
#include "base/names.h"
#include "data/tokenizer.h"

enum { MAX_OVERRIDES = 256 };

struct ttt_model {
    Backend *be;
    pthread_mutex_t computing; /* the backend's work memory serves one caller at a time */
    Model *model;
    char *dir;
    char name[256];
    ttt_model_info info;
};

struct ttt_reader {
    ttt_model *m;
    Reader *reader;
    double inner_lr;
    ttt_source *sources; /* (n_sources) of the memory that it was loaded from */
    int n_sources;
    Err err;
};

static int fail(char *why, const Err *err)
{
    if (why != NULL) snprintf(why, TTT_ERROR_MAX, "%s", err->text);
    return -1;
}

/* --- models -------------------------------------------------------------------------------------
 */

/* The options' overrides, with the compute type as one more at the end. */
typedef struct Overrides {
    const char *list[MAX_OVERRIDES];
    int n;
    char compute[64];
} Overrides;

static int overrides_collect(Overrides *o, const ttt_model_options *options, Err *err)
{
    o->n = 0;
    const char *const *given = options ? options->overrides : NULL;
    for (; given && *given; given++) {
        if (o->n == MAX_OVERRIDES - 1)
            return err_set(err, "more than %d overrides: put them into the model's config.yaml",
                           MAX_OVERRIDES - 1);
        o->list[o->n++] = *given;
    }
    if (options && options->compute) {
        snprintf(o->compute, sizeof o->compute, "model.compute_dtype=%.20s", options->compute);
        o->list[o->n++] = o->compute;
    }
    return 0;
}

/* The configuration as the model will have it: the backend must know the compute type beforehand.
 */
static int config_peek(Config *c, const char *dir, const Overrides *o, Err *err)
{
    char path[PATH_MAX], key[CFG_TEXT];
    TRY(path_join(path, sizeof path, dir, "config.yaml", err));
    TRY(config_read(c, path, err));
    for (int i = 0; i < o->n; i++) {
        const char *equals = strchr(o->list[i], '=');
        size_t n = equals ? (size_t)(equals - o->list[i]) : sizeof key;
        if (n >= sizeof key)
            return err_set(err, "override '%.100s' is not of the form a.b=c", o->list[i]);
        memcpy(key, o->list[i], n);
        key[n] = 0;
        TRY(config_set(c, key, equals + 1, "override", err));
    }
    return 0;
}

static int backend_start(Backend **be, const ttt_model_options *given, const Config *c, Err *err)
{
    int threads = given ? given->threads : 0;
    bool wide = sizeof(real) == sizeof(double);
    if (threads < 0)
        return err_set(err, "threads = %d: give 0 (one per physical core) or more", threads);
    if (c->model.compute_dtype == COMPUTE_FP64 && !wide)
        return err_set(err, "model.compute_dtype=fp64 needs the exactness build (ttt-fp64); here "
                            "it is fp32 or bf16");
    BackendOptions options = {.device = given ? given->device : NULL,
                              .threads = threads,
                              .bf16 = c->model.compute_dtype == COMPUTE_BF16 && !wide};
    return backend_open(be, &options, err);
}

/* What people call it: its configured name, or else its folder's. */
static void model_name(const Model *m, const char *dir, char *out, size_t size)
{
    const char *name = m->cfg.model.name;
    char *full = NULL;
    if (name[0] == 0 || strcmp(name, "unnamed") == 0) {
        full = realpath(dir, NULL);
        const char *slash = full ? strrchr(full, '/') : NULL;
        name = slash ? slash + 1 : dir;
    }
    snprintf(out, size, "%s", name);
    free(full);
}

/* What the configuration says exactly; else the file in the folder; else a guess by size. */
static int tokenizer_fill(ttt_model_info *info, const Config *c, const char *dir, Err *err)
{
    enum { BYTES_VOCAB = 258 };
    const char *name = c->training.tokenizer_name;
    char file[TOKENIZER_NAME] = "";
    if (tokenizer_name_exact(name) && strcmp(name, "bytes") != 0)
        snprintf(file, sizeof file, "%.*s", TOKENIZER_NAME - 1, name);
    else if (strcmp(name, "bytes") != 0)
        TRY(tokenizer_folder_name(file, dir, err));
    if (file[0] == 0 && c->model.vocab_size >= BYTES_VOCAB &&
        (strcmp(name, "bytes") == 0 || c->model.vocab_size == BYTES_VOCAB))
        snprintf(file, sizeof file, "bytes");
    snprintf(info->tokenizer, sizeof info->tokenizer, "%s", file);
    return 0;
}

static int info_fill(ttt_model *m, Err *err)
{
    const Model *model = m->model;
    const ModelConfig *c = &model->cfg.model;
    m->info = (ttt_model_info){.vocab_size = c->vocab_size,
                               .bos = c->bos_token_id,
                               .eos = c->eos_token_id,
                               .layers = c->num_hidden_layers,
                               .hidden_size = c->hidden_size,
                               .parameters = (int64_t)model->table.size,
                               .inner_parameters = (int64_t)model->inner.size,
                               .chunk = c->mini_batch_size,
                               .window = c->sliding_window_size,
                               .learns = model_learns(model),
                               .bf16_emulated = backend_bf16_emulated(m->be)};
    model_digest(model, m->info.digest);
    TRY(tokenizer_fill(&m->info, &model->cfg, m->dir, err));
    Reader *reader;
    TRY(reader_create(&reader, m->model, m->info.learns, 0, err));
    m->info.state_bytes = reader_state_bytes(reader);
    reader_free(reader);
    return 0;
}

static int model_start(ttt_model *m, const char *dir, const ttt_model_options *options, Err *err)
{
    Overrides overrides;
    Config *peeked = mem_try(sizeof *peeked, dir, err);
    int status = peeked ? overrides_collect(&overrides, options, err) : -1;
    if (status == 0) status = config_peek(peeked, dir, &overrides, err);
    if (status == 0) status = backend_start(&m->be, options, peeked, err);
    mem_free(peeked);
    TRY(status);
    TRY(model_load(&m->model, m->be, dir, overrides.list, overrides.n, err));
    m->dir = strdup(dir);
    if (m->dir == NULL) return mem_refuse(err, strlen(dir), dir);
    model_name(m->model, dir, m->name, sizeof m->name);
    return info_fill(m, err);
}

int ttt_model_open(ttt_model **out, const char *dir, const ttt_model_options *options, char *why)
{
    *out = NULL;
    Err err;
    ttt_model *m = mem_try(sizeof *m, dir, &err);
    if (m == NULL) return fail(why, &err);
    pthread_mutex_init(&m->computing, NULL);
    if (model_start(m, dir, options, &err) < 0) {
        ttt_model_close(m);
        return fail(why, &err);
    }
    *out = m;
    return 0;
}

void ttt_model_close(ttt_model *m)
{
    if (m == NULL) return;
    model_free(m->model);
    backend_close(m->be);
    free(m->dir);
    pthread_mutex_destroy(&m->computing);
    mem_free(m);
}

void ttt_model_describe(const ttt_model *m, ttt_model_info *info)
{
    *info = m->info;
}

/* --- readers ------------------------------------------------------------------------------------
 */

/* From here to computing_end the calling thread has the backend. */
static int computing_begin(ttt_model *m)
{
    pthread_mutex_lock(&m->computing);
    return backend_enter(m->be);
}

static void computing_end(ttt_model *m, int before)
{
    backend_leave(m->be, before);
    pthread_mutex_unlock(&m->computing);
}

/* saved_lr: of the memory that is gone on from; 0 without one. */
static int reader_start(ttt_reader *r, ttt_model *m, const ttt_reader_options *options,
                        double saved_lr, Err *err)
{
    ttt_reader_options o = options ? *options : (ttt_reader_options){0};
    if (!(o.inner_lr >= 0) || isinf(o.inner_lr))
        return err_set(err, "inner_lr = %g: give a positive number, or 0 for the trained one",
                       o.inner_lr);
    double trained = inner_lr_at(&m->model->cfg.training, EVALUATION_STEP);
    r->m = m;
    r->inner_lr = o.inner_lr > 0 ? o.inner_lr : saved_lr > 0 ? saved_lr : trained;
    int threads = computing_begin(m);
    int status =
        reader_create(&r->reader, m->model, m->info.learns && !o.no_learning, r->inner_lr, err);
    computing_end(m, threads);
    return status;
}

int ttt_reader_new(ttt_reader **out, ttt_model *m, const ttt_reader_options *options, char *why)
{
    *out = NULL;
    Err err;
    ttt_reader *r = mem_try(sizeof *r, "a reader", &err);
    if (r == NULL) return fail(why, &err);
    if (reader_start(r, m, options, 0, &err) < 0) {
        ttt_reader_free(r);
        return fail(why, &err);
    }
    *out = r;
    return 0;
}

void ttt_reader_free(ttt_reader *r)
{
    if (r == NULL) return;
    if (r->reader != NULL) {
        int threads = computing_begin(r->m);
        reader_free(r->reader);
        computing_end(r->m, threads);
    }
    mem_free(r->sources);
    mem_free(r);
}

/* A new list: n of a, then m of b. NULL: no memory. */
static ttt_source *sources_join(const ttt_source *a, int n, const ttt_source *b, int m, Err *err)
{
    ttt_source *list = mem_try(((size_t)n + (size_t)m + 1) * sizeof *list, "a list of texts", err);
    for (int i = 0; list && i < n; i++) list[i] = a[i];
    for (int i = 0; list && i < m; i++) list[n + i] = b[i];
    return list;
}

int ttt_reader_clone(ttt_reader **out, const ttt_reader *r, char *why)
{
    *out = NULL;
    Err err;
    ttt_reader *copy = mem_try(sizeof *copy, "a reader", &err);
    if (copy == NULL) return fail(why, &err);
    copy->m = r->m;
    copy->inner_lr = r->inner_lr;
    int threads = computing_begin(r->m);
    int status = reader_clone(&copy->reader, r->reader, &err);
    computing_end(r->m, threads);
    if (status == 0) copy->sources = sources_join(r->sources, r->n_sources, NULL, 0, &err);
    if (copy->sources == NULL) {
        ttt_reader_free(copy);
        return fail(why, &err);
    }
    copy->n_sources = r->n_sources;
    *out = copy;
    return 0;
}

void ttt_reader_describe(const ttt_reader *r, ttt_reader_info *info)
{
    ReaderCounters c;
    reader_counters(r->reader, &c);
    *info = (ttt_reader_info){.tokens = c.tokens,
                              .steps = c.steps,
                              .pending = c.pending,
                              .last_chunk_loss = c.last_chunk_loss,
                              .last_grad_norm = c.last_grad_norm,
                              .last_step_seconds = c.last_step_seconds,
                              .state_bytes = reader_state_bytes(r->reader),
                              .learning = reader_learning(r->reader)};
}

int ttt_reader_learning(ttt_reader *r, bool on)
{
    if (on && !r->m->info.learns)
        return err_set(&r->err,
                       "the model in %s has no inner weights to adapt: train one with "
                       "training.train_mode=meta, or read without learning",
                       r->m->dir);
    reader_set_learning(r->reader, on);
    return 0;
}

int ttt_feed(ttt_reader *r, const int32_t *tokens, size_t n, double *nll)
{
    int threads = computing_begin(r->m);
    int status = reader_feed(r->reader, tokens, n, nll, &r->err);
    computing_end(r->m, threads);
    return status;
}

int ttt_logprobs(ttt_reader *r, float *out)
{
    int threads = computing_begin(r->m);
    int status = reader_logprobs(r->reader, out, &r->err);
    computing_end(r->m, threads);
    return status;
}

/* The handles' readers, in a new array. */
static Reader **readers_of(ttt_reader *const *r, int n)
{
    Reader **list = mem_alloc((size_t)n * sizeof *list);
    for (int i = 0; i < n; i++) list[i] = r[i]->reader;
    return list;
}

int ttt_feed_each(ttt_reader *const *r, int n, const int32_t *tokens)
{
    if (n < 1) return 0;
    Reader **list = readers_of(r, n);
    int threads = computing_begin(r[0]->m);
    int status = readers_feed(list, n, tokens, &r[0]->err);
    computing_end(r[0]->m, threads);
    mem_free(list);
    return status;
}

int ttt_logprobs_each(ttt_reader *const *r, int n, float *out)
{
    if (n < 1) return 0;
    Reader **list = readers_of(r, n);
    int threads = computing_begin(r[0]->m);
    int status = readers_logprobs(list, n, out, &r[0]->err);
    computing_end(r[0]->m, threads);
    mem_free(list);
    return status;
}

const char *ttt_error(const ttt_reader *r)
{
    return r->err.text;
}

/* --- memory files -------------------------------------------------------------------------------
 */

static void header_fill(MemoryHeader *h, const ttt_reader *r, const ReaderSnapshot *s)
{
    memset(h, 0, sizeof *h);
    snprintf(h->model_digest, sizeof h->model_digest, "%s", r->m->info.digest);
    snprintf(h->model_name, sizeof h->model_name, "%s", r->m->name);
    snprintf(h->tokenizer, sizeof h->tokenizer, "%s", r->m->info.tokenizer);
    h->chunk = r->m->info.chunk;
    h->window = r->m->info.window;
    h->inner_lr = r->inner_lr;
    h->counters = s->counters;
}

int ttt_reader_save(ttt_reader *r, const char *path, const ttt_source *sources, int n_sources)
{
    ReaderSnapshot snapshot;
    MemoryHeader header;
    TRY(reader_snapshot(r->reader, &snapshot, &r->err));
    header_fill(&header, r, &snapshot);
    int added = n_sources > 0 ? n_sources : 0;
    header.sources = sources_join(r->sources, r->n_sources, sources, added, &r->err);
    header.n_sources = r->n_sources + added;
    int status = header.sources ? memory_write(path, &snapshot, &header, &r->err) : -1;
    mem_free(header.sources);
    reader_snapshot_free(&snapshot);
    return status;
}

static int tokenizer_check(const MemoryHeader *h, const ttt_model *m, const char *path, Err *err)
{
    const char *mine = m->info.tokenizer;
    char name[NAME_SHOWN_MAX];
    if (h->tokenizer[0] == 0 || mine[0] == 0 || strcmp(h->tokenizer, mine) == 0) return 0;
    return err_set(
        err,
        "the memory %s was made with another tokenizer (%s) than the one in %s (%s): put "
        "the right file there, or read its texts again",
        path, name_show(name, h->tokenizer), m->dir, mine);
}

static int owner_check(const MemoryHeader *h, const ttt_model *m, const char *path, Err *err)
{
    char name[NAME_SHOWN_MAX];
    if (strcmp(h->model_digest, m->info.digest) == 0) return tokenizer_check(h, m, path, err);
    return err_set(err,
                   "the memory %s belongs to another model ('%s', %.12s) than the one in %s ('%s', "
                   "%.12s): open it with its own model, or read its texts again with this one",
                   path, name_show(name, h->model_name), h->model_digest, m->dir, m->name,
                   m->info.digest);
}

/* Ids out of a file index the model's tables later. */
static int ids_check(const ReaderSnapshot *s, int64_t vocab_size, Err *err)
{
    for (int i = 0; i < s->n; i++) {
        const ReaderArray *a = &s->array[i];
        if (!a->integer) continue;
        int64_t n = 1;
        for (int d = 0; d < a->n_dims; d++) n *= a->shape[d];
        const int32_t *ids = a->data;
        for (int64_t k = 0; k < n; k++)
            if (ids[k] < 0 || ids[k] >= vocab_size)
                return err_set(err, "'%.100s' holds the id %d, outside the model's vocabulary",
                               a->name, (int)ids[k]);
    }
    return 0;
}

static int reader_open(ttt_reader *r, ttt_model *m, const MemoryFile *file, const char *path,
                       const ttt_reader_options *options, Err *err)
{
    TRY(owner_check(&file->header, m, path, err));
    TRY(reader_start(r, m, options, file->header.inner_lr, err));
    ReaderSnapshot snapshot;
    TRY(memory_snapshot(file, path, &snapshot, err));
    int status = ids_check(&snapshot, m->info.vocab_size, err);
    int threads = computing_begin(m);
    if (status == 0) status = reader_restore(r->reader, &snapshot, err);
    computing_end(m, threads);
    memory_snapshot_free(&snapshot);
    if (status < 0) return err_wrap(err, "the memory %s is damaged (use a copy)", path);
    r->sources = sources_join(file->header.sources, file->header.n_sources, NULL, 0, err);
    if (r->sources == NULL) return -1;
    r->n_sources = file->header.n_sources;
    return 0;
}

int ttt_reader_load(ttt_reader **out, ttt_model *m, const char *path,
                    const ttt_reader_options *options, char *why)
{
    *out = NULL;
    Err err;
    MemoryFile file;
    if (memory_open(&file, path, &err) < 0) return fail(why, &err);
    ttt_reader *r = mem_try(sizeof *r, "a reader", &err);
    int status = r ? reader_open(r, m, &file, path, options, &err) : -1;
    memory_close(&file);
    if (status < 0) {
        ttt_reader_free(r);
        return fail(why, &err);
    }
    *out = r;
    return 0;
}

int ttt_memory_describe(const char *path, ttt_memory_info *info, ttt_source *sources, int max,
                        char *why)
{
    Err err;
    MemoryFile file;
    if (memory_open(&file, path, &err) < 0) return fail(why, &err);
    const MemoryHeader *h = &file.header;
    *info = (ttt_memory_info){.tokens = h->counters.tokens,
                              .steps = h->counters.steps,
                              .pending = h->counters.pending,
                              .file_bytes = file.file_bytes,
                              .n_sources = h->n_sources};
    memcpy(info->model_digest, h->model_digest, sizeof info->model_digest);
    memcpy(info->model_name, h->model_name, sizeof info->model_name);
    memcpy(info->created, h->created, sizeof info->created);
    memcpy(info->tokenizer, h->tokenizer, sizeof info->tokenizer);
    int n = h->n_sources;
    for (int i = 0; i < n && i < max; i++) sources[i] = h->sources[i];
    memory_close(&file);
    return n;
}
