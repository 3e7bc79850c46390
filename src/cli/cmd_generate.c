/* `ttt generate`: goes on from a prompt, from a memory, or from both, and learns from what it reads
 * and writes; one text or several side by side. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/file.h"
#include "base/jsonl.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/sha256.h"
#include "base/utf8.h"
#include "cli/command.h"
#include "cli/interrupt.h"
#include "cli/options.h"
#include "cli/output.h"
#include "cli/session.h"
#include "cli/streams.h"
#include "run/sampler.h"
#include "run/stats.h"

enum { BUFFER = 65536, BATCH_MAX = 1024 };

static const char help[] =
    "usage: ttt generate MODEL [options]\n"
    "\n"
    "Writes on from a prompt with the model in folder MODEL: text goes to standard output as it\n"
    "comes. A model that learns does so from the prompt and from what it writes.\n"
    "\n"
    "  --memory FILE           go on from this memory (see `ttt help read`)\n"
    "  --prompt TEXT           read this first; - is standard input\n"
    "  --prompts FILE          several texts: each line of FILE is a prompt\n"
    "  --batch N               N texts from the prompt, or from each; each with its own seed.\n"
    "                          Texts are written side by side, so that weights are read once\n"
    "                          for all, and shown one after the other\n"
    "  --max-tokens N          tokens to write (default 256)\n"
    "  --temperature X         0: always the most probable token (default 0.8)\n"
    "  --top-k N               only the N most probable; 0: all (default)\n"
    "  --top-p X               only the fewest that hold this probability (default 0.95)\n"
    "  --repetition-penalty X  log-probabilities of the last 256 tokens times X (default 1: none)\n"
    "  --seed N                same seed, same text (default 0); of several texts, the first "
    "one's\n"
    "  --stop TEXT             end before this text; may be given several times\n"
    "  --learn, --no-learning  adapt the weights or leave them (default: as the model was "
    "trained)\n"
    "  --save-memory FILE      keep the state at the end as a memory\n"
    "  --stats                 speed and pauses for learning, on standard error\n"
    "  --json                  text and figures as one JSON object instead of the text\n"
    "  --threads N             0 (default): one per physical core\n"
    "  --device NAME           cpu (default), or cuda or cuda:N for a GPU\n"
    "  --compute TYPE          fp32 or bf16 (default: the model's)\n"
    "\n"
    "example:\n"
    "  ttt generate runs/demo/model --memory book.memory --prompt 'Chapter 2' --max-tokens 500\n";

typedef struct GenerateOptions {
    SessionOptions session;
    SamplerOptions sampler;
    const char *prompt, *prompts, *save_memory;
    int64_t max_tokens, seed, batch; /* batch 0: one text, shown as it comes */
    TextList stops;
    bool learn, json, stats;
} GenerateOptions;

typedef struct Prompt {
    Sha256 sha;
    int64_t tokens; /* read */
} Prompt;

typedef struct Generation {
    const GenerateOptions *o;
    Session s; /* its reader has read no prompt, until the last one */
    Streams streams;
    Sampler sampler; /* of the prompt at hand: its window is where each text's begins */
    int32_t *tokens; /* (waiting of session_slice_max) */
    size_t waiting;
    Prompt prompt; /* at hand, in the end the last one */
    int64_t prompt_tokens;
    double prompt_seconds; /* of all */
    TextList prompts;      /* lines of the file */
} Generation;

/* --- the prompts --------------------------------------------------------------------------------
 */

static int prompt_feed(Generation *g, size_t n, Err *err)
{
    double start = time_now();
    TRY(session_feed(&g->s, g->tokens, n, NULL, err));
    g->prompt_seconds += time_now() - start;
    g->prompt_tokens += (int64_t)n;
    g->prompt.tokens += (int64_t)n;
    for (size_t i = 0; i < n; i++) sampler_note(&g->sampler, g->tokens[i]);
    return 0;
}

/* Tokens of the prompt; those that wait fill a slice, or it is the end. */
static int prompt_ids(Generation *g, const int32_t *ids, int64_t n, bool end, Err *err)
{
    for (int64_t i = 0; i < n; i++) {
        g->tokens[g->waiting++] = ids[i];
        if (g->waiting < session_slice(&g->s)) continue;
        TRY(prompt_feed(g, g->waiting, err));
        g->waiting = 0;
    }
    if (end && g->waiting > 0) TRY(prompt_feed(g, g->waiting, err));
    if (end) g->waiting = 0;
    return 0;
}

static int prompt_take(Generation *g, const char *bytes, size_t n, Err *err)
{
    enum { PART = 2048 };
    const int32_t *ids;
    sha256_update(&g->prompt.sha, bytes, n);
    for (size_t used = 0, m; used < n && !interrupt_signal(); used += m) {
        m = n - used < PART ? n - used : PART;
        int64_t k = token_stream_push(g->s.stream, bytes + used, m, &ids, err);
        if (k < 0) return -1;
        TRY(prompt_ids(g, ids, k, false, err));
    }
    return 0;
}

