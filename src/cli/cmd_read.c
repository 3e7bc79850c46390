/* `ttt read`: reads texts of any length in constant memory, learning as it goes, and keeps what was
 * learned as a memory file. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/file.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/names.h"
#include "base/progress.h"
#include "base/sha256.h"
#include "cli/command.h"
#include "cli/interrupt.h"
#include "cli/options.h"
#include "cli/output.h"
#include "cli/read_report.h"
#include "cli/session.h"

enum { BUFFER = 65536 };

static const char help[] =
    "usage: ttt read MODEL FILE... --memory MEMORY [options]\n"
    "\n"
    "Reads texts with the model in folder MODEL, which learns from them as it reads, and saves "
    "what\n"
    "it learned in the file MEMORY. A memory that exists is gone on from. Texts may have any "
    "length:\n"
    "neither the memory in use nor the file grows with it. FILE - is standard input.\n"
    "\n"
    "  --memory FILE     the memory: gone on from when it exists, written at the end\n"
    "  --from FILE       go on from this memory instead and leave it as it is\n"
    "  --fresh           begin with nothing read, even when --memory exists\n"
    "  --save-every N    write the memory after each N tokens too\n"
    "  --no-learning     only score; --memory may be left out\n"
    "  --threads N       0 (default): one per physical core\n"
    "  --device NAME     cpu (default), or cuda or cuda:N for a GPU\n"
    "  --compute TYPE    fp32 or bf16 (default: the model's)\n"
    "  --json            the report as one JSON object\n"
    "\n"
    "Ctrl-C and SIGTERM save what was read so far and end with status 130 or 143.\n"
    "\n"
    "example:\n"
    "  ttt read runs/demo/model book.txt --memory book.memory\n"
    "  ttt generate runs/demo/model --memory book.memory --prompt 'Chapter 2'\n";

typedef struct ReadOptions {
    SessionOptions session;
    const char *memory, *from;
    bool fresh, json;
    int64_t save_every;
    char **files; /* (n_files) */
    int n_files;
} ReadOptions;

/* A file as it was last seen; zero where there was none. */
typedef struct Seen {
    ino_t number;
    struct timespec written;
} Seen;

typedef struct Reading {
    const ReadOptions *o;
    Seen memory;
    Session s;
    ttt_reader_info before;
    TextRead *texts; /* (n_texts of o->n_files) */
    int n_texts;
    Sha256 sha; /* of the last text so far */
    LossCurve curve;
    Progress progress;
    uint64_t bytes;
    int64_t since_save;
    double seconds;
    int32_t *tokens; /* (waiting of session_slice_max) */
    size_t waiting;
    double *nll; /* the same */
    char buffer[BUFFER];
} Reading;

/* --- saving -------------------------------------------------------------------------------------
 */

static Seen file_seen(const char *path)
{
    struct stat info;
    if (path == NULL || stat(path, &info) != 0) return (Seen){0};
    return (Seen){info.st_ino, info.st_mtim};
}

/* Whether another process has written the memory: what that one learned is not ours to replace. */
static bool memory_is_foreign(const Reading *r)
{
    Seen now = file_seen(r->o->memory), before = r->memory;
    return now.number != 0 &&
           (now.number != before.number || now.written.tv_sec != before.written.tv_sec ||
            now.written.tv_nsec != before.written.tv_nsec);
}

static int memory_write_to(Reading *r, const char *path, Err *err)
{
    ttt_source *list = mem_alloc(((size_t)r->n_texts + 1) * sizeof *list);
    for (int i = 0; i < r->n_texts; i++) list[i] = r->texts[i].source;
    int status = ttt_reader_save(r->s.reader, path, list, r->n_texts);
    mem_free(list);
    if (status < 0) return err_set(err, "%s", ttt_error(r->s.reader));
    return 0;
}

