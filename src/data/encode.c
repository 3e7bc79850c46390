/* Encoding in two passes: the first takes the digest of every document, by which they are split;
 * the second reads them again and writes their tokens, those of train first. */
#include "data/encode.h"

#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "backend/cores.h"
#include "base/log.h"
#include "base/progress.h"
#include "data/dataset_target.h"
#include "data/dataset_writer.h"
#include "data/encode_plan.h"
#include "data/encode_texts.h"
#include "data/tokenizer.h"
#include "data/val_list.h"

/* Fast to decode, in chunks that are short against a sequence, each with a checksum. */
const char encode_codec[] = "blosc:lz4:5:shuffle+crc32c";

enum { DIGEST_ROUND = 256 };

typedef struct Encoder {
    EncodeOptions options;
    EncodeReport *report;
    Tokenizer *tok;
    FileList files;
    SplitItem *items; /* (files.n) */
    int64_t *order;   /* (files.n): train, then val */
    DatasetWriter *writer;
    char plan[SHA256_HEX_SIZE];
    Progress progress;
} Encoder;

static void show_start(Encoder *e, const char *label, int64_t total, const char *unit)
{
    progress_start(&e->progress, e->options.quiet ? NULL : label, (uint64_t)total, unit);
}

static void show_progress(void *context, int64_t done)
{
    Encoder *e = context;
    progress_update(&e->progress, (uint64_t)done, NULL);
}

static void show_end(Encoder *e)
{
    char summary[64];
    snprintf(summary, sizeof summary, "%lld documents, %lld bytes", (long long)e->files.n,
             (long long)e->report->bytes);
    progress_end(&e->progress, summary);
}

/* --- first pass ------------------------------------------------------------------------------- */

