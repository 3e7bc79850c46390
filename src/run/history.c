/* The record of starts and ends: what ran where. */
#include "run/history.h"

#include <gnu/libc-version.h>
#include <jansson.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/utsname.h>
#include <unistd.h>

#include "backend/cores.h"     // defines: cores_usable
#include "backend/libraries.h" // defines: backend_libraries
#include "base/file.h"
#include "base/jsonl.h"
#include "base/mem.h"
#include "base/process.h"
#include "base/real.h"
#include "revision.h" // defines: TTT_REVISION, made by the build

enum { LINE = 512 };
static const double GIT_SECONDS = 5;

char *command_redact(const char *command)
{
    static const char key[] = "wandb_key=";
    char *copy = strdup(command);
    mem_need(copy, "a run's history");
    for (char *at = strstr(copy, key); at; at = strstr(at, key)) {
        at += sizeof key - 1;
        at += strspn(at, "'\"\\"); /* what quotes it */
        size_t length = strcspn(at, " '\"\\");
        memmove(at + (length < 3 ? length : 3), at + length, strlen(at + length) + 1);
        memset(at, '*', length < 3 ? length : 3);
    }
    return copy;
}

static json_t *now_json(void)
{
    char text[TIME_TEXT_SIZE];
    time_text(text);
    return json_string(text);
}

/* The value behind `key` on a line of a system file; "" when there is none. */
static void file_value(const char *path, const char *key, const char *skip, char out[LINE])
{
    char line[LINE];
    out[0] = '\0';
    FILE *f = fopen(path, "re");
    while (f && !out[0] && fgets(line, sizeof line, f)) {
        if (strncmp(line, key, strlen(key)) != 0) continue;
        const char *value = line + strlen(key);
        value += strspn(value, skip);
        snprintf(out, LINE, "%.*s", (int)strcspn(value, "\"\n"), value);
    }
    if (f) fclose(f);
}

static json_t *libraries_json(void)
{
    char text[LINE];
    backend_libraries(text, sizeof text);
    return json_pack("[o, o, o]", json_text(text), json_sprintf("jansson %s", JANSSON_VERSION),
                     json_sprintf("glibc %s", gnu_get_libc_version()));
}

static json_t *machine_json(const Backend *be)
{
    char cpu[LINE], os[LINE], memory[LINE];
    struct utsname name;
    if (uname(&name) != 0) memset(&name, 0, sizeof name);
    file_value("/proc/cpuinfo", "model name", " \t:", cpu);
    file_value("/etc/os-release", "PRETTY_NAME=", "\"", os);
    file_value("/proc/meminfo", "MemTotal:", " \t", memory);
    return json_pack(
        "{s:o, s:o, s:o, s:o, s:i, s:I, s:i, s:s, s:o, s:o}", "host", json_text(name.nodename),
        "os", json_text(os), "kernel", json_sprintf("%s %s", name.sysname, name.release), "cpu",
        json_text(cpu), "physical_cores", cores_usable(), "logical_cores",
        (json_int_t)sysconf(_SC_NPROCESSORS_ONLN), "threads", be->threads, "instructions", be->isa,
        "memory_mb", json_real((double)strtoll(memory, NULL, 10) * 1024 / 1e6), "libraries",
        libraries_json());
}

/* The revision of the folder the command was given in; null when it is in no repository. */
static json_t *git_json(void)
{
    const char *const head[] = {"git", "rev-parse", "HEAD", NULL};
    const char *const changes[] = {"git", "--no-optional-locks", "status", "--porcelain", "-uno",
                                   NULL};
    char revision[LINE], changed[LINE];
    if (!process_first_line(head, GIT_SECONDS, revision, sizeof revision) || !revision[0])
        return json_null();
    bool known = process_first_line(changes, GIT_SECONDS, changed, sizeof changed);
    return json_pack("{s:o, s:o}", "revision", json_text(revision), "changed",
                     known ? json_boolean(changed[0] != '\0') : json_null());
}

static json_t *program_json(void)
{
    return json_pack("{s:s, s:s, s:s}", "revision", TTT_REVISION, "compiler", __VERSION__, "number",
                     REAL_NAME);
}

static int line_append(const char *folder, json_t *line, Err *err)
{
    char path[PATH_MAX];
    JsonLog *log = NULL;
    CHECK(line, "cannot make a line of history.jsonl");
    int status = path_join(path, sizeof path, folder, "history.jsonl", err);
    if (status == 0) status = jsonl_open(&log, path, err);
    if (status == 0) status = jsonl_write(log, line, err);
    jsonl_close(log);
    json_decref(line);
    return status;
}

int history_start(const char *folder, const RunStart *s, Err *err)
{
    char here[PATH_MAX];
    char *command = command_redact(s->command);
    if (!getcwd(here, sizeof here)) here[0] = '\0';
    json_t *line =
        json_pack("{s:s, s:s, s:o, s:I, s:o, s:o, s:o, s:I, s:I, s:o, s:o, s:o}", "event", "start",
                  "kind", s->kind, "time", now_json(), "step", (json_int_t)s->step, "loaded",
                  s->loaded && s->loaded[0] ? json_text(s->loaded) : json_null(), "command",
                  json_text(command), "directory", json_text(here), "parameters",
                  (json_int_t)s->parameters, "inner_parameters", (json_int_t)s->inner_parameters,
                  "program", program_json(), "git", git_json(), "machine", machine_json(s->be));
    free(command);
    return line_append(folder, line, err);
}

int history_end(const char *folder, const char *kind, const char *outcome, int64_t step,
                const char *message, Err *err)
{
    json_t *line = json_pack("{s:s, s:s, s:s, s:o, s:I, s:o}", "event", "end", "kind", kind,
                             "outcome", outcome, "time", now_json(), "step", (json_int_t)step,
                             "message", message ? json_text(message) : json_null());
    return line_append(folder, line, err);
}