static int memory_save(Reading *r, Err *err)
{
    char aside[PATH_MAX], number[32];
    const char *path = r->o->memory;
    if (path == NULL) return 0;
    if (memory_is_foreign(r)) {
        snprintf(number, sizeof number, ".%ld", (long)getpid());
        TRY(path_join(aside, sizeof aside - sizeof number, "", path, err));
        strcat(aside, number);
        TRY(memory_write_to(r, aside, err));
        return err_set(
            err,
            "another process has written %s meanwhile: it is left as it is, and what was "
            "learned here is in %s: keep the one you want",
            path, aside);
    }
    TRY(memory_write_to(r, path, err));
    r->memory = file_seen(path);
    return 0;
}

static void digest_update(Reading *r)
{
    Sha256 so_far = r->sha;
    sha256_hex(&so_far, r->texts[r->n_texts - 1].source.sha256);
}

/* A save on the way that fails is no reason to lose the rest: the last one may succeed. */
static void save_on_the_way(Reading *r, int64_t new_tokens)
{
    r->since_save += new_tokens;
    if (r->o->save_every == 0 || r->since_save < r->o->save_every) return;
    r->since_save = 0;
    digest_update(r);
    Err err;
    if (memory_save(r, &err) < 0)
        log_info("ttt read: not saved at this point: %s; reading on", err.text);
}

/* --- reading ------------------------------------------------------------------------------------
 */

static int feed(Reading *r, size_t n, Err *err)
{
    double start = time_now();
    TRY(session_feed(&r->s, r->tokens, n, r->nll, err));
    r->seconds += time_now() - start;
    r->texts[r->n_texts - 1].source.tokens += (int64_t)n;
    save_on_the_way(r, (int64_t)n);
    return 0;
}

static int text_begin(Reading *r, const char *path, Err *err)
{
    TextRead *t = &r->texts[r->n_texts++];
    const char *name = strcmp(path, "-") == 0 ? "(standard input)" : path;
    size_t length = strlen(name), room = sizeof t->source.name;
    if (length >= room) name += length - room + 1; /* the end of a path says more */
    snprintf(t->source.name, room, "%s", name);
    sha256_init(&r->sha);
    r->tokens[0] = tokenizer_bos(r->s.tokenizer);
    return feed(r, 1, err);
}

static void progress_show(Reading *r)
{
    char note[96];
    ttt_reader_info info;
    ttt_reader_describe(r->s.reader, &info);
    double bits = bits_per_byte(r->curve.recent, r->curve.n, (int64_t)r->bytes);
    snprintf(note, sizeof note, "loss %.3f nats, %.3f bits/byte, %lld steps", r->curve.recent, bits,
             (long long)(info.steps - r->before.steps));
    progress_update(&r->progress, r->bytes, note);
}

/* Feeds the tokens that wait. */
static int waiting_feed(Reading *r, Err *err)
{
    TextRead *t = &r->texts[r->n_texts - 1];
    size_t n = r->waiting;
    r->waiting = 0;
    if (n == 0) return 0;
    TRY(feed(r, n, err));
    for (size_t i = 0; i < n; i++) {
        curve_add(&r->curve, r->nll[i]);
        t->nll += r->nll[i];
    }
    t->scored += (int64_t)n;
    return 0;
}

/* Tokens of the last text: they wait until they fill a slice. */
static int ids_take(Reading *r, const int32_t *ids, int64_t n, Err *err)
{
    for (int64_t i = 0; i < n; i++) {
        r->tokens[r->waiting++] = ids[i];
        if (r->waiting == session_slice(&r->s)) TRY(waiting_feed(r, err));
    }
    return 0;
}

