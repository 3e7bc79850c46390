/* Writing .npy: a magic string, a Python dict as text padded to 64 bytes, the elements. */
#include "base/npy.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>

_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "elements are written as they lie");

enum { MAX_DIMS = 8, HEADER_SIZE = 320, PREFIX_SIZE = 10 };

/* Returns the header's size, a multiple of 64. */
static size_t header_fill(char header[HEADER_SIZE], const int64_t *shape, int n_dims)
{
    char dims[MAX_DIMS * 24] = "";
    for (int i = 0; i < n_dims; i++) { /* one dimension is "(5,)" in Python */
        size_t used = strlen(dims);
        snprintf(dims + used, sizeof dims - used, i > 0 ? " %lld," : "%lld,", (long long)shape[i]);
    }
    if (n_dims > 1) dims[strlen(dims) - 1] = '\0';
    memset(header, ' ', HEADER_SIZE);
    int used = snprintf(header + PREFIX_SIZE, HEADER_SIZE - PREFIX_SIZE,
                        "{'descr': '<f4', 'fortran_order': False, 'shape': (%s), }", dims);
    size_t size = (PREFIX_SIZE + (size_t)used + 1 + 63) / 64 * 64;
    header[PREFIX_SIZE + used] = ' ';
    header[size - 1] = '\n';
    size_t rest = size - PREFIX_SIZE;
    memcpy(header, "\x93NUMPY\x01\x00", 8);
    header[8] = (char)(rest & 0xff);
    header[9] = (char)(rest >> 8);
    return size;
}

static size_t data_size(const int64_t *shape, int n_dims)
{
    size_t size = sizeof(float);
    for (int i = 0; i < n_dims; i++) size *= (size_t)shape[i];
    return size;
}

int npy_begin_f32(AtomicFile *file, const char *path, const int64_t *shape, int n_dims, Err *err)
{
    char header[HEADER_SIZE];
    CHECK(n_dims >= 0 && n_dims <= MAX_DIMS, "%d dimensions for %s", n_dims, path);
    size_t header_size = header_fill(header, shape, n_dims);
    TRY(atomic_open(file, path, err));
    int code = posix_fallocate(file->fd, 0, (off_t)(header_size + data_size(shape, n_dims)));
    if (code != 0 && code != EOPNOTSUPP && code != EINVAL) {
        atomic_abort(file);
        errno = code;
        return file_error(err, "write", path);
    }
    return atomic_write(file, header, header_size, err);
}

int npy_write_f32(const char *path, const float *data, const int64_t *shape, int n_dims, Err *err)
{
    AtomicFile file;
    TRY(npy_begin_f32(&file, path, shape, n_dims, err));
    TRY(atomic_write(&file, data, data_size(shape, n_dims), err));
    return atomic_commit(&file, err);
}