static int find_files(Encoder *e, Err *err)
{
    const EncodeOptions *o = &e->options;
    char partial[PATH_MAX];
    TRY(dataset_partial_name(partial, sizeof partial, o->out_dir, err));
    WalkOptions walk = {.extensions = o->extensions,
                        .n_extensions = o->n_extensions,
                        .min_bytes = o->min_bytes,
                        .max_files = o->max_files,
                        .leave_out = {o->out_dir, partial}};
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

static int digest_round(Encoder *e, int64_t from, int64_t end, Err *err)
{
    int failed = 0;
#pragma omp parallel for schedule(dynamic) num_threads(e->options.threads)
    for (int64_t i = from; i < end; i++) {
        Err own;
        if (encode_digest(&e->items[i], e->files.files[i].path, &own) == 0) continue;
#pragma omp critical
        {
            *err = own;
            failed = -1;
        }
    }
    return failed;
}

static int digest_files(Encoder *e, Err *err)
{
    const char *folder = dataset_writer_folder(e->writer);
    bool known = encode_plan_load(e->items, e->files.n, folder, e->plan);
    show_start(e, "read", e->files.n, "documents");
    for (int64_t i = 0; i < e->files.n && !known; i += DIGEST_ROUND) {
        int64_t end = e->files.n - i < DIGEST_ROUND ? e->files.n : i + DIGEST_ROUND;
        TRY(encode_check_stop(e->options.stop, err));
        TRY(digest_round(e, i, end, err));
        show_progress(e, end);
    }
    for (int64_t i = 0; i < e->files.n; i++) e->report->bytes += e->items[i].size;
    show_end(e);
    return known ? 0 : encode_plan_save(e->items, e->files.n, folder, e->plan, err);
}

static int split_files(Encoder *e, Err *err)
{
    const EncodeOptions *o = &e->options;
    if (o->val_list == NULL)
        return split_by_fraction(e->items, e->files.n, o->val_fraction, o->seed, err);
    TRY(split_by_list(e->items, &e->files, o->val_list, err));
    e->report->shared = split_count_shared(e->items, e->files.n, err);
    return e->report->shared < 0 ? -1 : 0;
}

/* --- second pass ------------------------------------------------------------------------------ */

static void order_files(Encoder *e)
{
    int64_t n = 0;
    for (int val = 0; val < 2; val++)
        for (int64_t i = 0; i < e->files.n; i++)
            if (e->items[i].val == (val == 1)) e->order[n++] = i;
}

static int write_files(Encoder *e, Err *err)
{
    int64_t resumed = dataset_writer_resumed(e->writer), skipped = 0;
    EncodeTexts texts = {.tok = e->tok,
                         .files = &e->files,
                         .items = e->items,
                         .order = e->order,
                         .writer = e->writer,
                         .threads = e->options.threads,
                         .stop = e->options.stop,
                         .progress = show_progress,
                         .context = e};
    order_files(e);
    for (int64_t i = 0; i < resumed; i++) skipped += e->items[e->order[i]].size;
    int64_t tokens = dataset_writer_resumed_tokens(e->writer);
    if (tokens > 0 && !e->options.quiet)
        log_info("going on after %" PRId64 " tokens: %" PRId64 " of %" PRId64 " documents are done",
                 tokens, resumed, e->files.n);
    show_start(e, "encode", e->report->bytes, "bytes");
    progress_skip(&e->progress, (uint64_t)skipped);
    TRY(dataset_writer_start(e->writer, err));
    TRY(encode_texts(&texts, resumed, err));
    show_end(e);
    TRY(encode_plan_remove(dataset_writer_folder(e->writer), err));
    return dataset_writer_commit(e->writer, &e->report->info, err);
}

static int open_writer(Encoder *e, Err *err)
{
    const EncodeOptions *o = &e->options;
    DatasetWriterOptions writer = {.dir = o->out_dir,
                                   .force = o->force,
                                   .tok = e->tok,
                                   .chunk_tokens = o->chunk_tokens,
                                   .shard_tokens = o->shard_tokens,
                                   .codec = o->codec,
                                   .plan = e->plan,
                                   .threads = o->threads};
    TRY(encode_plan_digest(e->plan, o, e->tok, &e->files, err));
    return dataset_writer_open(&e->writer, &writer, err);
}

/* The writer is opened before documents are read, so that a target that is refused costs no time.
 */
static int encode_all(Encoder *e, Err *err)
{
    TRY(tokenizer_open(&e->tok, e->options.tokenizer, err));
    TRY(tokenizer_check_bos(e->tok, err));
    TRY(find_files(e, err));
    TRY(open_writer(e, err));
    e->items = calloc((size_t)e->files.n, sizeof *e->items);
    e->order = calloc((size_t)e->files.n, sizeof *e->order);
    if (e->items == NULL || e->order == NULL) return err_set(err, "no memory for a list of files");
    TRY(digest_files(e, err));
    TRY(split_files(e, err));
    return write_files(e, err);
}

int64_t encode_shard_tokens(int64_t chunk_tokens)
{
    if (chunk_tokens > ENCODE_SHARD_TOKENS) return chunk_tokens;
    return ENCODE_SHARD_TOKENS / chunk_tokens * chunk_tokens;
}

static void set_defaults(EncodeOptions *o)
{
    if (o->codec == NULL) o->codec = encode_codec;
    if (o->chunk_tokens == 0) o->chunk_tokens = ENCODE_CHUNK_TOKENS;
    if (o->shard_tokens == 0) o->shard_tokens = encode_shard_tokens(o->chunk_tokens);
    if (o->threads == 0) o->threads = cpus_usable();
    if (o->threads < 1) o->threads = 1;
}

int dataset_encode(const EncodeOptions *options, EncodeReport *out, Err *err)
{
    CHECK(options->n_paths > 0, "nothing to encode");
    memset(out, 0, sizeof *out);
    Encoder e = {.options = *options, .report = out};
    set_defaults(&e.options);
    int status = encode_all(&e, err);
    if (dataset_writer_close(e.writer)) {
        Err what = *err;
        err_set(err, "%.1500s; run the same command again to go on where it stopped", what.text);
    }
    tokenizer_close(e.tok);
    file_list_free(&e.files);
    free(e.items);
    free(e.order);
    return status;
}
