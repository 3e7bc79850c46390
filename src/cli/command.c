/* What every command's failure looks like. */
#include "cli/command.h"

#include "base/log.h"

int command_fail(const char *name, const Err *err)
{
    log_info("ttt %s: %s", name, err->text);
    return EXIT_FAULT;
}
