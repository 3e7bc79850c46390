/* Data races of kernels that are compiled with the compiler's calls for a thread sanitizer
 * (race_calls.cpp): what the engine tells, and what is kept of it.
 *
 * Two accesses of a byte race where one of them writes, they are not both atomic, and nothing
 * orders them. What orders two threads:
 *   of a block    a barrier of the block between (__syncthreads and its kin)
 *   of a warp     also __syncwarp. Shuffles and votes do not: "they do not guarantee any memory
 *                 ordering" (CUDA C++ Programming Guide); mma and ldmatrix neither, whose .sync
 *                 waits for the lanes and says nothing of their memory (PTX manual)
 *   any           __threadfence, then an atomic that a later atomic of the same word comes after,
 *                 then __threadfence: what was done before is seen after
 *   of a launch   nothing else. Launches come one after the other.
 * A copy of cp.async is done at some time between its issue and its thread's wait for it: until
 * then it is ordered before nothing, not even what its own thread does next.
 *
 * This does not depend on the order in which threads happen to run here. */
#ifndef EMULATOR_RACE_H
#define EMULATOR_RACE_H

#include <cstdint>

#include "state.h"

namespace emulator
{
namespace race
{

/* --- the engine tells (nothing comes of it where kernels are compiled without the calls) --- */
void kernel_begins();
void block_begins(size_t threads);
void switched(int thread, const char *stack, size_t bytes); /* thread -1: none runs */
void block_met();
void warp_met(int warp);
/* cp.async of 16 bytes, from NULL: zeros; group 0: the first of its group. Returns the group. */
uint32_t copy_begins(uint32_t group, void *to, const void *from, const void *place);
void copies_end(uint32_t group);
void freed(const char *from, size_t bytes);

/* --- race_order.cpp: when --- */

/* What a thread does between two meetings, or what a group of its copies does. */
struct Moment {
    uint32_t block, block_epoch, warp_epoch;
    uint16_t thread;
    bool copy, pending; /* of cp.async; not waited for */
    uint64_t tick;      /* when it began, or was waited for */
};

/* Where the emulation is; the first four are there before main is. */
struct Current {
    bool on;
    int thread; /* -1: none of a kernel runs */
    const char *stack, *stack_end;
    uint32_t launch, block; /* numbers, never the same again */
    uint32_t block_epoch;
    uint32_t era;               /* from one barrier of a block to the next; never the same again */
    uint32_t *warp_epoch, *now; /* now: number of each thread's moment, 0 until it does something */
    Moment *moments;
    bool publishes; /* kernels of this launch order threads by fences and atomics, too */
    bool early;     /* the thread may touch no device memory yet, see wait_for_earlier */
};
extern Current current;

uint32_t new_moment(int thread);
bool published(const Moment &m, int thread);
void fenced();
void atomic_met(const void *p);

inline uint32_t now_of(int thread)
{
    return current.now[thread] ? current.now[thread] : new_moment(thread);
}

/* Whether moment `earlier` is ordered before what the thread does now. */
inline bool before(uint32_t earlier, int thread)
{
    const Moment &m = current.moments[earlier];
    if (m.pending) return false;
    if (m.block == current.block) {
        if (m.thread == thread || m.block_epoch < current.block_epoch) return true;
        int warp = thread / WARP_LANES;
        if (m.thread / WARP_LANES == warp && m.warp_epoch < current.warp_epoch[warp]) return true;
    }
    return current.publishes && published(m, thread);
}

/* Ends the program if p is of device memory: what it holds is another kernel's still. */
void touch_early(const void *p, const void *place);

uint3 thread_index(const Moment &m);
uint3 block_index(const Moment &m);

/* --- race_shadow.cpp: where --- */
enum class Access { READ, WRITE, ATOMIC };

/* An access by a thread of the block that runs; who: its moment, 0: the one it is in; place: of the
 * code. Other memory is passed over, the emulator's own among it. */
void touch(Access kind, const void *p, size_t bytes, int thread, uint32_t who, const void *place);

} // namespace race
} // namespace emulator

#endif
