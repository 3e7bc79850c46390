/* For tests of the emulator itself: cmocka, and a backend of nothing but the default stream. */
#ifndef EMULATOR_BARE_BACKEND_CUH
#define EMULATOR_BARE_BACKEND_CUH

#include <csetjmp>
#include <csignal>
#include <cstdarg>
#include <string>
#include <sys/wait.h>
#include <unistd.h>

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

/* What f says on standard error in a process of its own. */
template <typename F> static std::string said_by(F f, int *status)
{
    int ends[2];
    assert_int_equal(pipe(ends), 0);
    pid_t child = fork();
    if (child == 0) {
        dup2(ends[1], STDERR_FILENO);
        for (int s : {SIGSEGV, SIGABRT, SIGILL}) signal(s, SIG_DFL);
        f();
        _exit(0);
    }
    close(ends[1]);
    std::string said;
    char part[512];
    for (ssize_t n; (n = read(ends[0], part, sizeof part)) > 0;) said.append(part, (size_t)n);
    close(ends[0]);
    assert_int_equal(waitpid(child, status, 0), child);
    return said;
}

#endif
