/* For tests of the emulator itself: cmocka, and a backend of nothing but the default stream. */
#ifndef EMULATOR_BARE_BACKEND_CUH
#define EMULATOR_BARE_BACKEND_CUH

#include <csetjmp>
#include <cstdarg>

extern "C" {
#include <cmocka.h>
}

#include "ops/kernel.cuh"

void cuda_note(Backend *, const char *what, cudaError_t status)
{
    if (status != cudaSuccess) fail_msg("%s: %s", what, cudaGetErrorString(status));
}
bool cuda_failed(const Backend *)
{
    return false;
}
cudaStream_t cuda_stream(const Backend *)
{
    return nullptr;
}

#endif