static int text_take(Reading *r, const char *bytes, size_t n, Err *err)
{
    enum { PART = 2048 }; /* so that progress and signals are looked at often enough */
    TextRead *t = &r->texts[r->n_texts - 1];
    const int32_t *ids;
    for (size_t used = 0, m; used < n && !interrupt_signal(); used += m) {
        m = n - used < PART ? n - used : PART;
        int64_t k = token_stream_push(r->s.stream, bytes + used, m, &ids, err);
        if (k < 0) return -1;
        sha256_update(&r->sha, bytes + used, m);
        t->bytes += (int64_t)m;
        r->bytes += m;
        TRY(ids_take(r, ids, k, err));
        progress_show(r);
    }
    return 0;
}

/* After a signal too: what was taken from the text is read. */
static int text_finish(Reading *r, Err *err)
{
    const int32_t *ids;
    int64_t k = token_stream_end(r->s.stream, &ids, err);
    if (k < 0) return -1;
    TRY(ids_take(r, ids, k, err));
    TRY(waiting_feed(r, err));
    progress_show(r);
    digest_update(r);
    return 0;
}

/* Fills the buffer, so that how a pipe delivers does not matter. Fewer bytes: the end or a signal.
 */
static ssize_t buffer_fill(int fd, char *buffer, const char *path, Err *err)
{
    size_t used = 0;
    while (used < BUFFER && !interrupt_signal()) {
        ssize_t n = read(fd, buffer + used, BUFFER - used);
        if (n < 0 && errno == EINTR) continue;
        if (n < 0) return file_error(err, "read", path);
        if (n == 0) break;
        used += (size_t)n;
    }
    return (ssize_t)used;
}

static int text_read_from(Reading *r, int fd, const char *path, Err *err)
{
    bool begun = false;
    while (!interrupt_signal()) {
        ssize_t n = buffer_fill(fd, r->buffer, path, err);
        if (n < 0) return -1;
        if (n == 0) break;
        if (!begun) TRY(text_begin(r, path, err));
        begun = true;
        TRY(text_take(r, r->buffer, (size_t)n, err));
    }
    if (begun) TRY(text_finish(r, err));
    char shown[NAME_SHOWN_MAX];
    if (!begun && !interrupt_signal())
        log_info("ttt read: %s is empty: left out", name_show(shown, path));
    return 0;
}

static int text_read(Reading *r, const char *path, Err *err)
{
    if (strcmp(path, "-") == 0) return text_read_from(r, STDIN_FILENO, "standard input", err);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0) return file_error(err, "open", path);
    int status = text_read_from(r, fd, path, err);
    close(fd);
    return status;
}

/* --- before and after ---------------------------------------------------------------------------
 */

/* All that could fail later is tried now. *total: bytes of all texts, 0 when that is not known. */
static int inputs_check(const ReadOptions *o, uint64_t *total, Err *err)
{
    bool known = true;
    *total = 0;
    for (int i = 0; i < o->n_files; i++) {
        struct stat info;
        const char *path = o->files[i];
        if (strcmp(path, "-") == 0) {
            known = false;
            continue;
        }
        if (stat(path, &info) < 0 || access(path, R_OK) < 0) return file_error(err, "read", path);
        if (S_ISDIR(info.st_mode))
            return err_set(err, "%s is a folder: name the files in it, as in %s/*", path, path);
        known = known && S_ISREG(info.st_mode);
        *total += (uint64_t)info.st_size;
    }
    if (!known) *total = 0;
    return 0;
}

/* Which memory to go on from, and that the result can be written without harm to another file. */
static int memory_choose(ReadOptions *o, Err *err)
{
    if (o->from) o->session.memory = o->from;
    if (o->memory == NULL) return 0;
    TRY(memory_target_check(o->memory, err));
    if (!o->from && !o->fresh && file_exists(o->memory)) o->session.memory = o->memory;
    return 0;
}

static void report(const Reading *r)
{
    ReadReport report = {.model = r->o->session.model,
                         .memory = r->o->memory,
                         .texts = r->texts,
                         .n_texts = r->n_texts,
                         .curve = &r->curve,
                         .before = r->before,
                         .seconds = r->seconds,
                         .interrupted = interrupt_signal() != 0};
    ttt_reader_describe(r->s.reader, &report.after);
    if (r->o->json)
        report_print_json(&report);
    else
        report_print(&report);
}

