/* A reader's state out of the backend and into it, array by array. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "model/reader_state.h"

static ReaderArray *add_array(ReaderSnapshot *s, const char *name, const void *data, int n_dims,
                              int64_t d0, int64_t d1, int64_t d2)
{
    ReaderArray *a = &s->array[s->n++];
    *a = (ReaderArray){.name = name, .n_dims = n_dims, .shape = {d0, d1, d2}, .data = data};
    return a;
}

/* Storage: names of the inner slices, then tokens, then numbers. */
typedef struct Storage {
    char names[2 * N_PARAMS][PARAM_PATH_MAX + 8];
    real *numbers;
    int32_t *tokens;
} Storage;

static void snapshot_fast(const Reader *r, ReaderSnapshot *s, Storage *store, real **at)
{
    for (int i = 0; i < r->m->inner.n; i++) {
        const InnerSlice *slice = &r->m->inner.slice[i];
        if (!slice->live) continue;
        const ParamEntry *e = &r->m->table.entry[slice->id];
        snprintf(store->names[i], sizeof store->names[i], "fast/%s", slice->path);
        backend_download(r->m->be, *at, r->fast + slice->inner_offset, slice->size);
        ReaderArray *a =
            add_array(s, store->names[i], *at, e->n_dims, e->shape[0], e->shape[1], e->shape[2]);
        if (slice->n_layers) a->shape[0] = slice->n_layers;
        *at += slice->size;
    }
}

int reader_snapshot(const Reader *r, ReaderSnapshot *s, Err *err)
{
    int64_t C = r->m->cfg.model.hidden_size, L = r->kv.n_layers;
    int64_t past = reader_past_rows(r), rows = past + r->fill;
    size_t layer = (size_t)(rows * C);
    size_t from = (size_t)((r->counters.tokens - rows - r->kv_base) * C);
    size_t numbers = r->m->inner.size + 2 * (size_t)L * layer + (size_t)((r->fill + 1) * C);
    Storage *store = calloc(1, sizeof *store);
    mem_need(store, "a memory");
    store->numbers = malloc((numbers + 1) * sizeof *store->numbers);
    store->tokens = malloc((size_t)(r->fill + 1) * sizeof *store->tokens);
    *s = (ReaderSnapshot){.storage = store};
    if (!store->numbers || !store->tokens) {
        reader_snapshot_free(s);
        return mem_refuse(err, numbers * sizeof *store->numbers, "a copy of what was learned");
    }
    reader_counters(r, &s->counters);
    real *at = store->numbers;
    snapshot_fast(r, s, store, &at);
    add_array(s, "window/k", at, 3, L, rows, C);
    for (int l = 0; l < L; l++, at += layer)
        backend_download(r->m->be, at, r->kv.layer[l].k + from, layer);
    add_array(s, "window/v", at, 3, L, rows, C);
    for (int l = 0; l < L; l++, at += layer)
        backend_download(r->m->be, at, r->kv.layer[l].v + from, layer);
    add_array(s, "chunk/input", at, 2, r->fill, C, 0);
    backend_download(r->m->be, at, r->x, (size_t)(r->fill * C));
    at += r->fill * C;
    add_array(s, "last/hidden", at, 1, C, 0, 0);
    backend_download(r->m->be, at, r->last_hidden, (size_t)C);
    memcpy(store->tokens, r->tokens, (size_t)r->fill * sizeof *store->tokens);
    add_array(s, "chunk/tokens", store->tokens, 1, r->fill, 0, 0)->integer = true;
    if (backend_wait(r->m->be, err) == 0) return 0;
    reader_snapshot_free(s);
    return -1;
}

void reader_snapshot_free(ReaderSnapshot *s)
{
    Storage *store = s->storage;
    if (!store) return;
    free(store->numbers);
    free(store->tokens);
    free(store);
    s->storage = NULL;
}

/* The named array with this shape (a negative size fits any), or an error. */
static const ReaderArray *find_array(const ReaderSnapshot *s, const char *name, int n_dims,
                                     const int64_t *shape, Err *err)
{
    for (int i = 0; i < s->n; i++) {
        const ReaderArray *a = &s->array[i];
        if (strcmp(a->name, name) != 0) continue;
        bool fits = a->n_dims == n_dims;
        for (int d = 0; fits && d < n_dims; d++) fits = shape[d] < 0 || a->shape[d] == shape[d];
        if (fits) return a;
        err_set(err, "'%s' has a shape that does not fit this model", name);
        return NULL;
    }
    err_set(err, "'%s' is missing", name);
    return NULL;
}

