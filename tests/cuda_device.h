/* Which device tests of the CUDA backend run on. */
#ifndef TTT_TESTS_CUDA_DEVICE_H
#define TTT_TESTS_CUDA_DEVICE_H

#include <stdio.h>
#include <stdlib.h>

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

#endif
