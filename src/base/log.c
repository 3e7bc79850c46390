/* Messages on standard error. */
#include "base/log.h"

#include <stdarg.h>
#include <stdio.h>
#include <unistd.h>

#include "base/err.h" // defines: line_keep

void log_info(const char *fmt, ...)
{
    char text[4096]; /* one write a line: lines of several processes do not mix */
    va_list args;
    va_start(args, fmt);
    vsnprintf(text, sizeof text, fmt, args);
    va_end(args);
    line_keep(text);
    fprintf(stderr, "%s%s\n", isatty(STDERR_FILENO) ? "\r\033[K" : "", text);
}
