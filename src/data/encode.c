/* Encoding in two passes: the first takes the digest of every document, by which they are split;
 * the second reads them again and writes their tokens. One document is in memory at a time. */
#include "data/encode.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "base/progress.h"
#include "base/sha256.h"
#include "data/dataset_writer.h"
#include "data/split.h"
#include "data/token_stream.h"
#include "data/val_list.h"
#include "data/walk.h"

static const size_t max_document = (size_t)1 << 32;
static const size_t piece_size = (size_t)1 << 20;

typedef struct Encoder {
    const EncodeOptions *options;
    EncodeReport *report;
    Tokenizer *tok;
    FileList files;
    SplitItem *items; /* (files.n) */
    DatasetWriter *writer;
    TokenStream *stream;
    Progress progress;
    uint64_t bytes_done; /* of the second pass */
} Encoder;

static int check_stop(const Encoder *e, Err *err)
{
    if (e->options->stop == NULL || *e->options->stop == 0) return 0;
    return err_set(err, "interrupted; nothing was written");
}

static void show_start(Encoder *e, const char *label, int64_t total, const char *unit)
{
    if (!e->options->quiet) progress_start(&e->progress, label, (uint64_t)total, unit);
}

static void show_progress(Encoder *e, uint64_t done)
{
    if (!e->options->quiet) progress_update(&e->progress, done, NULL);
}

static void show_end(Encoder *e)
{
    char summary[64];
    snprintf(summary, sizeof summary, "%lld documents, %lld bytes", (long long)e->files.n,
             (long long)e->report->bytes);
    if (!e->options->quiet) progress_end(&e->progress, summary);
}

static int read_document(const char *path, char **text, SplitItem *out, Err *err)
{
    size_t size;
    if (file_read(path, text, &size, max_document, err) < 0)
        return err_wrap(err, "a document could not be read");
    Sha256 sha;
    sha256_init(&sha);
    sha256_update(&sha, *text, size);
    sha256_final(&sha, out->digest);
    out->size = (int64_t)size;
    return 0;
}

/* --- first pass ------------------------------------------------------------------------------- */

static int find_files(Encoder *e, Err *err)
{
    const EncodeOptions *o = e->options;
    WalkOptions walk = {.extensions = o->extensions,
                        .n_extensions = o->n_extensions,
                        .min_bytes = o->min_bytes,
                        .max_files = o->max_files,
                        .leave_out = o->out_dir};
    TRY(walk_files(&e->files, o->paths, o->n_paths, walk, err));
    EncodeReport *r = e->report;
    r->skipped_empty = e->files.skipped_empty;
    r->skipped_small = e->files.skipped_small;
    r->skipped_links = e->files.skipped_links;
    r->skipped_hidden = e->files.skipped_hidden;
    r->skipped_special = e->files.skipped_special;
    if (e->files.n > 0) return 0;
    return err_set(err,
                   "no text to encode in %s%s: %lld empty files, %lld too small, %lld links, "
                   "%lld hidden; check the path, --ext and --min-bytes",
                   o->paths[0], o->n_paths > 1 ? " and the others" : "",
                   (long long)r->skipped_empty, (long long)r->skipped_small,
                   (long long)r->skipped_links, (long long)r->skipped_hidden);
}

static int digest_files(Encoder *e, Err *err)
{
    e->items = calloc((size_t)e->files.n, sizeof *e->items);
    if (e->items == NULL) return err_set(err, "no memory for a list of files");
    show_start(e, "read", e->files.n, "documents");
    for (int64_t i = 0; i < e->files.n; i++) {
        char *text;
        TRY(check_stop(e, err));
        TRY(read_document(e->files.files[i].path, &text, &e->items[i], err));
        free(text);
        e->report->bytes += e->items[i].size;
        show_progress(e, (uint64_t)i + 1);
    }
    show_end(e);
    return 0;
}

static int split_files(Encoder *e, Err *err)
{
    const EncodeOptions *o = e->options;
    if (o->val_list == NULL)
        return split_by_fraction(e->items, e->files.n, o->val_fraction, o->seed, err);
    TRY(split_by_list(e->items, &e->files, o->val_list, err));
    e->report->shared = split_count_shared(e->items, e->files.n, err);
    return e->report->shared < 0 ? -1 : 0;
}

/* --- second pass ------------------------------------------------------------------------------ */

static int add_piece(Encoder *e, const char *text, size_t n, Err *err)
{
    const int32_t *ids;
    TRY(check_stop(e, err));
    int64_t settled = token_stream_push(e->stream, text, n, &ids, err);
    if (settled < 0) return -1;
    TRY(dataset_writer_add(e->writer, ids, settled, err));
    e->bytes_done += n;
    show_progress(e, e->bytes_done);
    return 0;
}

static int add_text(Encoder *e, const char *text, size_t size, Err *err)
{
    const int32_t *ids;
    for (size_t at = 0; at < size; at += piece_size)
        TRY(add_piece(e, text + at, size - at < piece_size ? size - at : piece_size, err));
    int64_t last = token_stream_end(e->stream, &ids, err);
    return last < 0 ? -1 : dataset_writer_add(e->writer, ids, last, err);
}

static int write_document(Encoder *e, int64_t i, Err *err)
{
    const FileEntry *file = &e->files.files[i];
    const SplitItem *item = &e->items[i];
    SplitItem now;
    char *text;
    TRY(read_document(file->path, &text, &now, err));
    int status =
        memcmp(now.digest, item->digest, SPLIT_DIGEST) == 0
            ? dataset_writer_begin(e->writer, item->val ? SPLIT_VAL : SPLIT_TRAIN, file->name, err)
            : err_set(err, "%s changed while it was read: try again when nothing writes it",
                      file->path);
    if (status == 0) status = add_text(e, text, (size_t)now.size, err);
    free(text);
    TRY(status);
    return dataset_writer_end(e->writer, err);
}

static int write_files(Encoder *e, Err *err)
{
    show_start(e, "encode", e->report->bytes, "bytes");
    for (int64_t i = 0; i < e->files.n; i++) TRY(write_document(e, i, err));
    show_end(e);
    return dataset_writer_commit(e->writer, &e->report->info, err);
}

/* The writer is opened before documents are read, so that a target that is refused costs no time,
 * but after the walk, which must not come upon its temporary folder. */
static int encode_all(Encoder *e, Err *err)
{
    const EncodeOptions *o = e->options;
    TRY(tokenizer_open(&e->tok, o->tokenizer, err));
    TRY(tokenizer_check_bos(e->tok, err));
    e->stream = token_stream_new(e->tok, false);
    TRY(find_files(e, err));
    TRY(dataset_writer_open(&e->writer, o->out_dir, o->force, e->tok, err));
    TRY(digest_files(e, err));
    TRY(split_files(e, err));
    return write_files(e, err);
}

int dataset_encode(const EncodeOptions *options, EncodeReport *out, Err *err)
{
    CHECK(options->n_paths > 0, "nothing to encode");
    memset(out, 0, sizeof *out);
    Encoder e = {.options = options, .report = out};
    int status = encode_all(&e, err);
    dataset_writer_close(e.writer);
    token_stream_free(e.stream);
    tokenizer_close(e.tok);
    file_list_free(&e.files);
    free(e.items);
    return status;
}
