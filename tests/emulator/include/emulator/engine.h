/* What the emulated headers need of the emulator: kernels, which run thread by thread on one thread
 * of the CPU, and the meetings of a kernel's threads. */
#ifndef EMULATOR_ENGINE_H
#define EMULATOR_ENGINE_H

#include <cstddef>
#include <functional>

#include "emulator/vectors.h"

namespace emulator
{

enum {
    WARP_LANES = 32,
    MAX_THREADS = 1024,      /* of a block */
    MAX_SHARED = 227 * 1024, /* bytes of dynamic shared memory of a block, H100 */
};

/* Ends the program with one line on standard error that names the kernel, block and thread that
 * run, if any. */
[[noreturn]] void die(const char *format, ...) __attribute__((format(printf, 1, 2)));

struct Kernel {
    const char *arguments; /* the text of the launch's arguments; the second names the kernel */
    const char *file;      /* the launch's place */
    int line;
    dim3 grid, block;
    size_t shared;              /* bytes */
    std::function<void()> body; /* one thread's work */
    bool early = false;         /* it may begin before the kernel before it has ended */
};

/* Ends the program where no GPU could start the kernel. */
void check_launch(const Kernel &kernel);
/* Runs all of it, block after block. Device memory must be open. */
void run_kernel(const Kernel &kernel);

/* --- for the kernel's threads --- */
struct Site {
    const char *what, *file;
    int line;
};
void block_barrier(const Site &site);
/* As block_barrier; the number of threads of the block that came with true. */
int block_count(const Site &site, bool predicate);
/* A meeting of a warp's 32 lanes: op sees what each brought, by lane. Without op it is a barrier,
 * and orders what they do to memory; with op it does not (tests/emulator/race.h). */
void collective(const Site &site, void *mine, void (*op)(void *const *lanes));
int lane();
void *dynamic_shared_bytes();
bool is_shared(const void *p);

/* Of a kernel that begins early: from here on a thread may touch device memory. Where kernels tell
 * of their accesses (race.h) one before this ends the program; a thread that never comes here does
 * so everywhere. */
void wait_for_earlier();
/* A prefetch: of device memory, and nothing comes of it. */
void ask_for(const void *p);

/* cp.async: the copy happens when it is waited for, and until then the place holds NaN. */
void copy_later(void *to, const void *from, bool there);
void copy_close_group();
void copy_wait(int groups_left);

/* --- for the detection of races, beside what the compiler tells of itself --- */
const void *here(); /* the place of the call */
/* The warp that runs reads where lane `pointing` points, by an instruction at `place`. */
void warp_reads(int pointing, const void *p, size_t bytes, const void *place);
void atomic_access(const void *p, size_t bytes);
void fence();

} // namespace emulator

#endif
