/* Repacking: every split is read once and written once. Documents and dataset.json go along. A run
 * that finds what an earlier one with the same source and layout left goes on after its files,
 * which are each complete or not there. */
#include "data/repack.h"

#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/file.h"
#include "base/log.h"
#include "base/names.h"
#include "base/progress.h"
#include "data/dataset.h"
#include "data/dataset_target.h"
#include "data/doc_index.h"
#include "data/token_source.h"
#include "data/tokenizer.h"
#include "data/write_state.h"
#include "data/zarr_source.h"
#include "data/zarr_writer.h"

enum { BLOCK = 1 << 16 };

typedef struct Repack {
    const RepackOptions *options;
    DatasetTarget target;
    DatasetInfo info; /* of the source, if it has one */
    bool has_info;
    bool saved;   /* the folder being written is worth keeping */
    int32_t *ids; /* (BLOCK) */
} Repack;

/* Ids above this do not fit the type; one that is INT32_MAX holds them all. */
static int32_t largest_of(IntType type)
{
    int bits = 8 * type.size - (type.is_signed ? 1 : 0);
    return bits >= 31 ? INT32_MAX : (int32_t)(((int64_t)1 << bits) - 1);
}

static int layout_make(ZarrMeta *out, const RepackOptions *o, const TokenSource *source, Err *err)
{
    const ZarrArray *array = zarr_source_array(source);
    IntType type = {source->vocab_size <= 65536 ? 2 : 4, source->vocab_size > 65536, false};
    char shown[NAME_SHOWN_MAX];
    if (array != NULL) type = zarr_array_meta(array)->type;
    if (o->dtype != NULL && !int_type_find(&type, o->dtype))
        return err_set(err, "dtype '%s' is none of int8 to int64 and uint8 to uint64",
                       name_show(shown, o->dtype));
    type.big_endian = o->big_endian;
    TRY(zarr_layout(out, type, o->shard_tokens, o->chunk_tokens, o->codec, err));
    out->index_at_start = o->index_at_start;
    out->key_prefix = !o->v2_keys;
    out->separator = o->v2_keys ? '.' : '/';
    return 0;
}

static int check_fit(const TokenSource *source, const int32_t *ids, int64_t at, int64_t n,
                     IntType type, Err *err)
{
    int32_t largest = largest_of(type);
    for (int64_t i = 0; i < n; i++)
        if (ids[i] > largest)
            return err_set(err,
                           "%s: token %lld is %d, which %s cannot hold: choose another --dtype",
                           source->name, (long long)(at + i), ids[i], int_type_name(type));
    return 0;
}

static int check_stop(const Repack *r, Err *err)
{
    if (r->options->stop == NULL || *r->options->stop == 0) return 0;
    return err_set(err, "interrupted; run the same command again to go on");
}

/* --- going on --------------------------------------------------------------------------------- */

/* What tells a source from another of that name: size and time of the files that describe it. */
static void add_source(Sha256 *sha, const char *dir)
{
    static const char *const names[] = {"dataset.json",  "zarr.json",     "train/zarr.json",
                                        "train/.zarray", "val/zarr.json", "val/.zarray"};
    char path[PATH_MAX];
    Err ignored;
    for (int i = 0; i < ARRAY_LEN(names); i++) {
        struct stat st = {0};
        if (path_join(path, sizeof path, dir, names[i], &ignored) == 0) (void)stat(path, &st);
        sha256_number(sha, st.st_size);
        sha256_number(sha, st.st_mtim.tv_sec);
        sha256_number(sha, st.st_mtim.tv_nsec);
    }
}

static void plan_make(char hex[PLAN_HEX], const RepackOptions *o)
{
    Sha256 sha;
    sha256_init(&sha);
    sha256_text(&sha, "repack");
    sha256_text(&sha, o->in_dir);
    add_source(&sha, o->in_dir);
    sha256_text(&sha, o->codec);
    sha256_text(&sha, o->dtype == NULL ? "" : o->dtype);
    sha256_number(&sha, o->chunk_tokens);
    sha256_number(&sha, o->shard_tokens);
    sha256_number(&sha, o->big_endian << 2 | o->index_at_start << 1 | o->v2_keys);
    sha256_hex(&sha, hex);
}

static int partial_open(Repack *r, Err *err)
{
    char plan[PLAN_HEX];
    WriteState state = {0}; /* only its plan counts here: the files say how far it came */
    plan_make(plan, r->options);
    int found = write_state_read(&state, r->target.partial, plan, err);
    TRY(found);
    if (!found) {
        TRY(dataset_target_clean(&r->target, err));
        TRY(write_state_write(&state, r->target.partial, plan, err));
    }
    r->saved = true;
    return 0;
}

/* Elements that an earlier run wrote: those of whole files, from the first one on. */
static int written_before(const ZarrMeta *layout, const char *dir, int64_t length, int64_t *out,
                          Err *err)
{
    char path[PATH_MAX];
    int64_t files = 0;
    for (; (files + 1) * layout->chunk <= length; files++) {
        TRY(zarr_file_path(layout, dir, files, path, sizeof path, err));
        if (!file_exists(path)) break;
    }
    *out = files * layout->chunk;
    return 0;
}

/* --- copying ---------------------------------------------------------------------------------- */

