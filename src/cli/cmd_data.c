/* `ttt data`: makes datasets and looks into them. This file: the subcommands that look. */
#include "cli/cmd_data.h"

#include <errno.h>
#include <inttypes.h>
#include <jansson.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/names.h"
#include "cli/command.h"
#include "data/dataset.h"
#include "data/escape.h"
#include "data/raw_source.h"
#include "data/token_source.h"
#include "data/tokenizer.h"

enum { BLOCK = 4096 };

/* --- shared ----------------------------------------------------------------------------------- */

int data_usage(const char *sub, const char *fmt, ...)
{
    va_list args;
    va_start(args, fmt);
    fprintf(stderr, "ttt data%s%s: ", sub[0] != 0 ? " " : "", sub);
    vfprintf(stderr, fmt, args);
    fputs("; see `ttt help data`\n", stderr);
    va_end(args);
    return EXIT_USAGE;
}

int data_fail(const char *sub, const Err *err)
{
    char name[32];
    snprintf(name, sizeof name, "data %s", sub);
    return command_fail(name, err);
}

static const char *nearest_option(const char *given, const struct option *options)
{
    const char *names[32];
    int n = 0;
    for (; options[n].name != NULL && n < ARRAY_LEN(names); n++) names[n] = options[n].name;
    return name_nearest(given, names, n);
}

int data_option(int argc, char **argv, const struct option *options)
{
    opterr = 0;
    int c = getopt_long(argc, argv, ":", options, NULL);
    if (c != '?' && c != ':') return c;
    const char *given = argv[optind - 1];
    const char *near = c == '?' ? nearest_option(given + strspn(given, "-"), options) : NULL;
    if (c == ':')
        data_usage(argv[0], "option %s needs a value", given);
    else if (near != NULL)
        data_usage(argv[0], "bad option %s (--%s?)", given, near);
    else
        data_usage(argv[0], "bad option %s", given);
    return '?';
}

bool parse_count(const char *text, int64_t low, int64_t *out)
{
    char *end;
    errno = 0;
    *out = strtoll(text, &end, 10);
    return errno == 0 && end != text && *end == 0 && *out >= low;
}

int data_finish(const char *sub)
{
    Err err;
    if (fflush(stdout) == 0 && !ferror(stdout)) return EXIT_DONE;
    err_errno(&err, "cannot write to standard output");
    return data_fail(sub, &err);
}

/* --- info ------------------------------------------------------------------------------------- */

typedef struct SplitSizes {
    int64_t tokens, documents, shortest, longest; /* of documents, in tokens */
} SplitSizes;

static int split_sizes(SplitSizes *out, const char *dir, int split, Err *err)
{
    TokenSource *source;
    TRY(token_source_open(&source, dir, split_name(split), err));
    *out = (SplitSizes){.tokens = token_source_length(source), .documents = doc_count(source)};
    for (int64_t i = 0; i < out->documents; i++) {
        int64_t length = doc_info(source, i).length;
        if (i == 0 || length < out->shortest) out->shortest = length;
        if (length > out->longest) out->longest = length;
    }
    token_source_close(source);
    return 0;
}

static int info_json(const DatasetInfo *info, const SplitSizes *sizes)
{
    json_t *splits = json_object();
    for (int s = 0; s < SPLIT_COUNT; s++)
        json_object_set_new(
            splits, split_name(s),
            json_pack("{s:I, s:I, s:I, s:I, s:s}", "tokens", (json_int_t)sizes[s].tokens,
                      "documents", (json_int_t)sizes[s].documents, "shortest",
                      (json_int_t)sizes[s].shortest, "longest", (json_int_t)sizes[s].longest,
                      "sha256", info->splits[s].sha256));
    json_t *root = json_pack("{s:s, s:i, s:i, s:i, s:s, s:o}", "tokenizer", info->tokenizer,
                             "vocab_size", info->vocab_size, "bos", info->bos, "eos", info->eos,
                             "dtype", info->token_size == 2 ? "uint16" : "int32", "splits", splits);
    json_dumpf(root, stdout, JSON_INDENT(2));
    putchar('\n');
    json_decref(root);
    return data_finish("info");
}

static int info_text(const DatasetInfo *info, const SplitSizes *sizes)
{
    char shown[NAME_SHOWN_MAX];
    printf("tokenizer  %s: vocabulary %d, BOS %d, EOS %d; stored as %s\n",
           name_show(shown, info->tokenizer), info->vocab_size, info->bos, info->eos,
           info->token_size == 2 ? "uint16" : "int32");
    printf("split         tokens  documents   shortest    longest\n");
    for (int s = 0; s < SPLIT_COUNT; s++)
        printf("%-5s %14" PRId64 " %10" PRId64 " %10" PRId64 " %10" PRId64 "\n", split_name(s),
               sizes[s].tokens, sizes[s].documents, sizes[s].shortest, sizes[s].longest);
    return data_finish("info");
}

