/* Which device tests of the CUDA backend run on; after cmocka. */
#ifndef TTT_TESTS_CUDA_DEVICE_H
#define TTT_TESTS_CUDA_DEVICE_H

#include <stdio.h>
#include <stdlib.h>

#include "backend/backend.h"

/* The GPU that TTT_TEST_DEVICE names, or the emulator. precision: "fp32" or "fp64". */
static inline const char *test_device(const char *precision)
{
    const char *device = getenv("TTT_TEST_DEVICE"), *build = getenv("TTT_BUILD_DIR");
    if (device) return device;
    char module[4096];
    snprintf(module, sizeof module, "%s/libttt_emulated_%s.so", build ? build : "build", precision);
    setenv("TTT_CUDA_MODULE", module, 0);
    return "cuda";
}

static inline Backend *open_device(const char *device, bool bf16)
{
    Backend *be;
    Err err;
    BackendOptions o = {.threads = 1, .device = device, .bf16 = bf16};
    if (backend_open(&be, &o, &err) < 0) fail_msg("%s", err.text);
    return be;
}

static inline Backend *open_test_gpu(bool bf16)
{
    return open_device(test_device("fp32"), bf16);
}

#endif
