/* A folder of its own for each test: cmocka's setup enters it and names it in *state, the teardown
 * leaves and removes it. */
#ifndef TTT_TESTS_OWN_FOLDER_H
#define TTT_TESTS_OWN_FOLDER_H

#include <stdlib.h>
#include <unistd.h>

#include "base/file.h"
#include "paths.h"

static int folder_enter(void **state)
{
    char *folder = malloc(PATH_MAX);
    if (temp_folder(folder, PATH_MAX) < 0 || chdir(folder) != 0) return -1;
    *state = folder;
    return 0;
}

static int folder_leave(void **state)
{
    Err err;
    int status = chdir("/") == 0 ? dir_remove(*state, &err) : -1;
    free(*state);
    return status;
}

#endif
