/* Feeds any bytes to st_open as a file, and touches all that it lets through. */
#include <math.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/safetensors.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void touch(const StFile *file, const StTensor *t)
{
    double total = 0;
    size_t n_bytes = (size_t)t->n_elements * st_type_size(t->type);
    CHECK(st_find(file, t->name), "tensor '%s' is not found by its name", t->name);
    for (size_t i = 0; i < n_bytes; i++) total += ((const unsigned char *)t->data)[i];
    CHECK(total >= 0, "the sum of bytes is negative");
    if (t->type > ST_BF16) return;
    double *values = calloc((size_t)t->n_elements + 1, sizeof *values);
    st_to_f64(t, values);
    CHECK(values[t->n_elements] == 0, "the conversion wrote past its end");
    free(values);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char path[64];
    Err err = {""};
    StFile *file;
    int fd = memfd_create("fuzz", MFD_CLOEXEC);
    CHECK(fd >= 0 && write(fd, data, size) == (ssize_t)size, "cannot make a file in memory");
    snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
    if (st_open(&file, path, &err) == 0) {
        for (int i = 0; i < st_count(file); i++) touch(file, st_at(file, i));
        st_meta(file, "format");
        st_close(file);
    } else {
        CHECK(strstr(err.text, path) && !strchr(err.text, '\n'), "bad error text: %s", err.text);
    }
    close(fd);
    return 0;
}
