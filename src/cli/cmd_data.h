/* What the files of `ttt data` share. */
#ifndef TTT_CLI_CMD_DATA_H
#define TTT_CLI_CMD_DATA_H

#include <getopt.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"

/* Each takes its own name as argv[0] and returns an exit status. */
int data_encode_run(int argc, char **argv);
int data_check_run(int argc, char **argv);
int data_repack_run(int argc, char **argv);
int data_info_run(int argc, char **argv);

/* Prints "ttt data SUB: text" and where help is on standard error, and returns EXIT_USAGE. */
int data_usage(const char *sub, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
/* Prints "ttt data SUB: text" on standard error and returns EXIT_FAULT. */
int data_fail(const char *sub, const Err *err);
/* The next option, or -1 when none is left; '?' after a complaint as data_usage makes it. */
int data_option(int argc, char **argv, const struct option *options);
/* Reads a whole decimal number of at least low. */
bool parse_count(const char *text, int64_t low, int64_t *out);
/* Whether the zarr group at dir has an array of that name. */
bool data_has_array(const char *dir, const char *split);
/* Flushes standard output; a failure (a full disk) is an exit status of EXIT_FAULT. */
int data_finish(const char *sub);

#endif