static int read_all(Reading *r, uint64_t total, Err *err)
{
    progress_start(&r->progress, "read", total, "bytes");
    for (int i = 0; i < r->o->n_files && !interrupt_signal(); i++)
        TRY(text_read(r, r->o->files[i], err));
    if (r->curve.n == 0)
        return err_set(err, interrupt_signal() ? "interrupted before anything was read"
                                               : "nothing to read: every text is empty");
    char text[64];
    snprintf(text, sizeof text, "%lld tokens", (long long)(r->curve.n + r->n_texts));
    progress_end(&r->progress, text);
    return memory_save(r, err);
}

static int reading_open(Reading *r, ReadOptions *o, uint64_t *total, Err *err)
{
    TRY(inputs_check(o, total, err));
    TRY(memory_choose(o, err));
    r->memory = file_seen(o->memory);
    TRY(session_open(&r->s, &o->session, err));
    r->o = o;
    ttt_reader_describe(r->s.reader, &r->before);
    r->texts = mem_alloc((size_t)o->n_files * sizeof *r->texts);
    r->tokens = mem_alloc(session_slice_max(&r->s) * sizeof *r->tokens);
    r->nll = mem_alloc(session_slice_max(&r->s) * sizeof *r->nll);
    return 0;
}

static void reading_close(Reading *r)
{
    session_close(&r->s);
    mem_free(r->texts);
    mem_free(r->tokens);
    mem_free(r->nll);
    mem_free(r);
}

static int read_run(ReadOptions *o)
{
    Err err;
    uint64_t total;
    Reading *r = mem_alloc(sizeof *r);
    interrupt_catch();
    int status = reading_open(r, o, &total, &err);
    if (status == 0) status = read_all(r, total, &err);
    int code = EXIT_FAULT;
    if (status < 0) {
        command_fail("read", &err);
    } else {
        report(r);
        code = output_finish("read");
        if (interrupt_signal()) {
            log_info("ttt read: interrupted; what was read so far is %s%s",
                     o->memory ? "in " : "not kept", o->memory ? o->memory : "");
            code = interrupt_status();
        }
    }
    reading_close(r);
    return code;
}

static int run(int argc, char **argv)
{
    ReadOptions o = {0};
    const Option table[] = {
        {"memory", OPTION_TEXT, &o.memory, 0, 0},
        {"from", OPTION_TEXT, &o.from, 0, 0},
        {"fresh", OPTION_FLAG, &o.fresh, 0, 0},
        {"save-every", OPTION_INT, &o.save_every, 1, 1e15},
        {"no-learning", OPTION_FLAG, &o.session.no_learning, 0, 0},
        {"threads", OPTION_INT, &o.session.threads, 0, THREADS_MAX},
        {"device", OPTION_TEXT, &o.session.device, 0, 0},
        {"compute", OPTION_TEXT, &o.session.compute, 0, 0},
        {"json", OPTION_FLAG, &o.json, 0, 0},
    };
    int n = options_parse(argc, argv, table, ARRAY_LEN(table));
    if (n < 0) return EXIT_USAGE;
    if (n < 2) return options_usage("read", "give a model folder and at least one text");
    if (o.from && o.fresh) return options_usage("read", "--from and --fresh exclude each other");
    if (o.memory == NULL && (!o.session.no_learning || o.save_every > 0))
        return options_usage("read", "--memory FILE is missing: it keeps what is learned");
    if (!options_compute_ok("read", o.session.compute)) return EXIT_USAGE;
    o.session.model = argv[1];
    o.files = argv + 2;
    o.n_files = n - 1;
    return read_run(&o);
}

const Command command_read = {
    .name = "read",
    .summary = "read texts of any length, learn from them, and keep it as a memory file",
    .help = help,
    .run = run,
};
