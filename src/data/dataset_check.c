/* The check of a split: the files that should be there, then every token once. */
#include "data/dataset_check.h"

#include <limits.h>
#include <string.h>

#include "base/file.h"
#include "base/progress.h"
#include "data/dataset.h"
#include "data/token_source.h"
#include "data/widen.h"
#include "data/zarr_source.h"

enum { BLOCK = 1 << 13, MOST_MISSING = 100000 };

typedef struct Check {
    const CheckOptions *options;
    CheckReport *report;
    const TokenSource *source;
    IntType digest_type;  /* as what the digest takes the tokens */
    const char *expected; /* SHA-256, or NULL */
} Check;

static int missing_file(const Check *c, const ZarrArray *a, int64_t file, Err *err)
{
    char path[PATH_MAX];
    TRY(zarr_file_path(zarr_array_meta(a), zarr_array_dir(a), file, path, sizeof path, err));
    return err_set(err,
                   "%s is missing (%s%lld of %lld files are): its tokens would read as %lld; "
                   "fetch it again, or encode the dataset again",
                   path, c->report->missing == MOST_MISSING ? "at least " : "",
                   (long long)c->report->missing, (long long)c->report->files,
                   (long long)zarr_array_meta(a)->fill);
}

static int check_files(Check *c, Err *err)
{
    ZarrArray *a = zarr_source_array(c->source);
    int64_t first = -1;
    c->report->files = 1;
    if (a == NULL) return 0;
    c->report->files = zarr_files(zarr_array_meta(a));
    for (int64_t i = 0; i < c->report->files && c->report->missing < MOST_MISSING; i++) {
        char path[PATH_MAX];
        TRY(zarr_file_path(zarr_array_meta(a), zarr_array_dir(a), i, path, sizeof path, err));
        if (file_exists(path) || dir_exists(path)) continue; /* a folder fails when it is read */
        if (first < 0) first = i;
        c->report->missing++;
    }
    return first < 0 || c->options->gaps_are_fine ? 0 : missing_file(c, a, first, err);
}

static void digest_block(const Check *c, const int32_t *ids, int64_t n, Sha256 *sha)
{
    unsigned char bytes[BLOCK * 4];
    for (int64_t i = 0; i < n; i++) {
        int_store(c->digest_type, ids[i], bytes + i * c->digest_type.size);
        if (ids[i] > c->report->largest) c->report->largest = ids[i];
    }
    sha256_update(sha, bytes, (size_t)(n * c->digest_type.size));
}

static int check_tokens(Check *c, Err *err)
{
    int32_t ids[BLOCK];
    int64_t length = token_source_length(c->source);
    Sha256 sha;
    Progress progress;
    sha256_init(&sha);
    progress_start(&progress, c->options->quiet ? NULL : "check", (uint64_t)length, "tokens");
    for (int64_t at = 0; at < length; at += BLOCK) {
        int64_t n = length - at < BLOCK ? length - at : BLOCK;
        TRY(token_source_read(c->source, at, n, ids, err));
        digest_block(c, ids, n, &sha);
        progress_update(&progress, (uint64_t)(at + n), NULL);
    }
    progress_end(&progress, c->source->name);
    sha256_hex(&sha, c->report->sha256);
    return 0;
}

static int check_digest(const Check *c, Err *err)
{
    if (c->expected == NULL || strcmp(c->report->sha256, c->expected) == 0) return 0;
    return err_set(err,
                   "%s: its SHA-256 is not the one in dataset.json; the tokens are not those that "
                   "were encoded: encode the dataset again",
                   c->source->name);
}

static int check_run(Check *c, Err *err)
{
    c->report->tokens = token_source_length(c->source);
    c->report->documents = doc_count(c->source);
    c->report->largest = -1;
    c->report->digest_known = c->expected != NULL;
    TRY(check_files(c, err));
    TRY(check_tokens(c, err));
    return check_digest(c, err);
}

int dataset_check(CheckReport *out, const char *dir, const char *split, const CheckOptions *options,
                  Err *err)
{
    *out = (CheckReport){0};
    DatasetInfo info;
    TokenSource *source;
    Check c = {.options = options, .report = out, .digest_type = {4, false, false}};
    if (!zarr_group_there(dir)) {
        int which = split_find(split, err);
        TRY(which);
        TRY(dataset_read(&info, dir, err));
        c.digest_type.size = info.token_size;
        c.expected = info.splits[which].sha256;
    }
    TRY(token_source_open(&source, dir, split, err));
    token_source_declare(source, options->vocab_size, -1);
    c.source = source;
    int status = check_run(&c, err);
    token_source_close(source);
    return status;
}