static int info_run(int argc, char **argv)
{
    static const struct option options[] = {
        {"json", no_argument, NULL, 'j'}, {"check", no_argument, NULL, 'c'}, {0}};
    bool json = false, check = false;
    int c;
    while ((c = data_option(argc, argv, options)) != -1) {
        if (c == 'j') json = true;
        if (c == 'c') check = true;
        if (c == '?') return EXIT_USAGE;
    }
    if (argc - optind != 1) return data_usage("info", "name one dataset folder");
    Err err;
    DatasetInfo info;
    SplitSizes sizes[SPLIT_COUNT];
    const char *dir = argv[optind];
    if (dataset_read(&info, dir, &err) < 0) return data_fail("info", &err);
    for (int s = 0; s < SPLIT_COUNT; s++) {
        if (split_sizes(&sizes[s], dir, s, &err) < 0 ||
            (check && raw_source_verify(dir, split_name(s), &err) < 0))
            return data_fail("info", &err);
    }
    return json ? info_json(&info, sizes) : info_text(&info, sizes);
}

/* --- docs ------------------------------------------------------------------------------------- */

static int docs_json(const TokenSource *source)
{
    json_t *list = json_array();
    for (int64_t i = 0; i < doc_count(source); i++) {
        Document doc = doc_info(source, i);
        json_array_append_new(list, json_pack("{s:I, s:s, s:I, s:I}", "index", (json_int_t)i,
                                              "name", doc.name, "start", (json_int_t)doc.start,
                                              "tokens", (json_int_t)doc.length));
    }
    json_dumpf(list, stdout, JSON_INDENT(2));
    putchar('\n');
    json_decref(list);
    return data_finish("docs");
}

static int docs_text(const TokenSource *source)
{
    printf("index\tname\ttokens\n");
    for (int64_t i = 0; i < doc_count(source); i++) {
        Document doc = doc_info(source, i);
        char *name = escape_text(doc.name, true);
        printf("%" PRId64 "\t%s\t%" PRId64 "\n", i, name == NULL ? "" : name, doc.length);
        free(name);
    }
    return data_finish("docs");
}

static int docs_run(int argc, char **argv)
{
    static const struct option options[] = {
        {"split", required_argument, NULL, 's'}, {"json", no_argument, NULL, 'j'}, {0}};
    const char *split = "train";
    bool json = false;
    int c;
    while ((c = data_option(argc, argv, options)) != -1) {
        if (c == 's') split = optarg;
        if (c == 'j') json = true;
        if (c == '?') return EXIT_USAGE;
    }
    if (argc - optind != 1) return data_usage("docs", "name one dataset folder");
    Err err;
    TokenSource *source;
    if (token_source_open(&source, argv[optind], split, &err) < 0) return data_fail("docs", &err);
    int status = json ? docs_json(source) : docs_text(source);
    token_source_close(source);
    return status;
}

/* --- cat -------------------------------------------------------------------------------------- */

/* "A:B" with either end left out; B stays -1 then. */
static bool parse_range(const char *text, int64_t *a, int64_t *b)
{
    char first[24];
    const char *colon = strchr(text, ':');
    size_t length = colon == NULL ? sizeof first : (size_t)(colon - text);
    if (length >= sizeof first) return false;
    memcpy(first, text, length);
    first[length] = 0;
    *a = 0;
    *b = -1;
    return (length == 0 || parse_count(first, 0, a)) &&
           (colon[1] == 0 || parse_count(colon + 1, 0, b));
}

static void cat_block(const Tokenizer *tok, const int32_t *ids, int64_t n)
{
    char piece[TOKENIZER_MAX_PIECE];
    for (int64_t i = 0; i < n; i++) {
        if (tok == NULL)
            printf("%d\n", ids[i]);
        else
            fwrite(piece, 1, (size_t)tokenizer_decode(tok, ids[i], piece), stdout);
    }
}

/* tok: NULL to print ids. */
static int cat_range(const TokenSource *source, const Tokenizer *tok, int64_t a, int64_t b,
                     Err *err)
{
    int32_t ids[BLOCK];
    int64_t length = token_source_length(source);
    if (b < 0) b = length;
    if (a > b || b > length)
        return err_set(err, "%s: no range %" PRId64 ":%" PRId64 "; it has %" PRId64 " tokens",
                       source->name, a, b, length);
    if (tok != NULL && tokenizer_vocab_size(tok) != source->vocab_size)
        return err_set(err, "%s: its vocabulary of %d is not that of the tokenizer '%s' (%d)",
                       source->name, source->vocab_size, tokenizer_name(tok),
                       tokenizer_vocab_size(tok));
    for (int64_t at = a; at < b && !ferror(stdout); at += BLOCK) {
        int64_t n = b - at < BLOCK ? b - at : BLOCK;
        TRY(token_source_read(source, at, n, ids, err));
        cat_block(tok, ids, n);
    }
    return 0;
}