static int prompt_finish(Generation *g, Err *err)
{
    const int32_t *ids;
    int64_t k = token_stream_end(g->s.stream, &ids, err);
    return k < 0 ? -1 : prompt_ids(g, ids, k, true, err);
}

static int prompt_take_stdin(Generation *g, Err *err)
{
    char *buffer = mem_alloc(BUFFER);
    int status = 0;
    while (status == 0 && !interrupt_signal()) {
        size_t n = fread(buffer, 1, BUFFER, stdin);
        if (n == 0) break;
        status = prompt_take(g, buffer, n, err);
    }
    mem_free(buffer);
    TRY(status);
    if (ferror(stdin) && !interrupt_signal()) return file_error(err, "read", "standard input");
    return 0;
}

/* text: "-" is standard input where `plain` is not set; NULL: none. */
static int prompt_read(Generation *g, const char *text, bool plain, Err *err)
{
    ttt_reader_info info;
    ttt_reader_describe(g->s.reader, &info);
    g->prompt = (Prompt){0};
    sha256_init(&g->prompt.sha);
    sampler_clear(&g->sampler);
    if (info.tokens == 0) { /* without a memory it is the beginning of a document */
        g->tokens[0] = tokenizer_bos(g->s.tokenizer);
        TRY(prompt_feed(g, 1, err));
    }
    if (text == NULL) return 0;
    if (!plain && strcmp(text, "-") == 0)
        TRY(prompt_take_stdin(g, err));
    else
        TRY(prompt_take(g, text, strlen(text), err));
    return prompt_finish(g, err);
}

static int reader_copy(ttt_reader **out, const ttt_reader *r, Err *err)
{
    return ttt_reader_clone(out, r, err->text);
}

/* Hands the session's reader, which has read prompt p, to the last of its texts, and copies of it
 * to the others. */
static int texts_begin(Generation *g, int p, int per_prompt, Err *err)
{
    const GenerateOptions *o = g->o;
    bool live = !o->json && g->streams.n == 1 && o->batch == 0 && !o->prompts;
    for (int k = 0; k < per_prompt; k++) {
        int i = p * per_prompt + k;
        ttt_reader *reader = g->s.reader;
        if (k + 1 < per_prompt)
            TRY(reader_copy(&reader, g->s.reader, err));
        else
            g->s.reader = NULL;
        stream_begin(&g->streams, i, reader, &o->sampler, o->seed + i, &o->stops, live);
        sampler_note_as(&g->streams.stream[i].sampler, &g->sampler);
        g->streams.stream[i].prompt = g->prompt.tokens;
    }
    return 0;
}

static int prompts_read(Generation *g, Err *err)
{
    int n = g->o->prompts ? g->prompts.n : 1, per = g->streams.n / n;
    for (int p = 0; p < n; p++) {
        ttt_reader *unread = NULL;
        if (p + 1 < n) TRY(reader_copy(&unread, g->s.reader, err));
        int status = prompt_read(g, g->o->prompts ? g->prompts.item[p] : g->o->prompt,
                                 g->o->prompts != NULL, err);
        if (status == 0) status = texts_begin(g, p, per, err);
        if (g->s.reader) ttt_reader_free(g->s.reader);
        g->s.reader = unread;
        TRY(status);
    }
    return 0;
}

/* The lines of the file that are not empty. */
static int prompts_load(Generation *g, Err *err)
{
    FILE *f = fopen(g->o->prompts, "r");
    if (!f) return file_error(err, "open", g->o->prompts);
    char *line = NULL;
    size_t room = 0;
    ssize_t size;
    int status = 0;
    while (status == 0 && (size = getline(&line, &room, f)) > 0) {
        if (line[size - 1] == '\n') line[--size] = 0;
        if (size == 0) continue;
        if (g->prompts.n == TEXT_LIST_MAX)
            status = err_set(err, "%s holds more than %d prompts: split it", g->o->prompts,
                             TEXT_LIST_MAX);
        else
            g->prompts.item[g->prompts.n++] = strdup(line);
    }
    if (status == 0 && ferror(f)) status = file_error(err, "read", g->o->prompts);
    free(line);
    fclose(f);
    TRY(status);
    if (g->prompts.n == 0)
        return err_set(err, "%s holds no prompt: write one on each line", g->o->prompts);
    return 0;
}

/* --- afterwards ---------------------------------------------------------------------------------
 */

