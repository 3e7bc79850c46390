/* Append-only JSON-lines log. Nothing is buffered: a line is in the file when the call returns. */
#include "base/jsonl.h"

#include <fcntl.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/file.h"
#include "base/mem.h"
#include "base/utf8.h"

struct JsonLog {
    int fd;
    char *path;
};

json_t *json_number(double value)
{
    return isfinite(value) ? json_real(value) : json_null();
}

json_t *json_text(const char *text)
{
    size_t size;
    char *utf8 = utf8_repair(text, strlen(text), &size);
    json_t *string = json_stringn(utf8, size);
    mem_free(utf8);
    return string;
}

static int close_last_line(const JsonLog *log, Err *err)
{
    struct stat info;
    char last;
    if (fstat(log->fd, &info) != 0) return file_error(err, "open", log->path);
    if (!S_ISREG(info.st_mode))
        return err_set(err, "cannot append to %s: it is a device or a pipe; name a file",
                       log->path);
    if (info.st_size == 0) return 0;
    if (pread(log->fd, &last, 1, info.st_size - 1) != 1) return file_error(err, "read", log->path);
    return last == '\n' ? 0 : file_append(log->fd, log->path, "\n", 1, err);
}

int jsonl_open(JsonLog **out, const char *path, Err *err)
{
    int fd = open(path, O_RDWR | O_APPEND | O_CREAT | O_CLOEXEC | O_NONBLOCK, 0666);
    if (fd < 0) return file_error(err, "append to", path);
    JsonLog *log = malloc(sizeof *log);
    char *copy = strdup(path);
    mem_need(log && copy, "the log %s", path);
    *log = (JsonLog){.fd = fd, .path = copy};
    if (close_last_line(log, err) < 0) {
        jsonl_close(log);
        return -1;
    }
    *out = log;
    return 0;
}

int jsonl_write(JsonLog *log, const json_t *object, Err *err)
{
    /* 15 digits hold every time stamp and every float, and 0.1 stays 0.1. */
    char *line = json_dumps(object, JSON_COMPACT | JSON_REAL_PRECISION(15));
    CHECK(line, "a log line for %s is not a JSON object", log->path);
    size_t size = strlen(line);
    line[size] = '\n'; /* in the place of the final NUL */
    int status = file_append(log->fd, log->path, line, size + 1, err);
    free(line);
    return status;
}

void jsonl_close(JsonLog *log)
{
    if (!log) return;
    close(log->fd);
    free(log->path);
    free(log);
}

int json_write_atomic(const char *path, json_t *object, size_t flags, Err *err)
{
    char *text = object ? json_dumps(object, flags) : NULL;
    CHECK(text, "cannot make the JSON text of %s", path);
    json_decref(object);
    size_t size = strlen(text);
    text[size] = '\n'; /* in the place of the final NUL */
    int status = file_write_atomic(path, text, size + 1, err);
    free(text);
    return status;
}
