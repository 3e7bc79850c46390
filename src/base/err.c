#include "base/err.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

char *line_keep(char *text)
{
    for (char *at = text; *at; at++)
        if ((unsigned char)*at < ' ' || *at == 0x7f) *at = '?';
    return text;
}

int err_set(Err *e, const char *fmt, ...)
{
    va_list args;
    va_start(args, fmt);
    vsnprintf(e->text, sizeof e->text, fmt, args);
    va_end(args);
    line_keep(e->text);
    return -1;
}

int err_wrap(Err *e, const char *fmt, ...)
{
    Err inner = *e;
    va_list args;
    va_start(args, fmt);
    int used = vsnprintf(e->text, sizeof e->text, fmt, args);
    va_end(args);
    line_keep(e->text);
    if (used < 0 || (size_t)used >= sizeof e->text) return -1;
    snprintf(e->text + used, sizeof e->text - (size_t)used, ": %.*s",
             (int)sizeof inner.text - used - 3, inner.text);
    return -1;
}

int err_errno(Err *e, const char *fmt, ...)
{
    int code = errno;
    va_list args;
    va_start(args, fmt);
    int used = vsnprintf(e->text, sizeof e->text, fmt, args);
    va_end(args);
    line_keep(e->text);
    if (used < 0 || (size_t)used >= sizeof e->text) return -1;
    snprintf(e->text + used, sizeof e->text - (size_t)used, ": %s", strerror(code));
    return -1;
}

void check_failed(const char *file, int line, const char *fmt, ...)
{
    va_list args;
    va_start(args, fmt);
    fprintf(stderr, "%s:%d: internal error: ", file, line);
    vfprintf(stderr, fmt, args);
    fputc('\n', stderr);
    va_end(args);
    abort();
}