static int memory_save(Generation *g, Err *err)
{
    if (g->o->save_memory == NULL) return 0;
    Stream *t = &g->streams.stream[0];
    ttt_source parts[2] = {{.name = "(prompt)", .tokens = g->prompt.tokens},
                           {.name = "(generated)", .tokens = t->tokens}};
    sha256_hex(&g->prompt.sha, parts[0].sha256);
    sha256_hex(&t->sha, parts[1].sha256);
    int first = g->prompt.tokens == 0, n = 2 - first - (t->tokens == 0);
    if (ttt_reader_save(t->reader, g->o->save_memory, parts + first, n) < 0)
        return err_set(err, "%s", ttt_error(t->reader));
    return 0;
}

static double rate(int64_t tokens, double seconds)
{
    return (double)tokens / seconds;
}

static void stats_print(Generation *g)
{
    Streams *all = &g->streams;
    int64_t n = all->n_pauses, written = streams_tokens(all);
    log_info("prompt: %lld tokens, %.0f tokens/s", (long long)g->prompt_tokens,
             rate(g->prompt_tokens, g->prompt_seconds));
    if (all->n == 1)
        log_info("written: %lld tokens, %.0f tokens/s, end: %s", (long long)written,
                 rate(written, all->seconds), all->stream[0].end);
    else
        log_info("written: %lld tokens in %d texts, %.0f tokens/s in all", (long long)written,
                 all->n, rate(written, all->seconds));
    if (n == 0)
        log_info("pauses for learning: none");
    else
        log_info("pauses for learning: %lld, median %.1f ms, p99 %.1f ms, worst %.1f ms",
                 (long long)n, 1e3 * quantile(all->pause, n, 0.5),
                 1e3 * quantile(all->pause, n, 0.99), 1e3 * quantile(all->pause, n, 1));
}

/* What is known of one text. */
static void text_json(const Stream *t, json_t *to)
{
    size_t repaired;
    char *utf8 = utf8_repair(t->text, t->size, &repaired);
    json_object_set_new(to, "text", json_stringn(utf8, repaired));
    json_object_set_new(to, "end", json_string(t->end));
    json_object_set_new(to, "tokens", json_integer(t->tokens));
    mem_free(utf8);
}

static json_t *texts_json(const Generation *g)
{
    json_t *list = json_array();
    for (int i = 0; i < g->streams.n; i++) {
        const Stream *t = &g->streams.stream[i];
        json_t *text = json_object();
        text_json(t, text);
        json_object_set_new(text, "prompt_tokens", json_integer(t->prompt));
        json_object_set_new(text, "seed", json_integer(t->seed));
        json_array_append_new(list, text);
    }
    return list;
}

static void json_print(Generation *g)
{
    Streams *all = &g->streams;
    ttt_reader_info info;
    ttt_reader_describe(all->stream[0].reader, &info);
    json_t *root = json_object();
    if (g->o->batch || g->o->prompts) {
        json_object_set_new(root, "texts", texts_json(g));
        json_object_set_new(root, "tokens", json_integer(streams_tokens(all)));
    } else {
        text_json(&all->stream[0], root);
    }
    json_object_set_new(root, "tokens_per_second",
                        json_number(rate(streams_tokens(all), all->seconds)));
    json_object_set_new(root, "prompt_tokens", json_integer(g->prompt_tokens));
    json_object_set_new(root, "prompt_tokens_per_second",
                        json_number(rate(g->prompt_tokens, g->prompt_seconds)));
    json_object_set_new(root, "learning", json_boolean(info.learning));
    json_object_set_new(root, "pauses", json_integer(all->n_pauses));
    json_object_set_new(root, "pause_median",
                        json_number(quantile(all->pause, all->n_pauses, 0.5)));
    json_object_set_new(root, "pause_p99", json_number(quantile(all->pause, all->n_pauses, 0.99)));
    json_object_set_new(root, "pause_worst", json_number(quantile(all->pause, all->n_pauses, 1)));
    json_object_set_new(root, "seed", json_integer(g->o->seed));
    output_json(root);
}

/* Texts that were written side by side, one after the other. */
static void texts_print(const Generation *g)
{
    for (int i = 0; i < g->streams.n; i++) {
        const Stream *t = &g->streams.stream[i];
        printf("--- %d of %d, seed %lld, %lld tokens, end: %s\n", i + 1, g->streams.n,
               (long long)t->seed, (long long)t->tokens, t->end);
        fwrite(t->text, 1, t->size, stdout);
        putchar('\n');
    }
}

/* --- the command --------------------------------------------------------------------------------
 */

