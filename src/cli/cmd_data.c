/* `ttt data`: makes datasets and looks into them. This file: docs and cat, and the table. */
#include "cli/cmd_data.h"

#include <errno.h>
#include <inttypes.h>
#include <jansson.h>
#include <limits.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "base/names.h"
#include "cli/command.h"
#include "data/escape.h"
#include "data/token_source.h"
#include "data/tokenizer.h"
#include "data/zarr_meta.h"

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

bool data_has_array(const char *dir, const char *split)
{
    char path[PATH_MAX];
    Err ignored;
    return path_join(path, sizeof path, dir, split, &ignored) == 0 && zarr_meta_there(path);
}

int data_finish(const char *sub)
{
    Err err;
    if (fflush(stdout) == 0 && !ferror(stdout)) return EXIT_DONE;
    err_errno(&err, "cannot write to standard output");
    return data_fail(sub, &err);
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
    if (tok != NULL && source->vocab_size > 0 && tokenizer_vocab_size(tok) != source->vocab_size)
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

/* name: a tokenizer in place of the dataset's own, or NULL. */
static int cat_tokenizer(Tokenizer **out, TokenSource *source, const char *dir, const char *name,
                         Err *err)
{
    if (name == NULL && source->tokenizer[0] == 0)
        return err_set(err, "%s does not say which tokenizer made it: give --tokenizer NAME",
                       source->name);
    if (name != NULL)
        TRY(tokenizer_open(out, name, err));
    else
        TRY(tokenizer_open_named(out, source->tokenizer, dir, err));
    token_source_declare(source, tokenizer_vocab_size(*out), tokenizer_bos(*out));
    return 0;
}

static int cat_split(const char *dir, const char *split, const char *tokenizer, bool text,
                     int64_t a, int64_t b)
{
    Err err;
    TokenSource *source;
    Tokenizer *tok = NULL;
    if (token_source_open(&source, dir, split, &err) < 0) return data_fail("cat", &err);
    int status = text ? cat_tokenizer(&tok, source, dir, tokenizer, &err) : 0;
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
                                            {"tokenizer", required_argument, NULL, 'k'},
                                            {0}};
    const char *split = "train", *range = ":", *tokenizer = NULL;
    bool text = false;
    int64_t a, b;
    int c;
    while ((c = data_option(argc, argv, options)) != -1) {
        if (c == 's') split = optarg;
        if (c == 'r') range = optarg;
        if (c == 't') text = true;
        if (c == 'k') tokenizer = optarg;
        if (c == '?') return EXIT_USAGE;
    }
    if (!parse_range(range, &a, &b))
        return data_usage("cat", "--range %s is not A:B, two token positions", range);
    if (argc - optind != 1) return data_usage("cat", "name one dataset folder");
    return cat_split(argv[optind], split, tokenizer, text || tokenizer != NULL, a, b);
}

/* --- the command ------------------------------------------------------------------------------ */

static const char help_text[] =
    "usage: ttt data encode [OPTIONS] FILES-OR-FOLDERS... --out DIR\n"
    "       ttt data info DIR [--check] [--json]\n"
    "       ttt data check DIR [--split NAME] [--vocab N] [--missing-ok]\n"
    "       ttt data repack DIR --out DIR [OPTIONS]\n"
    "       ttt data docs DIR [--split train|val] [--json]\n"
    "       ttt data cat DIR [--split train|val] [--range A:B] [--text] [--tokenizer NAME]\n"
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
    "  --threads N          default: one per core; the result does not depend on it\n"
    "  --codec CHAIN        blosc:CNAME:LEVEL:SHUFFLE, zstd:LEVEL, gzip:LEVEL, crc32c, joined by\n"
    "                       +, or none (blosc:lz4:5:shuffle+crc32c)\n"
    "  --chunk-tokens N     what is decoded at once (4096)\n"
    "  --shard-tokens N     tokens of one file, whole chunks (4194304)\n"
    "  --force              replace a dataset that is there\n"
    "  --json               the summary as JSON\n"
    "Killed, even with -9, the same command goes on where it stopped: DIR.partial keeps what is "
    "done.\n"
    "info shows what a dataset holds; --check reads it all.\n"
    "check reads it all: every file is there and decodes, ids are below the vocabulary (--vocab N\n"
    "where a plain zarr array does not say), counts and digests fit. It names the first broken "
    "file.\n"
    "repack writes the same tokens anew, with --codec, --chunk-tokens, --shard-tokens, --force as\n"
    "above, and --dtype uint16, --endian big, --index-at-start, --v2-keys.\n"
    "docs lists a split's documents: index, name, tokens.\n"
    "cat prints tokens A to B - 1 of a split: ids, one a line, or --text.\n"
    "\n"
    "example:\n"
    "  ttt data encode --ext .md,.c docs src --out /tmp/sources && ttt data info /tmp/sources\n";

typedef struct Subcommand {
    const char *name;
    int (*run)(int argc, char **argv);
} Subcommand;

static const Subcommand subcommands[] = {{"encode", data_encode_run}, {"info", data_info_run},
                                         {"check", data_check_run},   {"repack", data_repack_run},
                                         {"docs", docs_run},          {"cat", cat_run}};

static int unknown_subcommand(const char *given)
{
    const char *names[ARRAY_LEN(subcommands)];
    for (int i = 0; i < ARRAY_LEN(names); i++) names[i] = subcommands[i].name;
    const char *near = name_nearest(given, names, ARRAY_LEN(names));
    if (near != NULL) return data_usage("", "no '%s' (%s?)", given, near);
    return data_usage("", "no '%s': name encode, info, check, repack, docs or cat", given);
}

static int data_run(int argc, char **argv)
{
    if (argc < 2)
        return data_usage("", "name what to do: encode, info, check, repack, docs or cat");
    for (int i = 1; i < argc && strcmp(argv[i], "--") != 0; i++) {
        if (strcmp(argv[i], "--help") != 0 && strcmp(argv[i], "-h") != 0) continue;
        fputs(help_text, stdout);
        return data_finish("");
    }
    for (int i = 0; i < ARRAY_LEN(subcommands); i++) {
        if (strcmp(argv[1], subcommands[i].name) != 0) continue;
        optind = 0; /* tells getopt of glibc to start over */
        return subcommands[i].run(argc - 1, argv + 1);
    }
    return unknown_subcommand(argv[1]);
}

const Command command_data = {"data", "make datasets from text, and look into them", help_text,
                              data_run};
