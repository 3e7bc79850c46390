/* The CUDA backend is a module of its own, loaded when a GPU is asked for, so that the program
 * neither needs CUDA's libraries nor waits for them where it computes on the CPU. It lies beside
 * the program, in a build folder or installed; TTT_CUDA_MODULE names another. */
#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "backend/machine.h"

#define MODULE_NAME "libttt_cuda_" REAL_NAME ".so"

enum { MODULE_PATH = 4096 };

static void module_path(char out[MODULE_PATH])
{
    const char *given = getenv("TTT_CUDA_MODULE");
    if (given) {
        snprintf(out, MODULE_PATH, "%s", given);
        return;
    }
    ssize_t n = readlink("/proc/self/exe", out, MODULE_PATH - sizeof MODULE_NAME - 1);
    if (n < 0) n = 0;
    while (n > 0 && out[n - 1] != '/') n--;
    snprintf(out + n, MODULE_PATH - (size_t)n, "%s", MODULE_NAME);
}

const Machine *cuda_module_machine(Err *err)
{
    char path[MODULE_PATH];
    module_path(path);
    if (access(path, R_OK) != 0) {
        err_set(err,
                "this build has no CUDA backend (%s is not there); install the CUDA toolkit, 12.8 "
                "or newer, and run ./run build again, or leave --device out for the CPU",
                path);
        return NULL;
    }
    void *module = dlopen(path, RTLD_NOW | RTLD_LOCAL);
    if (!module) {
        err_set(err,
                "the CUDA backend cannot be loaded: %s; check that the toolkit's libraries "
                "are where they were when it was built",
                dlerror());
        return NULL;
    }
    /* ISO C has no conversion from an object's pointer to a function's; POSIX promises this one. */
    const Machine *(*entry)(void);
    void *symbol = dlsym(module, "ttt_cuda_machine");
    memcpy(&entry, &symbol, sizeof entry);
    if (!symbol) {
        err_set(err, "%s is not this program's CUDA backend; run ./run build again", path);
        return NULL;
    }
    return entry();
}
