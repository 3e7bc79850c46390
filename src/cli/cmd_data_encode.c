/* `ttt data encode`: from the command line to dataset_encode, and its summary. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/log.h"
#include "cli/cmd_data.h"
#include "cli/command.h"
#include "cli/interrupt.h"
#include "cli/options.h"
#include "cli/output.h"
#include "data/encode.h"
#include "data/escape.h"

typedef struct Arguments {
    EncodeOptions encode;
    TextList extensions;
    double fraction; /* -1: not given */
    int64_t seed, threads;
    bool json;
} Arguments;

/* Returns EXIT_DONE, or EXIT_USAGE after a complaint. */
static int arguments_parse(Arguments *a, int argc, char **argv)
{
    const double most = 1e15;
    EncodeOptions *o = &a->encode;
    const Option table[] = {
        {"out", OPTION_TEXT, &o->out_dir, 0, 0},
        {"tokenizer", OPTION_TEXT, &o->tokenizer, 0, 0},
        {"val-fraction", OPTION_REAL, &a->fraction, 0, 1},
        {"val-files", OPTION_TEXT, &o->val_list, 0, 0},
        {"seed", OPTION_INT, &a->seed, 0, most},
        {"ext", OPTION_PARTS, &a->extensions, 0, 0},
        {"min-bytes", OPTION_INT, &o->min_bytes, 1, most},
        {"max-files", OPTION_INT, &o->max_files, 1, most},
        {"chunk-tokens", OPTION_INT, &o->chunk_tokens, 1, most},
        {"shard-tokens", OPTION_INT, &o->shard_tokens, 1, most},
        {"codec", OPTION_TEXT, &o->codec, 0, 0},
        {"threads", OPTION_INT, &a->threads, 1, THREADS_MAX},
        {"force", OPTION_FLAG, &o->force, 0, 0},
        {"json", OPTION_FLAG, &a->json, 0, 0},
    };
    int n = options_parse(argc, argv, table, ARRAY_LEN(table));
    if (n < 0) return EXIT_USAGE;
    if (n == 0) return options_usage(argv[0], "name files or folders to encode");
    if (o->out_dir == NULL) return options_usage(argv[0], "name the folder to make: --out DIR");
    if (a->fraction >= 0 && o->val_list != NULL)
        return options_usage(argv[0], "give --val-fraction or --val-files, not both");
    if (a->fraction >= 1) return options_usage(argv[0], "--val-fraction must be below 1");
    if (a->fraction >= 0) o->val_fraction = a->fraction;
    o->paths = (const char *const *)argv + 1;
    o->n_paths = n;
    o->extensions = a->extensions.item;
    o->n_extensions = a->extensions.n;
    o->seed = (uint64_t)a->seed;
    o->threads = (int)a->threads;
    return EXIT_DONE;
}

static void say_skipped(int64_t n, const char *what)
{
    if (n > 0) log_info("skipped: %" PRId64 " %s", n, what);
}

static void print_notes(const EncodeOptions *o, const EncodeReport *r)
{
    say_skipped(r->skipped_empty, "empty files");
    say_skipped(r->skipped_small, "files below --min-bytes");
    say_skipped(r->skipped_links, "symbolic links");
    say_skipped(r->skipped_hidden, "hidden files or folders");
    say_skipped(r->skipped_special, "entries that are no files");
    if (r->shared > 0)
        log_info("warning: %" PRId64 " documents of val are in train too, word for word",
                 r->shared);
    if (r->info.splits[SPLIT_VAL].documents == 0 && (o->val_list != NULL || o->val_fraction > 0))
        log_info("warning: val is empty: it takes two different documents to hold one out");
    if (r->info.splits[SPLIT_TRAIN].documents == 0)
        log_info("warning: train is empty: --val-files holds out every document");
}

static void print_json(const char *dir, const EncodeReport *r)
{
    const SplitInfo *train = &r->info.splits[SPLIT_TRAIN], *val = &r->info.splits[SPLIT_VAL];
    char *name = escape_text(dir, false);
    json_t *root = json_pack(
        "{s:s, s:s, s:I, s:I, s:I, s:I, s:{s:I, s:I}, s:{s:I, s:I}}", "dataset",
        name == NULL ? "" : name, "tokenizer", r->info.tokenizer, "bytes", (json_int_t)r->bytes,
        "skipped_empty", (json_int_t)r->skipped_empty, "skipped_small",
        (json_int_t)r->skipped_small, "skipped_links", (json_int_t)r->skipped_links, "train",
        "documents", (json_int_t)train->documents, "tokens", (json_int_t)train->tokens, "val",
        "documents", (json_int_t)val->documents, "tokens", (json_int_t)val->tokens);
    output_json(root);
    free(name);
}

static void print_summary(const char *dir, const EncodeReport *r)
{
    for (int s = 0; s < SPLIT_COUNT; s++)
        printf("%-5s %10" PRId64 " documents %14" PRId64 " tokens\n", split_name(s),
               r->info.splits[s].documents, r->info.splits[s].tokens);
    printf("wrote %s\n", dir);
}

int data_encode_run(int argc, char **argv)
{
    Arguments a = {.encode = {.tokenizer = "bytes",
                              .val_fraction = 0.1,
                              .min_bytes = 1,
                              .stop = interrupt_flag()},
                   .fraction = -1};
    EncodeReport report;
    Err err;
    int status = arguments_parse(&a, argc, argv);
    if (status != EXIT_DONE) return status;
    interrupt_catch();
    if (dataset_encode(&a.encode, &report, &err) < 0) return interrupt_fail(argv[0], &err);
    print_notes(&a.encode, &report);
    if (a.json)
        print_json(a.encode.out_dir, &report);
    else
        print_summary(a.encode.out_dir, &report);
    return output_finish(argv[0]);
}
