/* `ttt generate`: goes on from a prompt, from a memory, or from both, and learns from what it reads
 * and writes. */
#include <errno.h>
#include <math.h>
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
#include "cli/options.h"
#include "cli/session.h"
#include "cli/text_out.h"
#include "run/sampler.h"
#include "run/stats.h"

enum { BUFFER = 65536, MAX_THREADS = 4096 };

static const char help[] =
    "usage: ttt generate MODEL [options]\n"
    "\n"
    "Writes on from a prompt with the model in folder MODEL: text goes to standard output as it\n"
    "comes. A model that learns does so from the prompt and from what it writes.\n"
    "\n"
    "  --memory FILE           go on from this memory (see `ttt help read`)\n"
    "  --prompt TEXT           read this first; - is standard input\n"
    "  --max-tokens N          tokens to write (default 256)\n"
    "  --temperature X         0: always the most probable token (default 0.8)\n"
    "  --top-k N               only the N most probable; 0: all (default)\n"
    "  --top-p X               only the fewest that hold this probability (default 0.95)\n"
    "  --repetition-penalty X  log-probabilities of the last 256 tokens times X (default 1: none)\n"
    "  --seed N                same seed, same text (default 0)\n"
    "  --stop TEXT             end before this text; may be given several times\n"
    "  --learn, --no-learning  adapt the weights or leave them (default: as the model was "
    "trained)\n"
    "  --save-memory FILE      keep the state at the end as a memory\n"
    "  --stats                 speed and pauses for learning, on standard error\n"
    "  --json                  text and figures as one JSON object instead of the text\n"
    "  --threads N             0 (default): one per core\n"
    "  --compute TYPE          fp32 or bf16 (default: the model's)\n"
    "\n"
    "example:\n"
    "  ttt generate runs/demo/model --memory book.memory --prompt 'Chapter 2' --max-tokens 500\n";

typedef struct GenerateOptions {
    SessionOptions session;
    SamplerOptions sampler;
    const char *prompt, *save_memory;
    int64_t max_tokens, seed;
    TextList stops;
    bool learn, json, stats;
} GenerateOptions;

/* One of the two texts that the reader takes: the prompt and what is written. */
typedef struct Part {
    Sha256 sha;
    int64_t tokens;
    double seconds;
} Part;

typedef struct Generation {
    const GenerateOptions *o;
    Session s;
    Sampler sampler;
    TextOut out;
    float *logp;     /* (vocab_size) */
    int32_t *tokens; /* (waiting of session_slice_max) */
    size_t waiting;
    int32_t *silent; /* (n_silent) ids that stand for no text, EOS apart */
    int n_silent;
    Part prompt, written;
    double *pause; /* (n_pauses) seconds of each inner step while writing */
    int64_t n_pauses, room;
    const char *end; /* why it ended: "length", "stop", "eos", "interrupted" */
} Generation;

/* --- the prompt ---------------------------------------------------------------------------------
 */