static int cat_split(const char *dir, const char *split, bool text, int64_t a, int64_t b)
{
    Err err;
    TokenSource *source;
    Tokenizer *tok = NULL;
    if (token_source_open(&source, dir, split, &err) < 0) return data_fail("cat", &err);
    int status = text ? tokenizer_open_named(&tok, source->tokenizer, dir, &err) : 0;
    if (status == 0) status = cat_range(source, tok, a, b, &err);
    tokenizer_close(tok);
    token_source_close(source);
    return status < 0 ? data_fail("cat", &err) : data_finish("cat");
}

static int cat_run(int argc, char **argv)
{
    static const struct option options[] = {{"split", required_argument, NULL, 's'},
                                            {"range", required_argument, NULL, 'r'},
                                            {"text", no_argument, NULL, 't'},
                                            {0}};
    const char *split = "train", *range = ":";
    bool text = false;
    int64_t a, b;
    int c;
    while ((c = data_option(argc, argv, options)) != -1) {
        if (c == 's') split = optarg;
        if (c == 'r') range = optarg;
        if (c == 't') text = true;
        if (c == '?') return EXIT_USAGE;
    }
    if (!parse_range(range, &a, &b))
        return data_usage("cat", "--range %s is not A:B, two token positions", range);
    if (argc - optind != 1) return data_usage("cat", "name one dataset folder");
    return cat_split(argv[optind], split, text, a, b);
}

/* --- the command ------------------------------------------------------------------------------ */

static const char help_text[] =
    "usage: ttt data encode [OPTIONS] FILES-OR-FOLDERS... --out DIR\n"
    "       ttt data info DIR [--check] [--json]\n"
    "       ttt data docs DIR [--split train|val] [--json]\n"
    "       ttt data cat DIR [--split train|val] [--range A:B] [--text]\n"
    "\n"
    "encode turns files into a dataset folder: one document per file, a BOS in front of each, "
    "split\n"
    "into train and val by whole documents. Any bytes will do. Folders are read recursively, "
    "without\n"
    "hidden files and symbolic links; empty files are skipped.\n"
    "  --out DIR            the folder to make (required)\n"
    "  --tokenizer NAME     bytes, the default, or a tokenizer.json or tokenizer.model\n"
    "  --val-fraction F     part of all bytes to hold out, 0 <= F < 1 (0.1)\n"
    "  --val-files LIST     a text file with the names of the documents to hold out, one a line;\n"
    "                       a line may name a folder\n"
    "  --seed N             draws the held-out documents (0)\n"
    "  --ext .py,.txt       of files in folders, take only these\n"
    "  --min-bytes N        skip smaller files (1)\n"
    "  --max-files N        take only the first N files\n"
    "  --force              replace a dataset that is there\n"
    "  --json               the summary as JSON\n"
    "info shows what a dataset holds; --check reads it all and compares digests.\n"
    "docs lists a split's documents: index, name, tokens.\n"
    "cat prints tokens A to B - 1 of a split: ids, one a line, or --text.\n"
    "\n"
    "example:\n"
    "  ttt data encode --ext .md,.c docs src --out /tmp/sources && ttt data info /tmp/sources\n";

static int data_run(int argc, char **argv)
{
    static const char *const names[] = {"encode", "info", "docs", "cat"};
    static int (*const runs[])(int, char **) = {data_encode_run, info_run, docs_run, cat_run};
    if (argc < 2) return data_usage("", "name what to do: encode, info, docs or cat");
    for (int i = 1; i < argc && strcmp(argv[i], "--") != 0; i++) {
        if (strcmp(argv[i], "--help") != 0 && strcmp(argv[i], "-h") != 0) continue;
        fputs(help_text, stdout);
        return data_finish("");
    }
    for (int i = 0; i < ARRAY_LEN(names); i++) {
        if (strcmp(argv[1], names[i]) != 0) continue;
        optind = 0; /* tells getopt of glibc to start over */
        return runs[i](argc - 1, argv + 1);
    }
    const char *near = name_nearest(argv[1], names, ARRAY_LEN(names));
    if (near != NULL) return data_usage("", "no '%s' (%s?)", argv[1], near);
    return data_usage("", "no '%s': name encode, info, docs or cat", argv[1]);
}

const Command command_data = {"data", "make datasets from text, and look into them", help_text,
                              data_run};