static int generation_open(Generation *g, const GenerateOptions *o, Err *err)
{
    g->o = o;
    if (o->save_memory) TRY(memory_target_check(o->save_memory, err));
    if (o->prompts) TRY(prompts_load(g, err));
    TRY(session_open(&g->s, &o->session, err));
    if (o->learn && ttt_reader_learning(g->s.reader, true) < 0)
        return err_set(err, "%s", ttt_error(g->s.reader));
    sampler_init(&g->sampler, &o->sampler, (int32_t)g->s.info.vocab_size, (uint64_t)o->seed);
    g->tokens = mem_alloc(session_slice_max(&g->s) * sizeof *g->tokens);
    streams_open(&g->streams, &g->s,
                 (int)((o->batch ? o->batch : 1) * (o->prompts ? g->prompts.n : 1)));
    return 0;
}

static void generation_close(Generation *g)
{
    streams_close(&g->streams);
    if (g->tokens) sampler_free(&g->sampler);
    session_close(&g->s);
    mem_free(g->tokens);
    for (int i = 0; i < g->prompts.n; i++) free((void *)(uintptr_t)g->prompts.item[i]);
    mem_free(g);
}

static int generate_steps(Generation *g, const GenerateOptions *o, Err *err)
{
    TRY(generation_open(g, o, err));
    TRY(prompts_read(g, err));
    TRY(streams_write(&g->streams, o->max_tokens, err));
    return memory_save(g, err);
}

static int generate_run(const GenerateOptions *o)
{
    Err err;
    Generation *g = mem_alloc(sizeof *g);
    interrupt_catch();
    int status = generate_steps(g, o, &err);
    const Stream *first = status == 0 ? &g->streams.stream[0] : NULL;
    bool live = first && first->to == stdout;
    if (live && first->out.written > 0 && isatty(STDOUT_FILENO)) putchar('\n');
    if (status == 0 && o->stats) stats_print(g);
    if (status == 0 && o->json)
        json_print(g);
    else if (status == 0 && !live)
        texts_print(g);
    int code = status < 0 ? command_fail("generate", &err) : output_finish("generate");
    if (code == EXIT_DONE && interrupt_signal()) code = interrupt_status();
    generation_close(g);
    return code;
}

static int run(int argc, char **argv)
{
    GenerateOptions o = {
        .max_tokens = 256,
        .sampler = {.temperature = 0.8, .top_p = 0.95, .repetition_penalty = 1},
    };
    int64_t top_k = 0;
    const Option table[] = {
        {"memory", OPTION_TEXT, &o.session.memory, 0, 0},
        {"prompt", OPTION_TEXT, &o.prompt, 0, 0},
        {"prompts", OPTION_TEXT, &o.prompts, 0, 0},
        {"batch", OPTION_INT, &o.batch, 1, BATCH_MAX},
        {"max-tokens", OPTION_INT, &o.max_tokens, 0, 1e15},
        {"temperature", OPTION_REAL, &o.sampler.temperature, 0, 1000},
        {"top-k", OPTION_INT, &top_k, 0, INT32_MAX},
        {"top-p", OPTION_REAL, &o.sampler.top_p, 0, 1},
        {"repetition-penalty", OPTION_REAL, &o.sampler.repetition_penalty, 0.01, 100},
        {"seed", OPTION_INT, &o.seed, 0, 1e15},
        {"stop", OPTION_LIST, &o.stops, 0, 0},
        {"learn", OPTION_FLAG, &o.learn, 0, 0},
        {"no-learning", OPTION_FLAG, &o.session.no_learning, 0, 0},
        {"save-memory", OPTION_TEXT, &o.save_memory, 0, 0},
        {"stats", OPTION_FLAG, &o.stats, 0, 0},
        {"json", OPTION_FLAG, &o.json, 0, 0},
        {"threads", OPTION_INT, &o.session.threads, 0, THREADS_MAX},
        {"device", OPTION_TEXT, &o.session.device, 0, 0},
        {"compute", OPTION_TEXT, &o.session.compute, 0, 0},
    };
    int n = options_parse(argc, argv, table, ARRAY_LEN(table));
    if (n < 0) return EXIT_USAGE;
    if (n != 1) return options_usage("generate", "give one model folder");
    if (o.learn && o.session.no_learning)
        return options_usage("generate", "--learn and --no-learning exclude each other");
    if (o.prompt && o.prompts)
        return options_usage("generate", "--prompt and --prompts exclude each other");
    if (o.save_memory && (o.batch > 1 || o.prompts))
        return options_usage("generate", "--save-memory is for one text");
    for (int i = 0; i < o.stops.n; i++)
        if (strlen(o.stops.item[i]) > STOP_MAX)
            return options_usage("generate", "a --stop text is longer than %d bytes", STOP_MAX);
    if (!options_compute_ok("generate", o.session.compute)) return EXIT_USAGE;
    o.session.model = argv[1];
    o.sampler.top_k = (int32_t)top_k;
    return generate_run(&o);
}

const Command command_generate = {
    .name = "generate",
    .summary = "write on from a prompt or a memory, learning from it",
    .help = help,
    .run = run,
};
