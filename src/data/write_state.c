/* The state file. It is read only by the program that wrote it, on the same machine, so the digests
 * in progress are kept as they lie in memory; the plan's digest and a CRC guard the rest. */
#include "data/write_state.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/crc32c.h"
#include "base/file.h"

static const char file_name[] = "state";

typedef struct StateFile {
    char plan[PLAN_HEX];
    uint32_t size; /* of this struct: another build's file does not pass */
    WriteState state;
    uint32_t crc; /* of all before it */
} StateFile;

int write_state_read(WriteState *out, const char *folder, const char *plan, Err *err)
{
    char path[PATH_MAX], *data;
    size_t size;
    StateFile file;
    TRY(path_join(path, sizeof path, folder, file_name, err));
    if (!file_exists(path)) return 0;
    TRY(file_read(path, &data, &size, sizeof file + 1, err));
    bool fits = size == sizeof file;
    if (fits) memcpy(&file, data, sizeof file);
    free(data);
    fits = fits && file.size == sizeof file && strncmp(file.plan, plan, PLAN_HEX) == 0 &&
           file.crc == crc32c(&file, offsetof(StateFile, crc));
    if (fits) *out = file.state;
    return fits;
}

int write_state_write(const WriteState *state, const char *folder, const char *plan, Err *err)
{
    char path[PATH_MAX];
    StateFile file;
    memset(&file, 0, sizeof file); /* padding too */
    snprintf(file.plan, sizeof file.plan, "%s", plan);
    file.size = sizeof file;
    memcpy(&file.state, state, sizeof file.state);
    file.crc = crc32c(&file, offsetof(StateFile, crc));
    TRY(path_join(path, sizeof path, folder, file_name, err));
    return file_write_atomic(path, &file, sizeof file, err);
}

int write_state_remove(const char *folder, Err *err)
{
    char path[PATH_MAX];
    TRY(path_join(path, sizeof path, folder, file_name, err));
    return unlink(path) == 0 || errno == ENOENT ? 0 : file_error(err, "remove", path);
}
