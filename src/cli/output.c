/* What commands print on standard output. */
#include "cli/output.h"

#include <stdio.h>

#include "cli/command.h"

void output_json(json_t *object)
{
    json_dumpf(object, stdout, JSON_INDENT(2));
    putchar('\n');
    json_decref(object);
}

int output_flush(Err *err)
{
    if (fflush(stdout) == 0 && !ferror(stdout)) return 0;
    return err_errno(err, "cannot write to standard output");
}

int output_finish(const char *command)
{
    Err err;
    return output_flush(&err) == 0 ? EXIT_DONE : command_fail(command, &err);
}

const char *bytes_show(char out[32], size_t bytes)
{
    static const char *const units[] = {"KiB", "MiB", "GiB", "TiB"};
    double n = (double)bytes / 1024;
    int unit = 0;
    for (; n >= 1023.5 && unit < 3; unit++) n /= 1024;
    if (bytes < 1024)
        snprintf(out, 32, "%zu B", bytes);
    else
        snprintf(out, 32, "%.*f %s", n < 9.95 ? 2 : n < 99.5 ? 1 : 0, n, units[unit]);
    return out;
}