static int copy_tokens(Repack *r, const TokenSource *source, ZarrWriter *writer, IntType type,
                       Err *err)
{
    int64_t length = token_source_length(source), first = zarr_writer_length(writer);
    Progress progress;
    if (first > 0 && !r->options->quiet)
        log_info("%s: going on after %lld of %lld tokens", source->name, (long long)first,
                 (long long)length);
    progress_start(&progress, r->options->quiet ? NULL : "repack", (uint64_t)length, "tokens");
    for (int64_t at = first; at < length; at += BLOCK) {
        int64_t n = length - at < BLOCK ? length - at : BLOCK;
        TRY(check_stop(r, err));
        TRY(token_source_read(source, at, n, r->ids, err));
        TRY(check_fit(source, r->ids, at, n, type, err));
        for (int64_t done = 0, taken; done < n; done += taken) {
            taken = zarr_writer_add(writer, r->ids + done, n - done, err);
            TRY(taken);
        }
        progress_update(&progress, (uint64_t)(at + n), NULL);
    }
    progress_end(&progress, source->name);
    return zarr_writer_finish(writer, err);
}

static int copy_documents(const Repack *r, const TokenSource *source, const char *name, Err *err)
{
    char path[PATH_MAX];
    AtomicFile file;
    TRY(path_join(path, sizeof path, r->target.partial, name, err));
    TRY(atomic_open(&file, path, err));
    int status = 0;
    for (int64_t i = 0; i < doc_count(source) && status == 0; i++) {
        Document doc = doc_info(source, i);
        char *line = doc_index_line(doc.name, doc.start, doc.length);
        status = line == NULL ? err_set(err, "no memory for a document's name")
                              : atomic_write(&file, line, strlen(line), err);
        free(line);
    }
    if (status == 0) status = atomic_commit(&file, err);
    atomic_abort(&file);
    return status;
}

static int repack_source(Repack *r, const TokenSource *source, int split, Err *err)
{
    ZarrMeta layout;
    ZarrWriter *writer;
    char dir[PATH_MAX];
    SplitInfo *info = &r->info.splits[split];
    TRY(layout_make(&layout, r->options, source, err));
    TRY(path_join(dir, sizeof dir, r->target.partial, split_name(split), err));
    TRY(written_before(&layout, dir, token_source_length(source), &layout.length, err));
    TRY(zarr_writer_open(&writer, &layout, dir, r->options->threads, err));
    int status = copy_tokens(r, source, writer, layout.type, err);
    zarr_writer_close(writer);
    TRY(status);
    if (!r->has_info) return 0;
    snprintf(info->token_file, sizeof info->token_file, "%s", split_name(split));
    snprintf(info->docs_file, sizeof info->docs_file, "%s.docs.jsonl", split_name(split));
    return copy_documents(r, source, info->docs_file, err);
}

/* The tokenizer's file, where the source has one. */
static int copy_tokenizer(const Repack *r, Err *err)
{
    char path[PATH_MAX];
    const char *name = r->info.tokenizer;
    if (!r->has_info) return 0;
    TRY(tokenizer_named_path(path, name, r->options->in_dir, err));
    if (path[0] == 0 || !file_exists(path)) return 0;
    return tokenizer_copy_file(name, path, r->target.partial, err);
}

/* Returns 1, or 0 where a plain group has no such array. */
static int repack_split(Repack *r, int split, Err *err)
{
    char dir[PATH_MAX];
    TokenSource *source;
    TRY(path_join(dir, sizeof dir, r->options->in_dir, split_name(split), err));
    if (!r->has_info && !zarr_meta_there(dir)) return 0;
    TRY(token_source_open(&source, r->options->in_dir, split_name(split), err));
    int status = repack_source(r, source, split, err);
    token_source_close(source);
    return status < 0 ? -1 : 1;
}

static int repack_all(Repack *r, Err *err)
{
    const RepackOptions *o = r->options;
    int splits = 0;
    r->has_info = !zarr_group_there(o->in_dir);
    if (r->has_info) TRY(dataset_read(&r->info, o->in_dir, err));
    TRY(dataset_target_open(&r->target, o->out_dir, o->force, err));
    TRY(partial_open(r, err));
    for (int s = 0; s < SPLIT_COUNT; s++) {
        int done = repack_split(r, s, err);
        TRY(done);
        splits += done;
    }
    if (splits == 0) return err_set(err, "%s: neither an array 'train' nor 'val' there", o->in_dir);
    TRY(copy_tokenizer(r, err));
    TRY(zarr_group_write(r->target.partial, err));
    r->info.is_zarr = true;
    if (r->has_info) TRY(dataset_write(&r->info, r->target.partial, err));
    TRY(write_state_remove(r->target.partial, err));
    TRY(dataset_target_sweep(&r->target, err));
    return dataset_target_commit(&r->target, err);
}

int dataset_repack(const RepackOptions *options, Err *err)
{
    Repack r = {.options = options, .target = {.lock = -1}};
    r.ids = malloc(BLOCK * sizeof *r.ids);
    int status = r.ids == NULL ? err_set(err, "no memory to repack") : repack_all(&r, err);
    dataset_target_close(&r.target, r.saved);
    free(r.ids);
    return status;
}
