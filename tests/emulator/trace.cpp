/* TTT_EMULATOR_TRACE=FILE: what is started is written there, a line each, and nothing is done. */
#include <cstdarg>
#include <cstdio>
#include <cstdlib>

#include "state.h"

namespace emulator
{

namespace
{

FILE *trace_file()
{
    static FILE *file = nullptr;
    static bool asked = false;
    if (asked) return file;
    asked = true;
    const char *name = getenv("TTT_EMULATOR_TRACE");
    if (!name) return nullptr;
    file = fopen(name, "w");
    if (!file) die("TTT_EMULATOR_TRACE: %s cannot be written", name);
    return file;
}

} // namespace

bool tracing()
{
    return trace_file();
}

bool traced(const char *format, ...)
{
    FILE *file = trace_file();
    if (!file) return false;
    va_list args;
    va_start(args, format);
    vfprintf(file, format, args);
    va_end(args);
    fputc('\n', file);
    return true;
}

} // namespace emulator
