/* Until every operation has its kernels: what is missing says so when it is called. */
#include "ops/ops.h"

#define OP(name, args, names)                                                                      \
    void name##_cuda args;                                                                         \
    __attribute__((weak)) void name##_cuda args                                                    \
    {                                                                                              \
        CHECK(false, "no CUDA kernel yet: " #name);                                                \
    }
#include "ops/ops.def"
#undef OP
