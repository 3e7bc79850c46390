/* `ttt tokenize`: text to ids and back, what a tokenizer is, and training one. */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/file.h"
#include "base/log.h"
#include "base/mem.h"
#include "cli/command.h"
#include "cli/interrupt.h"
#include "cli/options.h"
#include "cli/output.h"
#include "data/bpe_train.h"
#include "data/token_stream.h"

enum { BUFFER = 1 << 16 };

static const char help[] =
    "usage: ttt tokenize --tokenizer FILE [--ids] [--special] [--bos] < TEXT\n"
    "       ttt tokenize --tokenizer FILE --count < TEXT\n"
    "       ttt tokenize --tokenizer FILE --decode < IDS\n"
    "       ttt tokenize --tokenizer FILE --info [--json]\n"
    "       ttt tokenize --train FILES... --vocab N --out tokenizer.json\n"
    "\n"
    "Prints the token ids of a text, one a line; or turns ids back into bytes; or trains a\n"
    "tokenizer. The text is any bytes.\n"
    "\n"
    "  --tokenizer FILE  bytes, a ranks file (Llama 3's tokenizer.model), a tokenizer.json, or a\n"
    "                    folder with one of them, such as a model or a data set\n"
    "  --special         names of special tokens in the text stand for the tokens\n"
    "  --bos             the first id is BOS\n"
    "  --count           only how many ids there are\n"
    "  --decode          ids, separated by white space, to the text; special ones to their names\n"
    "  --info            vocabulary, BOS, EOS and the name that data sets keep\n"
    "  --train           train on files, and all files of folders\n"
    "  --vocab N         ids in all (default 8192): 256 bytes, merges, BOS and EOS\n"
    "  --pattern NAME    how text is split: llama3 (default), gpt2, cl100k, qwen2, o200k\n"
    "  --ext .txt,.py    of the files in folders, only these\n"
    "  --out FILE        the tokenizer.json to write\n"
    "\n"
    "example:\n"
    "  ttt tokenize --train novels --vocab 8192 --out tokenizer.json\n"
    "  echo 'Call me Ishmael.' | ttt tokenize --tokenizer tokenizer.json --ids |\n"
    "      ttt tokenize --tokenizer tokenizer.json --decode\n";

typedef struct TokenizeOptions {
    const char *tokenizer, *out, *pattern;
    TextList extensions;
    bool ids, special, bos, count, decode, info, train, json;
    int64_t vocab;
    char **files;
    int n_files;
} TokenizeOptions;

/* --- text to ids --------------------------------------------------------------------------------
 */

typedef struct IdOutput {
    bool count_only;
    int64_t n;
    size_t used;
    char text[1 << 14];
} IdOutput;

static void ids_flush(IdOutput *o)
{
    fwrite(o->text, 1, o->used, stdout);
    o->used = 0;
}

static void ids_put(IdOutput *o, const int32_t *ids, int64_t n)
{
    enum { LONGEST = 12 }; /* digits and the line end */
    o->n += n;
    for (int64_t i = 0; i < n && !o->count_only; i++) {
        char digits[LONGEST];
        int first = LONGEST;
        uint32_t id = (uint32_t)ids[i];
        digits[--first] = '\n';
        do digits[--first] = (char)('0' + id % 10);
        while ((id /= 10) > 0);
        if (o->used + LONGEST > sizeof o->text) ids_flush(o);
        memcpy(o->text + o->used, digits + first, (size_t)(LONGEST - first));
        o->used += (size_t)(LONGEST - first);
    }
}

/* Bytes of standard input into the buffer, 0 at the end, -1 with err. */
static ssize_t input_read(char *buffer, size_t size, Err *err)
{
    ssize_t n;
    do n = read(STDIN_FILENO, buffer, size);
    while (n < 0 && errno == EINTR && !interrupt_signal());
    if (n < 0 && interrupt_signal()) return 0;
    return n < 0 ? file_error(err, "read", "standard input") : n;
}

