/* The dataset folder being written: per split a zarr array and a list of documents. The state is
 * saved whenever a file of tokens is complete; a later run cuts the rest back to that point. */
#include "data/dataset_writer.h"

#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/file.h"
#include "data/dataset_target.h"
#include "data/doc_index.h"
#include "data/widen.h"
#include "data/write_state.h"
#include "data/zarr_writer.h"

struct DatasetWriter {
    DatasetInfo info;
    DatasetTarget target;
    WriteState state;
    ZarrMeta layout;
    char plan[PLAN_HEX];
    int threads;
    int64_t resumed, resumed_tokens;
    bool saved;        /* the folder holds something worth keeping */
    ZarrWriter *array; /* of state.split; NULL before and after */
    FILE *docs;        /* the same */
    const char *doc_name;
};

/* --- opening ---------------------------------------------------------------------------------- */

static int state_load(DatasetWriter *w, Err *err)
{
    int found = write_state_read(&w->state, w->target.partial, w->plan, err);
    TRY(found);
    if (found) {
        w->resumed = w->state.documents;
        for (int s = 0; s < SPLIT_COUNT; s++) w->resumed_tokens += w->state.splits[s].tokens;
        w->saved = true;
        return 0;
    }
    w->state = (WriteState){0};
    for (int s = 0; s < SPLIT_COUNT; s++) sha256_init(&w->state.splits[s].sha);
    return dataset_target_clean(&w->target, err);
}

static int writer_open(DatasetWriter *w, const DatasetWriterOptions *o, Err *err)
{
    DatasetInfo *info = &w->info;
    w->target.lock = -1;
    w->threads = o->threads;
    info->is_zarr = true;
    info->vocab_size = tokenizer_vocab_size(o->tok);
    info->bos = tokenizer_bos(o->tok);
    info->eos = tokenizer_eos(o->tok);
    info->token_size = info->vocab_size <= 65536 ? 2 : 4;
    for (int s = 0; s < SPLIT_COUNT; s++) {
        snprintf(info->splits[s].token_file, DATASET_TEXT, "%s", split_name(s));
        snprintf(info->splits[s].docs_file, DATASET_TEXT, "%s.docs.jsonl", split_name(s));
    }
    snprintf(w->plan, sizeof w->plan, "%s", o->plan);
    TRY(path_join(info->tokenizer, DATASET_TEXT, "", tokenizer_name(o->tok), err));
    IntType type = {info->token_size, info->token_size == 4, false};
    TRY(zarr_layout(&w->layout, type, o->shard_tokens, o->chunk_tokens, o->codec, err));
    TRY(dataset_target_open(&w->target, o->dir, o->force, err));
    TRY(state_load(w, err));
    return tokenizer_copy(o->tok, w->target.partial, err);
}

int dataset_writer_open(DatasetWriter **out, const DatasetWriterOptions *options, Err *err)
{
    *out = NULL;
    DatasetWriter *w = calloc(1, sizeof *w);
    if (w == NULL) return err_set(err, "no memory to write a dataset");
    if (writer_open(w, options, err) < 0) {
        dataset_writer_close(w);
        return -1;
    }
    *out = w;
    return 0;
}

const char *dataset_writer_folder(const DatasetWriter *w)
{
    return w->target.partial;
}

int64_t dataset_writer_resumed(const DatasetWriter *w)
{
    return w->resumed;
}

int64_t dataset_writer_resumed_tokens(const DatasetWriter *w)
{
    return w->resumed_tokens;
}

int dataset_writer_start(DatasetWriter *w, Err *err)
{
    if (w->saved) return 0; /* there is a state, and it says more */
    return write_state_write(&w->state, w->target.partial, w->plan, err);
}

bool dataset_writer_close(DatasetWriter *w)
{
    if (w == NULL) return false;
    bool keep = w->saved && w->target.partial[0] != 0 && w->target.lock >= 0;
    zarr_writer_close(w->array);
    if (w->docs != NULL) fclose(w->docs);
    dataset_target_close(&w->target, keep);
    free(w);
    return keep;
}

/* --- splits ----------------------------------------------------------------------------------- */

static int docs_path(const DatasetWriter *w, char path[PATH_MAX], Err *err)
{
    return path_join(path, PATH_MAX, w->target.partial, w->info.splits[w->state.split].docs_file,
                     err);
}

/* Opened at the length that the state knows of; what lies behind it was written after that. */
static int docs_open(DatasetWriter *w, Err *err)
{
    char path[PATH_MAX];
    off_t size = (off_t)w->state.splits[w->state.split].docs_bytes;
    TRY(docs_path(w, path, err));
    int fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0666);
    if (fd < 0) return file_error(err, "create", path);
    if (ftruncate(fd, size) != 0 || lseek(fd, size, SEEK_SET) != size) {
        file_error(err, "write", path);
        close(fd);
        return -1;
    }
    w->docs = fdopen(fd, "w");
    return w->docs == NULL ? file_error(err, "write", path) : 0;
}

static int docs_sync(DatasetWriter *w, Err *err)
{
    char path[PATH_MAX];
    if (fflush(w->docs) == 0 && fsync(fileno(w->docs)) == 0) return 0;
    file_error(err, "write", docs_path(w, path, err) == 0 ? path : "");
    return -1;
}

