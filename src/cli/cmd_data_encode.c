/* `ttt data encode`: from the command line to dataset_encode, and its summary. */
#include <inttypes.h>
#include <jansson.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "cli/cmd_data.h"
#include "cli/command.h"
#include "data/encode.h"
#include "data/escape.h"

enum { MAX_EXTENSIONS = 64 };

static volatile sig_atomic_t interrupted;

static void interrupt(int number)
{
    (void)number;
    interrupted = 1;
}

typedef struct Arguments {
    EncodeOptions encode;
    char *extension_text; /* cut up into */
    const char *extensions[MAX_EXTENSIONS];
    bool json, has_fraction;
} Arguments;

/* ".py,.txt" or "py,txt": a dot is put in front where there is none. */
static int set_extensions(Arguments *a, const char *list)
{
    free(a->extension_text);
    char *out = a->extension_text = malloc(2 * strlen(list) + 2);
    a->encode.n_extensions = 0;
    if (out == NULL) return data_usage("encode", "no memory for --ext");
    while (*list != 0) {
        size_t length = strcspn(list, ",");
        if (length > 0 && a->encode.n_extensions < MAX_EXTENSIONS) {
            a->extensions[a->encode.n_extensions++] = out;
            if (*list != '.') *out++ = '.';
            memcpy(out, list, length);
            out += length;
            *out++ = 0;
        }
        list += length + (list[length] == ',');
    }
    a->encode.extensions = a->extensions;
    return a->encode.n_extensions > 0 ? 0 : data_usage("encode", "--ext names no extension");
}

static int set_fraction(Arguments *a, const char *text)
{
    char *end;
    double f = strtod(text, &end);
    if (end == text || *end != 0 || !(f >= 0 && f < 1))
        return data_usage("encode", "--val-fraction %s is not a number from 0 to below 1", text);
    a->encode.val_fraction = f;
    a->has_fraction = true;
    return 0;
}

static int set_seed(Arguments *a, const char *text)
{
    int64_t seed;
    if (!parse_count(text, 0, &seed))
        return data_usage("encode", "--seed %s is not a whole number from 0", text);
    a->encode.seed = (uint64_t)seed;
    return 0;
}

static int set_count(int64_t *out, const char *option, const char *text)
{
    if (parse_count(text, 1, out)) return 0;
    return data_usage("encode", "%s %s is not a whole number from 1", option, text);
}

static int set_threads(EncodeOptions *o, const char *text)
{
    int64_t threads;
    if (!parse_count(text, 1, &threads) || threads > 1024)
        return data_usage("encode", "--threads %s is not a number from 1 to 1024", text);
    o->threads = (int)threads;
    return 0;
}

/* Returns 0, or an exit status after a complaint. */
static int set_option(Arguments *a, int c)
{
    EncodeOptions *o = &a->encode;
    switch (c) {
    case 'o':
        o->out_dir = optarg;
        return 0;
    case 't':
        o->tokenizer = optarg;
        return 0;
    case 'f':
        return set_fraction(a, optarg);
    case 'l':
        o->val_list = optarg;
        return 0;
    case 's':
        return set_seed(a, optarg);
    case 'e':
        return set_extensions(a, optarg);
    case 'm':
        return set_count(&o->min_bytes, "--min-bytes", optarg);
    case 'n':
        return set_count(&o->max_files, "--max-files", optarg);
    case 'k':
        return set_count(&o->chunk_tokens, "--chunk-tokens", optarg);
    case 'S':
        return set_count(&o->shard_tokens, "--shard-tokens", optarg);
    case 'c':
        o->codec = optarg;
        return 0;
    case 'T':
        return set_threads(o, optarg);
    case 'F':
        o->force = true;
        return 0;
    case 'j':
        a->json = true;
        return 0;
    default:
        return EXIT_USAGE;
    }
}

static int parse_arguments(Arguments *a, int argc, char **argv)
{
    static const struct option options[] = {{"out", required_argument, NULL, 'o'},
                                            {"tokenizer", required_argument, NULL, 't'},
                                            {"val-fraction", required_argument, NULL, 'f'},
                                            {"val-files", required_argument, NULL, 'l'},
                                            {"seed", required_argument, NULL, 's'},
                                            {"ext", required_argument, NULL, 'e'},
                                            {"min-bytes", required_argument, NULL, 'm'},
                                            {"max-files", required_argument, NULL, 'n'},
                                            {"chunk-tokens", required_argument, NULL, 'k'},
                                            {"shard-tokens", required_argument, NULL, 'S'},
                                            {"codec", required_argument, NULL, 'c'},
                                            {"threads", required_argument, NULL, 'T'},
                                            {"force", no_argument, NULL, 'F'},
                                            {"json", no_argument, NULL, 'j'},
                                            {0}};
    int c, status;
    while ((c = data_option(argc, argv, options)) != -1)
        if ((status = set_option(a, c)) != 0) return status;
    a->encode.paths = (const char *const *)argv + optind;
    a->encode.n_paths = argc - optind;
    if (a->encode.n_paths == 0) return data_usage("encode", "name files or folders to encode");
    if (a->encode.out_dir == NULL)
        return data_usage("encode", "name the folder to make: --out DIR");
    if (a->has_fraction && a->encode.val_list != NULL)
        return data_usage("encode", "give --val-fraction or --val-files, not both");
    return 0;
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

static int print_json(const char *dir, const EncodeReport *r)
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
    json_dumpf(root, stdout, JSON_INDENT(2));
    putchar('\n');
    json_decref(root);
    free(name);
    return data_finish("encode");
}

static int print_summary(const char *dir, const EncodeReport *r)
{
    for (int s = 0; s < SPLIT_COUNT; s++)
        printf("%-5s %10" PRId64 " documents %14" PRId64 " tokens\n", split_name(s),
               r->info.splits[s].documents, r->info.splits[s].tokens);
    printf("wrote %s\n", dir);
    return data_finish("encode");
}

int data_encode_run(int argc, char **argv)
{
    Arguments a = {
        .encode = {
            .tokenizer = "bytes", .val_fraction = 0.1, .min_bytes = 1, .stop = &interrupted}};
    EncodeReport report;
    Err err;
    int status = parse_arguments(&a, argc, argv);
    if (status == 0) {
        struct sigaction action = {.sa_handler = interrupt, .sa_flags = (int)SA_RESETHAND}, old[2];
        sigaction(SIGINT, &action, &old[0]);
        sigaction(SIGTERM, &action, &old[1]);
        if (dataset_encode(&a.encode, &report, &err) < 0) {
            status = data_fail("encode", &err);
        } else {
            print_notes(&a.encode, &report);
            status = a.json ? print_json(a.encode.out_dir, &report)
                            : print_summary(a.encode.out_dir, &report);
        }
        sigaction(SIGINT, &old[0], NULL);
        sigaction(SIGTERM, &old[1], NULL);
    }
    free(a.extension_text);
    return status;
}
