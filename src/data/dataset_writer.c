/* The dataset folder being written: per split a token file and a list of documents. */
#include "data/dataset_writer.h"

#include <dirent.h>
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/file.h"
#include "base/names.h"
#include "base/sha256.h"
#include "data/doc_index.h"

enum { BUFFER_SIZE = 1 << 16 };

typedef struct SplitWriter {
    AtomicFile tokens, docs;
    Sha256 sha;
    unsigned char buffer[BUFFER_SIZE]; /* of the token file */
    size_t used;
} SplitWriter;

struct DatasetWriter {
    DatasetInfo info;
    SplitWriter splits[SPLIT_COUNT];
    char dir[PATH_MAX - 32]; /* the target; shorter, so that its temporary names fit */
    char temp[PATH_MAX];     /* the folder being written; "" once it is in place */
    bool replaces;           /* a dataset is there and goes when this one comes */
    int split;               /* of the document being written */
    int64_t doc_start;
    const char *doc_name;
};

/* --- the target ------------------------------------------------------------------------------- */

static bool is_dataset_file(const char *name)
{
    static const char *const names[] = {"dataset.json",   "train.bin", "train.docs.jsonl",
                                        "val.docs.jsonl", "val.bin",   "tokenizer.json",
                                        "tokenizer.model"};
    for (int i = 0; i < ARRAY_LEN(names); i++)
        if (strcmp(name, names[i]) == 0) return true;
    return strcmp(name, ".") == 0 || strcmp(name, "..") == 0;
}

/* Counts the folder's entries; fails on one that no dataset has. */
static int count_entries(const char *path, Err *err)
{
    DIR *dir = opendir(path);
    if (dir == NULL) return file_error(err, "read the folder", path);
    int n = -2; /* "." and ".." */
    const struct dirent *entry;
    while ((entry = readdir(dir)) != NULL) {
        n++;
        if (is_dataset_file(entry->d_name)) continue;
        char shown[NAME_SHOWN_MAX];
        err_set(err, "%s exists and holds more than a dataset (%s): name another folder", path,
                name_show(shown, entry->d_name));
        closedir(dir);
        return -1;
    }
    closedir(dir);
    return n < 0 ? 0 : n;
}

static int target_check(DatasetWriter *w, bool force, Err *err)
{
    struct stat st;
    if (lstat(w->dir, &st) != 0) return 0;
    if (!S_ISDIR(st.st_mode))
        return err_set(err, "%s exists and is not a folder: name another", w->dir);
    int n = count_entries(w->dir, err);
    TRY(n);
    if (n > 0 && !force)
        return err_set(err, "%s exists: name another folder, or give --force to replace it",
                       w->dir);
    w->replaces = n > 0;
    return 0;
}

static int target_name(DatasetWriter *w, const char *dir, Err *err)
{
    TRY(path_join(w->dir, sizeof w->dir, "", dir, err));
    size_t length = strlen(w->dir);
    while (length > 1 && w->dir[length - 1] == '/') w->dir[--length] = 0;
    if (length == 0) return err_set(err, "the name of the dataset folder is empty: give one");
    return 0;
}

/* --- opening and closing ---------------------------------------------------------------------- */

static int split_open(DatasetWriter *w, int split, Err *err)
{
    SplitWriter *s = &w->splits[split];
    SplitInfo *info = &w->info.splits[split];
    char path[PATH_MAX];
    snprintf(info->token_file, DATASET_TEXT, "%s.bin", split_name(split));
    snprintf(info->docs_file, DATASET_TEXT, "%s.docs.jsonl", split_name(split));
    TRY(path_join(path, sizeof path, w->temp, info->token_file, err));
    TRY(atomic_open(&s->tokens, path, err));
    TRY(path_join(path, sizeof path, w->temp, info->docs_file, err));
    TRY(atomic_open(&s->docs, path, err));
    sha256_init(&s->sha);
    return 0;
}

static int writer_open(DatasetWriter *w, const char *dir, bool force, const Tokenizer *tok,
                       Err *err)
{
    for (int s = 0; s < SPLIT_COUNT; s++) w->splits[s].tokens.fd = w->splits[s].docs.fd = -1;
    w->info.vocab_size = tokenizer_vocab_size(tok);
    w->info.bos = tokenizer_bos(tok);
    w->info.eos = tokenizer_eos(tok);
    w->info.token_size = w->info.vocab_size <= 65536 ? 2 : 4;
    TRY(path_join(w->info.tokenizer, DATASET_TEXT, "", tokenizer_name(tok), err));
    TRY(target_name(w, dir, err));
    TRY(target_check(w, force, err));
    snprintf(w->temp, sizeof w->temp, "%s.tmp-%ld", w->dir, (long)getpid());
    TRY(dir_remove(w->temp, err)); /* what a killed process with this number left */
    TRY(dir_make(w->temp, err));
    TRY(tokenizer_copy(tok, w->temp, err));
    for (int s = 0; s < SPLIT_COUNT; s++) TRY(split_open(w, s, err));
    return 0;
}

