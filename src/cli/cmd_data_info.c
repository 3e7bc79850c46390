/* `ttt data info`: what a dataset holds, and how its tokens are stored. */
#include <inttypes.h>
#include <stdio.h>

#include "base/names.h"
#include "cli/cmd_data.h"
#include "cli/command.h"
#include "cli/options.h"
#include "cli/output.h"
#include "data/dataset.h"
#include "data/dataset_check.h"
#include "data/token_source.h"
#include "data/zarr_source.h"

typedef struct SplitSizes {
    bool there;
    int64_t tokens, documents, shortest, longest; /* of documents, in tokens */
    char storage[256];
} SplitSizes;

/* "uint16, 3 files of 4194304 tokens in chunks of 4096, blosc:lz4:5:shuffle+crc32c" */
static void storage_text(char *out, size_t size, const TokenSource *source, int token_size)
{
    const ZarrArray *array = zarr_source_array(source);
    if (array == NULL) {
        snprintf(out, size, "%s, one plain file", token_size == 2 ? "uint16" : "int32");
        return;
    }
    char codecs[128], chunks[64] = "";
    const ZarrMeta *m = zarr_array_meta(array);
    chain_text(&m->chain, codecs, sizeof codecs);
    if (m->sharded) snprintf(chunks, sizeof chunks, " in chunks of %" PRId64, m->inner);
    snprintf(out, size, "zarr v%d, %s%s, %" PRId64 " files of %" PRId64 " tokens%s, codecs %s",
             m->format, int_type_name(m->type), m->type.big_endian ? " big-endian" : "",
             zarr_files(m), m->chunk, chunks, codecs);
}

static int split_sizes(SplitSizes *out, const char *dir, const char *split, int token_size,
                       Err *err)
{
    TokenSource *source;
    TRY(token_source_open(&source, dir, split, err));
    *out = (SplitSizes){
        .there = true, .tokens = token_source_length(source), .documents = doc_count(source)};
    for (int64_t i = 0; i < out->documents; i++) {
        int64_t length = doc_info(source, i).length;
        if (i == 0 || length < out->shortest) out->shortest = length;
        if (length > out->longest) out->longest = length;
    }
    storage_text(out->storage, sizeof out->storage, source, token_size);
    token_source_close(source);
    return 0;
}

static json_t *split_json(const SplitSizes *sizes, const char *sha256)
{
    json_t *o =
        json_pack("{s:I, s:I, s:I, s:I, s:s}", "tokens", (json_int_t)sizes->tokens, "documents",
                  (json_int_t)sizes->documents, "shortest", (json_int_t)sizes->shortest, "longest",
                  (json_int_t)sizes->longest, "storage", sizes->storage);
    if (sha256[0] != 0) json_object_set_new(o, "sha256", json_string(sha256));
    return o;
}

/* info: its vocab_size is 0 when the folder is a plain zarr group. */
static void info_json(const DatasetInfo *info, const SplitSizes *sizes)
{
    json_t *splits = json_object(), *root = json_object();
    for (int s = 0; s < SPLIT_COUNT; s++)
        if (sizes[s].there)
            json_object_set_new(splits, split_name(s),
                                split_json(&sizes[s], info->splits[s].sha256));
    if (info->vocab_size > 0) {
        json_object_set_new(root, "tokenizer", json_string(info->tokenizer));
        json_object_set_new(root, "vocab_size", json_integer(info->vocab_size));
        json_object_set_new(root, "bos", json_integer(info->bos));
        json_object_set_new(root, "eos", json_integer(info->eos));
        json_object_set_new(root, "dtype", json_string(info->token_size == 2 ? "uint16" : "int32"));
    }
    json_object_set_new(root, "splits", splits);
    output_json(root);
}

static void info_text(const DatasetInfo *info, const SplitSizes *sizes)
{
    char shown[NAME_SHOWN_MAX];
    if (info->vocab_size > 0)
        printf("tokenizer  %s: vocabulary %d, BOS %d, EOS %d\n", name_show(shown, info->tokenizer),
               info->vocab_size, info->bos, info->eos);
    else
        printf("plain zarr arrays: which tokenizer made them, they do not say\n");
    printf("split         tokens  documents   shortest    longest\n");
    for (int s = 0; s < SPLIT_COUNT; s++)
        if (sizes[s].there)
            printf("%-5s %14" PRId64 " %10" PRId64 " %10" PRId64 " %10" PRId64 "\n", split_name(s),
                   sizes[s].tokens, sizes[s].documents, sizes[s].shortest, sizes[s].longest);
    for (int s = 0; s < SPLIT_COUNT; s++)
        if (sizes[s].there) printf("%-5s %s\n", split_name(s), sizes[s].storage);
}

static int split_info(SplitSizes *out, const DatasetInfo *info, const char *dir, int split,
                      bool check, Err *err)
{
    CheckReport report;
    CheckOptions options = {0};
    TRY(split_sizes(out, dir, split_name(split), info->token_size, err));
    return check ? dataset_check(&report, dir, split_name(split), &options, err) : 0;
}

/* A plain group may have one of the two only; if it has none, the error is that of train. */
static bool split_wanted(const DatasetInfo *info, const char *dir, int split)
{
    if (info->vocab_size > 0 || data_has_array(dir, split_name(split))) return true;
    return split == SPLIT_TRAIN && !data_has_array(dir, split_name(SPLIT_VAL));
}

static int dataset_look(DatasetInfo *info, SplitSizes *sizes, const char *dir, bool check, Err *err)
{
    if (!zarr_group_there(dir)) TRY(dataset_read(info, dir, err));
    for (int s = 0; s < SPLIT_COUNT; s++)
        if (split_wanted(info, dir, s)) TRY(split_info(&sizes[s], info, dir, s, check, err));
    return 0;
}

int data_info_run(int argc, char **argv)
{
    bool json = false, check = false;
    const Option table[] = {{"json", OPTION_FLAG, &json, 0, 0},
                            {"check", OPTION_FLAG, &check, 0, 0}};
    int n = options_parse(argc, argv, table, ARRAY_LEN(table));
    if (n < 0) return EXIT_USAGE;
    if (n != 1) return options_usage(argv[0], "name one dataset folder");
    Err err;
    DatasetInfo info = {0};
    SplitSizes sizes[SPLIT_COUNT] = {0};
    if (dataset_look(&info, sizes, argv[1], check, &err) < 0) return command_fail(argv[0], &err);
    if (json)
        info_json(&info, sizes);
    else
        info_text(&info, sizes);
    return output_finish(argv[0]);
}
