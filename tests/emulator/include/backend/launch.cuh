/* In place of src/backend/launch.cuh: the launch goes to the emulator's queue. */
#ifndef EMULATOR_BACKEND_LAUNCH_CUH
#define EMULATOR_BACKEND_LAUNCH_CUH

#include <tuple>

#include <cuda_runtime.h>

#include "backend/cuda_state.cuh"

template <typename... Parameters, typename... Arguments>
static void launch_emulated(const char *text, const char *file, int line, bool early, Backend *be,
                            void (*kernel)(Parameters...), dim3 grid, dim3 block, size_t shared,
                            Arguments... arguments)
{
    if (cuda_failed(be) || grid.x == 0 || grid.y == 0 || grid.z == 0) return;
    std::tuple<Parameters...> values(static_cast<Parameters>(arguments)...);
    auto body = [kernel, values] { std::apply(kernel, values); };
    emulator::Kernel all = {text, file, line, grid, block, shared, body, early};
    cuda_note(be, "kernel", emulator::launch_kernel(all, cuda_stream(be)));
}

/* Macros, to have the kernel's name. */
#define launch(...)       launch_emulated(#__VA_ARGS__, __FILE__, __LINE__, false, __VA_ARGS__)
#define launch_early(...) launch_emulated(#__VA_ARGS__, __FILE__, __LINE__, true, __VA_ARGS__)

static inline void wait_for_earlier()
{
    emulator::wait_for_earlier();
}

static inline void ask_for(const void *p)
{
    emulator::ask_for(p);
}

template <typename T> T *dynamic_shared()
{
    return static_cast<T *>(emulator::dynamic_shared_bytes());
}

#endif