static int encode_input(TokenStream *stream, char *buffer, IdOutput *out, Err *err)
{
    const int32_t *ids;
    int64_t settled;
    for (ssize_t n; (n = input_read(buffer, BUFFER, err)) != 0;) {
        if (n < 0 || (settled = token_stream_push(stream, buffer, (size_t)n, &ids, err)) < 0)
            return -1;
        ids_put(out, ids, settled);
        if (ferror(stdout) || interrupt_signal()) return 0; /* told at the end */
    }
    if ((settled = token_stream_end(stream, &ids, err)) < 0) return -1;
    ids_put(out, ids, settled);
    return 0;
}

static int encode(const Tokenizer *tok, const TokenizeOptions *o, Err *err)
{
    IdOutput *out = mem_alloc(sizeof *out);
    char *buffer = mem_alloc(BUFFER);
    TokenStream *stream = token_stream_new(tok, o->special);
    out->count_only = o->count;
    int status = o->bos ? tokenizer_check_bos(tok, err) : 0;
    int32_t bos = tokenizer_bos(tok);
    if (o->bos && status == 0) ids_put(out, &bos, 1);
    if (status == 0) status = encode_input(stream, buffer, out, err);
    ids_flush(out);
    if (o->count && status == 0) printf("%lld\n", (long long)out->n);
    token_stream_free(stream);
    mem_free(buffer);
    mem_free(out);
    return status;
}

/* --- ids to text --------------------------------------------------------------------------------
 */

static bool is_space(char c)
{
    return c == ' ' || (c >= '\t' && c <= '\r');
}

/* A number that may go on in the next buffer: digits so far, -1 between numbers. */
static int id_digit(int64_t *id, char c, const Tokenizer *tok, Err *err)
{
    if (c < '0' || c > '9') {
        char shown[] = {c > ' ' && c < 0x7f ? c : '?', 0};
        return err_set(err, "'%s' is no id: --decode takes numbers separated by white space",
                       shown);
    }
    *id = (*id < 0 ? 0 : 10 * *id) + (c - '0');
    if (*id < tokenizer_vocab_size(tok)) return 0;
    return err_set(err, "the id %lld%s is outside the tokenizer's vocabulary of %d", (long long)*id,
                   *id > 1000000000 ? "..." : "", tokenizer_vocab_size(tok));
}

static void id_write(const Tokenizer *tok, int64_t *id)
{
    char piece[TOKENIZER_MAX_PIECE];
    if (*id < 0) return;
    fwrite(piece, 1, (size_t)tokenizer_spell(tok, (int32_t)*id, piece), stdout);
    *id = -1;
}

static int decode_input(const Tokenizer *tok, char *buffer, Err *err)
{
    int64_t id = -1;
    for (ssize_t n; (n = input_read(buffer, BUFFER, err)) != 0;) {
        if (n < 0) return -1;
        for (ssize_t i = 0; i < n; i++) {
            if (is_space(buffer[i]))
                id_write(tok, &id);
            else
                TRY(id_digit(&id, buffer[i], tok, err));
        }
        fflush(stdout); /* whoever waits for the text of a stream gets it */
        if (ferror(stdout) || interrupt_signal()) return 0;
    }
    id_write(tok, &id);
    return 0;
}

static int decode(const Tokenizer *tok, Err *err)
{
    char *buffer = mem_alloc(BUFFER);
    int status = decode_input(tok, buffer, err);
    mem_free(buffer);
    return status;
}

/* --- what it is ---------------------------------------------------------------------------------
 */

