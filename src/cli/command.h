/* A subcommand: each cmd_NAME.c defines one Command; the table in main.c lists them. */
#ifndef TTT_CLI_COMMAND_H
#define TTT_CLI_COMMAND_H

#include "base/err.h"

/* AGAIN: a submitted job was interrupted and has saved; the same command goes on. */
enum { EXIT_DONE = 0, EXIT_FAULT = 1, EXIT_USAGE = 2, EXIT_AGAIN = 75 };

typedef struct Command {
    const char *name;
    const char *summary; /* one line for `ttt help` */
    const char *help;    /* for `ttt help NAME`: usage, options, an example that works */
    int (*run)(int argc, char **argv); /* argv[0] is the subcommand; returns an exit status */
} Command;

extern const Command command_bench, command_config, command_data, command_eval, command_export,
    command_generate, command_import, command_memory, command_parity, command_read, command_report,
    command_tokenize, command_train;

/* Prints "ttt NAME: text" on standard error and returns EXIT_FAULT. */
int command_fail(const char *name, const Err *err);

#endif