static int restore_fast(Reader *r, const ReaderSnapshot *s, bool write, Err *err)
{
    for (int i = 0; i < r->m->inner.n; i++) {
        const InnerSlice *slice = &r->m->inner.slice[i];
        if (!slice->live) continue;
        const ParamEntry *e = &r->m->table.entry[slice->id];
        int64_t shape[3] = {e->shape[0], e->shape[1], e->shape[2]};
        if (slice->n_layers) shape[0] = slice->n_layers;
        char name[PARAM_PATH_MAX + 8];
        snprintf(name, sizeof name, "fast/%s", slice->path);
        const ReaderArray *a = find_array(s, name, e->n_dims, shape, err);
        if (!a) return -1;
        if (write) backend_upload(r->m->be, r->fast + slice->inner_offset, a->data, slice->size);
    }
    return 0;
}

static int check_ids(const Reader *r, const int32_t *tokens, int64_t n, Err *err)
{
    for (int64_t i = 0; i < n; i++)
        if (tokens[i] < 0 || tokens[i] >= r->m->cfg.model.vocab_size)
            return err_set(err, "'chunk/tokens' holds %d, outside the vocabulary", (int)tokens[i]);
    return 0;
}

/* half: what attention may read instead of the window, or NULL. */
static void restore_rows(Reader *r, real *window, uint16_t *half, size_t to, const real *rows,
                         size_t n)
{
    backend_upload(r->m->be, window + to, rows, n);
    if (half) backend_round(r->m->be, half + to, window + to, n);
}

/* Everything is checked before anything is changed. */
int reader_restore(Reader *r, const ReaderSnapshot *s, Err *err)
{
    int64_t C = r->m->cfg.model.hidden_size, L = r->kv.n_layers, fill = s->counters.pending;
    int64_t window[3] = {L, -1, C}, input[2] = {fill, C}, hidden[1] = {C}, tokens[1] = {fill};
    const ReaderArray *k = find_array(s, "window/k", 3, window, err);
    const ReaderArray *v = k ? find_array(s, "window/v", 3, k->shape, err) : NULL;
    const ReaderArray *x = v ? find_array(s, "chunk/input", 2, input, err) : NULL;
    const ReaderArray *h = x ? find_array(s, "last/hidden", 1, hidden, err) : NULL;
    const ReaderArray *t = h ? find_array(s, "chunk/tokens", 1, tokens, err) : NULL;
    if (!t) return -1;
    int64_t rows = k->shape[1], past = s->counters.tokens - fill;
    if (r->history >= 0 && past > r->history) past = r->history;
    bool whole = fill >= 0 && (s->counters.tokens - fill) % r->chunk == 0; /* chunks before */
    if (!whole || fill > r->chunk || past < 0 || rows != past + fill || rows > r->kv.rows ||
        !t->integer)
        return err_set(err, "its counters and arrays contradict each other");
    TRY(check_ids(r, t->data, fill, err));
    TRY(restore_fast(r, s, false, err));
    TRY(restore_fast(r, s, true, err));
    reader_fast_changed(r);
    r->counters = s->counters;
    r->fill = (int)fill;
    size_t to = (size_t)(reader_window_place(r) * C);
    for (int l = 0; l < L; l++) {
        size_t n = (size_t)(rows * C), from = (size_t)l * n;
        restore_rows(r, r->kv.layer[l].k, r->kv.layer[l].k16, to, (const real *)k->data + from, n);
        restore_rows(r, r->kv.layer[l].v, r->kv.layer[l].v16, to, (const real *)v->data + from, n);
    }
    backend_upload(r->m->be, r->x, x->data, (size_t)(fill * C));
    backend_upload(r->m->be, r->last_hidden, h->data, (size_t)C);
    memcpy(r->tokens, t->data, (size_t)fill * sizeof *r->tokens);
    r->logits_known = false;
    r->m->room->held = NULL;
    return 0;
}

int reader_clone(Reader **out, const Reader *r, Err *err)
{
    TRY(reader_create(out, r->m, r->learn, r->inner_lr, err));
    ReaderSnapshot s;
    int status = reader_snapshot(r, &s, err);
    if (status == 0) {
        status = reader_restore(*out, &s, err);
        reader_snapshot_free(&s);
    }
    if (status < 0) {
        reader_free(*out);
        *out = NULL;
    }
    return status;
}