int dataset_writer_open(DatasetWriter **out, const char *dir, bool force, const Tokenizer *tok,
                        Err *err)
{
    *out = NULL;
    DatasetWriter *w = calloc(1, sizeof *w);
    if (w == NULL) return err_set(err, "no memory to write a dataset");
    if (writer_open(w, dir, force, tok, err) < 0) {
        dataset_writer_close(w);
        return -1;
    }
    *out = w;
    return 0;
}

void dataset_writer_close(DatasetWriter *w)
{
    if (w == NULL) return;
    Err ignored;
    for (int s = 0; s < SPLIT_COUNT; s++) {
        atomic_abort(&w->splits[s].tokens);
        atomic_abort(&w->splits[s].docs);
    }
    if (w->temp[0] != 0) dir_remove(w->temp, &ignored);
    free(w);
}

/* --- tokens ----------------------------------------------------------------------------------- */

static int split_flush(SplitWriter *s, Err *err)
{
    sha256_update(&s->sha, s->buffer, s->used);
    TRY(atomic_write(&s->tokens, s->buffer, s->used, err));
    s->used = 0;
    return 0;
}

int dataset_writer_begin(DatasetWriter *w, int split, const char *name, Err *err)
{
    w->split = split;
    w->doc_start = w->info.splits[split].tokens;
    w->doc_name = name;
    return dataset_writer_add(w, &w->info.bos, 1, err);
}

int dataset_writer_add(DatasetWriter *w, const int32_t *ids, int64_t n, Err *err)
{
    SplitWriter *s = &w->splits[w->split];
    int token_size = w->info.token_size;
    for (int64_t i = 0; i < n; i++) {
        if (s->used + (size_t)token_size > BUFFER_SIZE) TRY(split_flush(s, err));
        CHECK(ids[i] >= 0 && ids[i] < w->info.vocab_size, "token id %d", ids[i]);
        for (int k = 0; k < token_size; k++)
            s->buffer[s->used++] = (unsigned char)((uint32_t)ids[i] >> (8 * k));
    }
    w->info.splits[w->split].tokens += n;
    return 0;
}

int dataset_writer_end(DatasetWriter *w, Err *err)
{
    SplitInfo *info = &w->info.splits[w->split];
    char *line = doc_index_line(w->doc_name, w->doc_start, info->tokens - w->doc_start);
    if (line == NULL) return err_set(err, "no memory for a document's name");
    int status = atomic_write(&w->splits[w->split].docs, line, strlen(line), err);
    free(line);
    info->documents++;
    return status;
}

/* --- putting it in place ---------------------------------------------------------------------- */

static int split_commit(SplitWriter *s, SplitInfo *info, Err *err)
{
    TRY(split_flush(s, err));
    sha256_hex(&s->sha, info->sha256);
    TRY(atomic_commit(&s->tokens, err));
    return atomic_commit(&s->docs, err);
}

/* The old dataset steps aside first: a folder can only be renamed over an empty one. */
static int swap_in(DatasetWriter *w, Err *err)
{
    char aside[PATH_MAX];
    snprintf(aside, sizeof aside, "%s.old-%ld", w->dir, (long)getpid());
    if (w->replaces && rename(w->dir, aside) != 0) return file_error(err, "replace", w->dir);
    if (rename(w->temp, w->dir) != 0) {
        file_error(err, "create", w->dir);
        if (w->replaces && rename(aside, w->dir) != 0)
            err_wrap(err, "the dataset that was there is now %s", aside);
        return -1;
    }
    w->temp[0] = 0;
    return w->replaces ? dir_remove(aside, err) : 0;
}

int dataset_writer_commit(DatasetWriter *w, DatasetInfo *out, Err *err)
{
    char parent[PATH_MAX];
    for (int s = 0; s < SPLIT_COUNT; s++) TRY(split_commit(&w->splits[s], &w->info.splits[s], err));
    TRY(dataset_write(&w->info, w->temp, err));
    TRY(swap_in(w, err));
    *out = w->info;
    TRY(path_parent(parent, sizeof parent, w->dir, err));
    return dir_sync(parent, err);
}