static void info(const Tokenizer *tok, bool json)
{
    if (json) {
        output_json(json_pack("{s:s, s:i, s:i, s:i}", "name", tokenizer_name(tok), "vocab_size",
                              tokenizer_vocab_size(tok), "bos", tokenizer_bos(tok), "eos",
                              tokenizer_eos(tok)));
        return;
    }
    printf("name        %s\n", tokenizer_name(tok));
    printf("vocabulary  %d\n", tokenizer_vocab_size(tok));
    printf("BOS         %d\n", tokenizer_bos(tok));
    printf("EOS         %d\n", tokenizer_eos(tok));
}

static int use(const TokenizeOptions *o)
{
    Err err;
    Tokenizer *tok;
    if (tokenizer_open(&tok, o->tokenizer, &err) < 0) return command_fail("tokenize", &err);
    int status = 0;
    if (o->info)
        info(tok, o->json);
    else
        status = o->decode ? decode(tok, &err) : encode(tok, o, &err);
    tokenizer_close(tok);
    int written = output_finish("tokenize");
    if (status < 0) return command_fail("tokenize", &err);
    return interrupt_signal() ? interrupt_status() : written;
}

/* --- training -----------------------------------------------------------------------------------
 */

static int train(const TokenizeOptions *o)
{
    Err err;
    TrainerReport report;
    TrainerOptions t = {.paths = (const char *const *)o->files,
                        .n_paths = o->n_files,
                        .extensions = o->extensions.item,
                        .n_extensions = o->extensions.n,
                        .pattern = o->pattern,
                        .out = o->out,
                        .vocab_size = (int32_t)o->vocab,
                        .stop = interrupt_flag()};
    if (bpe_train(&t, &report, &err) < 0) return interrupt_fail("tokenize", &err);
    if (report.vocab_size < t.vocab_size)
        log_info("ttt tokenize: the text has pairs for %d tokens only, not for %d",
                 report.vocab_size, t.vocab_size);
    log_info("ttt tokenize: %s: %d tokens from %lld files, %lld bytes", o->out, report.vocab_size,
             (long long)report.files, (long long)report.bytes);
    return EXIT_DONE;
}

static int run(int argc, char **argv)
{
    TokenizeOptions o = {.pattern = "llama3", .vocab = 8192};
    const Option table[] = {
        {"tokenizer", OPTION_TEXT, &o.tokenizer, 0, 0},
        {"ids", OPTION_FLAG, &o.ids, 0, 0},
        {"special", OPTION_FLAG, &o.special, 0, 0},
        {"bos", OPTION_FLAG, &o.bos, 0, 0},
        {"count", OPTION_FLAG, &o.count, 0, 0},
        {"decode", OPTION_FLAG, &o.decode, 0, 0},
        {"info", OPTION_FLAG, &o.info, 0, 0},
        {"json", OPTION_FLAG, &o.json, 0, 0},
        {"train", OPTION_FLAG, &o.train, 0, 0},
        {"vocab", OPTION_INT, &o.vocab, TRAIN_MIN_VOCAB, 1 << 20},
        {"pattern", OPTION_TEXT, &o.pattern, 0, 0},
        {"ext", OPTION_PARTS, &o.extensions, 0, 0},
        {"out", OPTION_TEXT, &o.out, 0, 0},
    };
    int n = options_parse(argc, argv, table, ARRAY_LEN(table));
    if (n < 0) return EXIT_USAGE;
    if (o.ids + o.count + o.decode + o.info + o.train > 1)
        return options_usage("tokenize", "one of --ids, --count, --decode, --info, --train");
    interrupt_catch();
    if (!o.train) {
        if (o.tokenizer == NULL)
            return options_usage("tokenize", "--tokenizer FILE or --train is missing");
        if (n > 0) return options_usage("tokenize", "the text comes from standard input");
        return use(&o);
    }
    if (n == 0 || o.out == NULL)
        return options_usage("tokenize", "--train needs texts and --out FILE");
    o.files = argv + 1;
    o.n_files = n;
    return train(&o);
}

const Command command_tokenize = {
    .name = "tokenize",
    .summary = "text to token ids and back; train a tokenizer",
    .help = help,
    .run = run,
};
