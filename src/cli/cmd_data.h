/* What the files of `ttt data` share. */
#ifndef TTT_CLI_CMD_DATA_H
#define TTT_CLI_CMD_DATA_H

#include <stdbool.h>

/* As a command's: argv[0] is "data encode" and its like. */
int data_encode_run(int argc, char **argv);
int data_check_run(int argc, char **argv);
int data_repack_run(int argc, char **argv);
int data_info_run(int argc, char **argv);

/* Whether the zarr group at dir has an array of that name. */
bool data_has_array(const char *dir, const char *split);

#endif
