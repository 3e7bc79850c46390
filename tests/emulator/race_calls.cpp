/* What the compiler calls for a thread sanitizer, here defined by the emulator: under
 * -fsanitize=thread code calls these before each access of memory that others may see. Nothing is
 * linked of the sanitizer itself. */
#include "race.h"

using namespace emulator;

namespace
{

void access(race::Access kind, const void *p, size_t bytes, const void *place)
{
    int thread = race::current.thread;
    if (thread < 0 || (p >= race::current.stack && p < race::current.stack_end)) return;
    if (race::current.early) race::touch_early(p, place);
    race::touch(kind, p, bytes, thread, 0, place);
}

} // namespace

#define HERE __builtin_return_address(0)
#define SANITIZER_CALL(name, ...)                                                                  \
    extern "C" __attribute__((visibility("hidden"))) void name(__VA_ARGS__);                       \
    extern "C" void name(__VA_ARGS__)
#define ACCESSES(bytes)                                                                            \
    SANITIZER_CALL(__tsan_read##bytes, void *p)                                                    \
    {                                                                                              \
        access(race::Access::READ, p, bytes, HERE);                                                \
    }                                                                                              \
    SANITIZER_CALL(__tsan_write##bytes, void *p)                                                   \
    {                                                                                              \
        access(race::Access::WRITE, p, bytes, HERE);                                               \
    }                                                                                              \
    SANITIZER_CALL(__tsan_unaligned_read##bytes, void *p)                                          \
    {                                                                                              \
        access(race::Access::READ, p, bytes, HERE);                                                \
    }                                                                                              \
    SANITIZER_CALL(__tsan_unaligned_write##bytes, void *p)                                         \
    {                                                                                              \
        access(race::Access::WRITE, p, bytes, HERE);                                               \
    }

ACCESSES(1)
ACCESSES(2)
ACCESSES(4)
ACCESSES(8)
ACCESSES(16)

SANITIZER_CALL(__tsan_read_range, void *p, size_t bytes)
{
    access(race::Access::READ, p, bytes, HERE);
}
SANITIZER_CALL(__tsan_write_range, void *p, size_t bytes)
{
    access(race::Access::WRITE, p, bytes, HERE);
}
SANITIZER_CALL(__tsan_vptr_update, void **, void *) {}
SANITIZER_CALL(__tsan_vptr_read, void **) {}
SANITIZER_CALL(__tsan_func_entry, void *) {}
SANITIZER_CALL(__tsan_func_exit, void) {}
SANITIZER_CALL(__tsan_init, void)
{
    race::current.on = true;
}

/* --- functions that the compiler does not look into; the linker gives them their names where
 * kernels are compiled like this (--wrap) --- */
extern "C" {
__attribute__((weak)) void *__real_memcpy(void *to, const void *from, size_t n);
__attribute__((weak)) void *__real_memmove(void *to, const void *from, size_t n);
__attribute__((weak)) void *__real_memset(void *to, int byte, size_t n);

__attribute__((visibility("hidden"))) void *__wrap_memcpy(void *to, const void *from, size_t n)
{
    access(race::Access::READ, from, n, HERE);
    access(race::Access::WRITE, to, n, HERE);
    return __real_memcpy(to, from, n);
}
__attribute__((visibility("hidden"))) void *__wrap_memmove(void *to, const void *from, size_t n)
{
    access(race::Access::READ, from, n, HERE);
    access(race::Access::WRITE, to, n, HERE);
    return __real_memmove(to, from, n);
}
__attribute__((visibility("hidden"))) void *__wrap_memset(void *to, int byte, size_t n)
{
    access(race::Access::WRITE, to, n, HERE);
    return __real_memset(to, byte, n);
}
}

namespace emulator
{

const void *here()
{
    return HERE;
}

/* Lanes of a warp read together what one of them points at: which of them reads which byte is the
 * hardware's, so that it is a read by all. Two stand for them. */
void warp_reads(int pointing, const void *p, size_t bytes, const void *place)
{
    if (race::current.thread < 0) return;
    int first = race::current.thread / WARP_LANES * WARP_LANES;
    for (int other = 0; other < 2; other++) {
        int thread = first + (pointing + other) % WARP_LANES;
        race::touch(race::Access::READ, p, bytes, thread, 0, place);
    }
}

void atomic_access(const void *p, size_t bytes)
{
    if (race::current.thread < 0) return;
    access(race::Access::ATOMIC, p, bytes, HERE);
    race::atomic_met(p);
}

void fence()
{
    race::fenced();
}

} // namespace emulator