static int split_open(DatasetWriter *w, Err *err)
{
    char path[PATH_MAX];
    ZarrMeta layout = w->layout;
    /* Between two saves tokens and whole files agree; at the end of a split they need not. */
    layout.length = w->state.splits[w->state.split].tokens;
    TRY(path_join(path, sizeof path, w->target.partial, split_name(w->state.split), err));
    TRY(docs_open(w, err));
    return zarr_writer_open(&w->array, &layout, path, w->threads, err);
}

static int split_close(DatasetWriter *w, Err *err)
{
    if (w->array == NULL) TRY(split_open(w, err)); /* a split without documents */
    TRY(zarr_writer_finish(w->array, err));
    TRY(docs_sync(w, err));
    zarr_writer_close(w->array);
    w->array = NULL;
    int closed = fclose(w->docs);
    w->docs = NULL;
    return closed == 0 ? 0 : file_error(err, "write", w->target.partial);
}

static int state_save(DatasetWriter *w, Err *err)
{
    TRY(docs_sync(w, err));
    TRY(write_state_write(&w->state, w->target.partial, w->plan, err));
    w->saved = true;
    return 0;
}

/* After the last document of a split its array ends in the middle of a file; from there a later run
 * starts with the next split. */
static int split_advance(DatasetWriter *w, Err *err)
{
    TRY(split_close(w, err));
    w->state.split++;
    w->state.skip = w->state.doc_start = 0;
    if (w->state.split == SPLIT_COUNT) return 0;
    TRY(split_open(w, err));
    return state_save(w, err);
}

/* --- tokens ----------------------------------------------------------------------------------- */

int dataset_writer_begin(DatasetWriter *w, int split, const char *name, Err *err)
{
    CHECK(split >= w->state.split, "a document of %s after one of %s", split_name(split),
          split_name(w->state.split));
    while (w->state.split < split) TRY(split_advance(w, err));
    if (w->array == NULL) TRY(split_open(w, err));
    w->doc_name = name;
    if (w->state.skip == 0) w->state.doc_start = w->state.splits[split].tokens;
    return dataset_writer_add(w, &w->info.bos, 1, err);
}

static void digest_add(DatasetWriter *w, const int32_t *ids, int64_t n)
{
    enum { BLOCK = 4096 };
    unsigned char bytes[BLOCK * 4];
    IntType type = {w->info.token_size, false, false};
    Sha256 *sha = &w->state.splits[w->state.split].sha;
    for (int64_t at = 0; at < n; at += BLOCK) {
        int64_t count = n - at < BLOCK ? n - at : BLOCK;
        for (int64_t i = 0; i < count; i++) int_store(type, ids[at + i], bytes + i * type.size);
        sha256_update(sha, bytes, (size_t)(count * type.size));
    }
}

/* `seen`: the tokens of the document so far, written by this run or an earlier one. */
int dataset_writer_add(DatasetWriter *w, const int32_t *ids, int64_t n, Err *err)
{
    int64_t *tokens = &w->state.splits[w->state.split].tokens;
    int64_t dropped = w->state.skip < n ? w->state.skip : n;
    w->state.skip -= dropped;
    ids += dropped;
    n -= dropped;
    for (int64_t i = 0; i < n; i++)
        CHECK(ids[i] >= 0 && ids[i] < w->info.vocab_size, "token id %d", ids[i]);
    while (n > 0) {
        int64_t taken = zarr_writer_add(w->array, ids, n, err);
        TRY(taken);
        digest_add(w, ids, taken);
        *tokens += taken;
        ids += taken;
        n -= taken;
        if (zarr_writer_saved(w->array) != *tokens) continue;
        w->state.skip = *tokens - w->state.doc_start;
        TRY(state_save(w, err));
        w->state.skip = 0;
    }
    return 0;
}

int dataset_writer_end(DatasetWriter *w, Err *err)
{
    WriteState *state = &w->state;
    int64_t length = state->splits[state->split].tokens - state->doc_start;
    CHECK(state->skip == 0, "%s is shorter than when it was first written", w->doc_name);
    char *line = doc_index_line(w->doc_name, state->doc_start, length);
    if (line == NULL) return err_set(err, "no memory for a document's name");
    size_t size = strlen(line);
    bool written = fwrite(line, 1, size, w->docs) == size;
    free(line);
    if (!written) return docs_sync(w, err) < 0 ? -1 : file_error(err, "write", w->target.partial);
    state->splits[state->split].docs_bytes += (int64_t)size;
    state->splits[state->split].documents++;
    state->documents++;
    return 0;
}

/* --- putting it in place ---------------------------------------------------------------------- */

static void info_finish(DatasetWriter *w)
{
    for (int s = 0; s < SPLIT_COUNT; s++) {
        SplitInfo *info = &w->info.splits[s];
        info->tokens = w->state.splits[s].tokens;
        info->documents = w->state.splits[s].documents;
        sha256_hex(&w->state.splits[s].sha, info->sha256);
    }
}

int dataset_writer_commit(DatasetWriter *w, DatasetInfo *out, Err *err)
{
    while (w->state.split < SPLIT_COUNT) TRY(split_advance(w, err));
    info_finish(w);
    TRY(dataset_target_sweep(&w->target, err));
    TRY(zarr_group_write(w->target.partial, err));
    TRY(dataset_write(&w->info, w->target.partial, err));
    TRY(write_state_remove(w->target.partial, err));
    TRY(dataset_target_commit(&w->target, err));
    *out = w->info;
    return 0;
}
