/* `ttt data`: makes datasets and looks into them. This file: docs and cat, and the table. */
#include "cli/cmd_data.h"

#include <errno.h>
#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "base/names.h"
#include "cli/command.h"
#include "cli/options.h"
#include "cli/output.h"
#include "data/escape.h"
#include "data/token_source.h"
#include "data/tokenizer.h"
#include "data/zarr_meta.h"

enum { BLOCK = 4096 };

bool data_has_array(const char *dir, const char *split)
{
    char path[PATH_MAX];
    Err ignored;
    return path_join(path, sizeof path, dir, split, &ignored) == 0 && zarr_meta_there(path);
}

/* --- docs ------------------------------------------------------------------------------------- */

static void docs_json(const TokenSource *source)
{
    json_t *list = json_array();
    for (int64_t i = 0; i < doc_count(source); i++) {
        Document doc = doc_info(source, i);
        json_array_append_new(list, json_pack("{s:I, s:s, s:I, s:I}", "index", (json_int_t)i,
                                              "name", doc.name, "start", (json_int_t)doc.start,
                                              "tokens", (json_int_t)doc.length));
    }
    output_json(list);
}

static void docs_text(const TokenSource *source)
{
    printf("index\tname\ttokens\n");
    for (int64_t i = 0; i < doc_count(source); i++) {
        Document doc = doc_info(source, i);
        char *name = escape_text(doc.name, true);
        printf("%" PRId64 "\t%s\t%" PRId64 "\n", i, name == NULL ? "" : name, doc.length);
        free(name);
    }
}

static int docs_run(int argc, char **argv)
{
    const char *split = "train";
    bool json = false;
    const Option table[] = {{"split", OPTION_TEXT, &split, 0, 0},
                            {"json", OPTION_FLAG, &json, 0, 0}};
    int n = options_parse(argc, argv, table, ARRAY_LEN(table));
    if (n < 0) return EXIT_USAGE;
    if (n != 1) return options_usage(argv[0], "name one dataset folder");
    Err err;
    TokenSource *source;
    if (token_source_open(&source, argv[1], split, &err) < 0) return command_fail(argv[0], &err);
    if (json)
        docs_json(source);
    else
        docs_text(source);
    token_source_close(source);
    return output_finish(argv[0]);
}

/* --- cat -------------------------------------------------------------------------------------- */

typedef struct CatOptions {
    const char *dir, *split, *tokenizer;
    bool text;
    int64_t from, to; /* to -1: the end */
} CatOptions;

/* A decimal number, or nothing at all. */
static bool parse_position(const char *text, int64_t *out)
{
    char *end;
    if (*text == 0) return true;
    errno = 0;
    *out = strtoll(text, &end, 10);
    return errno == 0 && *end == 0 && *out >= 0;
}

/* "A:B" with either end left out. */
static bool parse_range(const char *text, CatOptions *o)
{
    char first[24];
    const char *colon = strchr(text, ':');
    size_t length = colon == NULL ? sizeof first : (size_t)(colon - text);
    if (length >= sizeof first) return false;
    memcpy(first, text, length);
    first[length] = 0;
    return parse_position(first, &o->from) && parse_position(colon + 1, &o->to);
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
static int cat_range(const TokenSource *source, const Tokenizer *tok, const CatOptions *o, Err *err)
{
    int32_t ids[BLOCK];
    int64_t length = token_source_length(source), to = o->to < 0 ? length : o->to;
    if (o->from > to || to > length)
        return err_set(err, "%s: no range %" PRId64 ":%" PRId64 "; it has %" PRId64 " tokens",
                       source->name, o->from, to, length);
    if (tok != NULL && source->vocab_size > 0 && tokenizer_vocab_size(tok) != source->vocab_size)
        return err_set(err, "%s: its vocabulary of %d is not that of the tokenizer '%s' (%d)",
                       source->name, source->vocab_size, tokenizer_name(tok),
                       tokenizer_vocab_size(tok));
    for (int64_t at = o->from; at < to && !ferror(stdout); at += BLOCK) {
        int64_t n = to - at < BLOCK ? to - at : BLOCK;
        TRY(token_source_read(source, at, n, ids, err));
        cat_block(tok, ids, n);
    }
    return 0;
}

/* The one that was named in place of the dataset's own, or that. */
static int cat_tokenizer(Tokenizer **out, TokenSource *source, const CatOptions *o, Err *err)
{
    if (o->tokenizer == NULL && source->tokenizer[0] == 0)
        return err_set(err, "%s does not say which tokenizer made it: give --tokenizer NAME",
                       source->name);
    if (o->tokenizer != NULL)
        TRY(tokenizer_open(out, o->tokenizer, err));
    else
        TRY(tokenizer_open_named(out, source->tokenizer, o->dir, err));
    token_source_declare(source, tokenizer_vocab_size(*out), tokenizer_bos(*out));
    return 0;
}

static int cat_split(const CatOptions *o, Err *err)
{
    TokenSource *source;
    Tokenizer *tok = NULL;
    TRY(token_source_open(&source, o->dir, o->split, err));
    int status = o->text || o->tokenizer ? cat_tokenizer(&tok, source, o, err) : 0;
    if (status == 0) status = cat_range(source, tok, o, err);
    tokenizer_close(tok);
    token_source_close(source);
    return status;
}

static int cat_run(int argc, char **argv)
{
    Err err;
    CatOptions o = {.split = "train", .to = -1};
    const char *range = ":";
    const Option table[] = {{"split", OPTION_TEXT, &o.split, 0, 0},
                            {"range", OPTION_TEXT, &range, 0, 0},
                            {"text", OPTION_FLAG, &o.text, 0, 0},
                            {"tokenizer", OPTION_TEXT, &o.tokenizer, 0, 0}};
    int n = options_parse(argc, argv, table, ARRAY_LEN(table));
    if (n < 0) return EXIT_USAGE;
    if (!parse_range(range, &o))
        return options_usage(argv[0], "--range %s is not A:B, two token positions", range);
    if (n != 1) return options_usage(argv[0], "name one dataset folder");
    o.dir = argv[1];
    return cat_split(&o, &err) < 0 ? command_fail(argv[0], &err) : output_finish(argv[0]);
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
    char shown[NAME_SHOWN_MAX];
    for (int i = 0; i < ARRAY_LEN(names); i++) names[i] = subcommands[i].name;
    const char *near = name_nearest(given, names, ARRAY_LEN(names));
    return options_usage("data", "'%s' is none of encode, info, check, repack, docs and cat%s%s%s",
                         name_show(shown, given), near ? " (did you mean " : "", near ? near : "",
                         near ? "?)" : "");
}

static int data_run(int argc, char **argv)
{
    char full[32];
    if (argc < 2)
        return options_usage("data", "say what: encode, info, check, repack, docs or cat");
    for (int i = 0; i < ARRAY_LEN(subcommands); i++) {
        if (strcmp(argv[1], subcommands[i].name) != 0) continue;
        snprintf(full, sizeof full, "data %s", subcommands[i].name); /* what it calls itself */
        argv[1] = full;
        return subcommands[i].run(argc - 1, argv + 1);
    }
    return unknown_subcommand(argv[1]);
}

const Command command_data = {"data", "make datasets from text, and look into them", help_text,
                              data_run};