static int prompt_feed(Generation *g, size_t n, Err *err)
{
    double start = time_now();
    TRY(session_feed(&g->s, g->tokens, n, NULL, err));
    g->prompt.seconds += time_now() - start;
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

static int prompt_read(Generation *g, Err *err)
{
    ttt_reader_info info;
    ttt_reader_describe(g->s.reader, &info);
    sha256_init(&g->prompt.sha);
    if (info.tokens == 0) { /* without a memory it is the beginning of a document */
        g->tokens[0] = tokenizer_bos(g->s.tokenizer);
        TRY(prompt_feed(g, 1, err));
    }
    if (g->o->prompt == NULL) return 0;
    if (strcmp(g->o->prompt, "-") == 0)
        TRY(prompt_take_stdin(g, err));
    else
        TRY(prompt_take(g, g->o->prompt, strlen(g->o->prompt), err));
    return prompt_finish(g, err);
}

/* --- writing ------------------------------------------------------------------------------------
 */

static void pause_add(Generation *g, double seconds)
{
    if (g->n_pauses == g->room) {
        g->room = g->room ? 2 * g->room : 256;
        double *more = mem_alloc((size_t)g->room * sizeof *more);
        if (g->n_pauses > 0) memcpy(more, g->pause, (size_t)g->n_pauses * sizeof *more);
        mem_free(g->pause);
        g->pause = more;
    }
    g->pause[g->n_pauses++] = seconds;
}

/* Feeds one written token and times the step of learning that it may complete. */
static int written_feed(Generation *g, int32_t token, Err *err)
{
    ttt_reader_info before, after;
    ttt_reader_describe(g->s.reader, &before);
    TRY(session_feed(&g->s, &token, 1, NULL, err));
    ttt_reader_describe(g->s.reader, &after);
    if (after.steps > before.steps) pause_add(g, after.last_step_seconds);
    g->written.tokens++;
    return 0;
}

/* The next token, or -1 with err set. Ids that stand for no text are left to training. */
static int32_t choose(Generation *g, Err *err)
{
    if (ttt_logprobs(g->s.reader, g->logp) < 0) return err_set(err, "%s", ttt_error(g->s.reader));
    for (int i = 0; i < g->n_silent; i++) g->logp[g->silent[i]] = -INFINITY;
    int32_t id = sampler_next(&g->sampler, g->logp);
    return id >= 0 ? id : err_set(err, "no token has any probability: the model is damaged");
}

static int write_text(Generation *g, Err *err)
{
    g->end = "length";
    sha256_init(&g->written.sha);
    double start = time_now();
    while (g->written.tokens < g->o->max_tokens && !interrupt_signal()) {
        char piece[TOKENIZER_MAX_PIECE];
        int32_t id = choose(g, err);
        TRY(id);
        if (id == tokenizer_eos(g->s.tokenizer)) {
            g->end = "eos";
            break;
        }
        sampler_note(&g->sampler, id);
        size_t n = (size_t)tokenizer_decode(g->s.tokenizer, id, piece);
        sha256_update(&g->written.sha, piece, n);
        bool stopped = text_out_push(&g->out, piece, n);
        if (ferror(g->out.to)) return err_errno(err, "cannot write to standard output");
        TRY(written_feed(g, id, err));
        if (stopped) {
            g->end = "stop";
            break;
        }
    }
    if (interrupt_signal()) g->end = "interrupted";
    g->written.seconds = time_now() - start;
    text_out_end(&g->out);
    return 0;
}

/* --- afterwards ---------------------------------------------------------------------------------
 */

static int memory_save(Generation *g, Err *err)
{
    if (g->o->save_memory == NULL) return 0;
    ttt_source parts[2] = {{.name = "(prompt)", .tokens = g->prompt.tokens},
                           {.name = "(generated)", .tokens = g->written.tokens}};
    sha256_hex(&g->prompt.sha, parts[0].sha256);
    sha256_hex(&g->written.sha, parts[1].sha256);
    int first = g->prompt.tokens == 0, n = 2 - first - (g->written.tokens == 0);
    if (ttt_reader_save(g->s.reader, g->o->save_memory, parts + first, n) < 0)
        return err_set(err, "%s", ttt_error(g->s.reader));
    return 0;
}

static double rate(const Part *p)
{
    return (double)p->tokens / p->seconds;
}

static void stats_print(Generation *g)
{
    log_info("prompt: %lld tokens, %.0f tokens/s", (long long)g->prompt.tokens, rate(&g->prompt));
    log_info("written: %lld tokens, %.0f tokens/s, end: %s", (long long)g->written.tokens,
             rate(&g->written), g->end);
    int64_t n = g->n_pauses;
    if (n == 0)
        log_info("pauses for learning: none");
    else
        log_info("pauses for learning: %lld, median %.1f ms, p99 %.1f ms, worst %.1f ms",
                 (long long)n, 1e3 * quantile(g->pause, n, 0.5), 1e3 * quantile(g->pause, n, 0.99),
                 1e3 * quantile(g->pause, n, 1));
}

static void json_print(Generation *g, const char *text, size_t size)
{
    size_t repaired;
    char *utf8 = utf8_repair(text, size, &repaired);
    ttt_reader_info info;
    ttt_reader_describe(g->s.reader, &info);
    json_t *root = json_object();
    json_object_set_new(root, "text", json_stringn(utf8, repaired));
    json_object_set_new(root, "end", json_string(g->end));
    json_object_set_new(root, "tokens", json_integer(g->written.tokens));
    json_object_set_new(root, "tokens_per_second", json_number(rate(&g->written)));
    json_object_set_new(root, "prompt_tokens", json_integer(g->prompt.tokens));
    json_object_set_new(root, "prompt_tokens_per_second", json_number(rate(&g->prompt)));
    json_object_set_new(root, "learning", json_boolean(info.learning));
    json_object_set_new(root, "pauses", json_integer(g->n_pauses));
    json_object_set_new(root, "pause_median", json_number(quantile(g->pause, g->n_pauses, 0.5)));
    json_object_set_new(root, "pause_p99", json_number(quantile(g->pause, g->n_pauses, 0.99)));
    json_object_set_new(root, "pause_worst", json_number(quantile(g->pause, g->n_pauses, 1)));
    json_object_set_new(root, "seed", json_integer(g->o->seed));
    output_json(root);
    mem_free(utf8);
}

/* --- the command --------------------------------------------------------------------------------
 */

static void silent_find(Generation *g)
{
    const Tokenizer *tok = g->s.tokenizer;
    char piece[TOKENIZER_MAX_PIECE];
    g->silent = mem_alloc((size_t)g->s.info.vocab_size * sizeof *g->silent);
    for (int32_t id = 0; id < (int32_t)g->s.info.vocab_size; id++) {
        bool text = id < tokenizer_vocab_size(tok) && tokenizer_decode(tok, id, piece) > 0;
        if (!text && id != tokenizer_eos(tok)) g->silent[g->n_silent++] = id;
    }
}

static int generation_open(Generation *g, const GenerateOptions *o, Err *err)
{
    g->o = o;
    if (o->save_memory) TRY(memory_target_check(o->save_memory, err));
    TRY(session_open(&g->s, &o->session, err));
    if (o->learn && ttt_reader_learning(g->s.reader, true) < 0)
        return err_set(err, "%s", ttt_error(g->s.reader));
    size_t vocab = (size_t)g->s.info.vocab_size;
    sampler_init(&g->sampler, &o->sampler, (int32_t)vocab, (uint64_t)o->seed);
    g->logp = mem_alloc(vocab * sizeof *g->logp);
    g->tokens = mem_alloc(session_slice_max(&g->s) * sizeof *g->tokens);
    silent_find(g);
    return 0;
}

static void generation_close(Generation *g)
{
    sampler_free(&g->sampler);
    session_close(&g->s);
    mem_free(g->logp);
    mem_free(g->tokens);
    mem_free(g->silent);
    mem_free(g->pause);
    mem_free(g);
}

static int generate_steps(Generation *g, const GenerateOptions *o, FILE *to, Err *err)
{
    TRY(generation_open(g, o, err));
    text_out_init(&g->out, to, &o->stops);
    TRY(prompt_read(g, err));
    TRY(write_text(g, err));
    return memory_save(g, err);
}

static int generate_run(const GenerateOptions *o)
{
    Err err;
    char *text = NULL;
    size_t size = 0;
    Generation *g = mem_alloc(sizeof *g);
    interrupt_catch();
    FILE *to = o->json ? open_memstream(&text, &size) : stdout;
    CHECK(to != NULL, "no memory for the text");
    int status = generate_steps(g, o, to, &err);
    if (o->json) fclose(to);
    if (!o->json && g->out.written > 0 && isatty(STDOUT_FILENO)) putchar('\n');
    if (status == 0 && o->stats) stats_print(g);
    if (status == 0 && o->json) json_print(g, text, size);
    int code = status < 0 ? command_fail("generate", &err) : output_finish("generate");
    if (code == EXIT_DONE && interrupt_signal()) code = interrupt_status();
    generation_close(g);
    free(text);
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
        {"threads", OPTION_INT, &o.session.threads, 0, MAX_THREADS},
        {"compute", OPTION_TEXT, &o.session.compute, 0, 0},
    };
    int n = options_parse(argc, argv, table, ARRAY_LEN(table));
    if (n < 0) return EXIT_USAGE;
    if (n != 1) return options_usage("generate", "give one model folder");
    if (o.learn && o.session.no_learning)
        return options_usage("generate", "--learn and --no-learning exclude each other");
    for (int i = 0; i < o.stops.n; i++)
        if (strlen(o.stops.item[i]) > STOP_MAX)
            return options_usage("generate", "a --stop text is longer than %d bytes", STOP_MAX);
    if (!session_options_ok("generate", &o.session)) return EXIT_USAGE;
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
