/* Between the emulator's own files. */
#ifndef EMULATOR_STATE_H
#define EMULATOR_STATE_H

#include <cuda_runtime.h>

#include <string>

namespace emulator
{

/* fibers.cpp: "kernel NAME (file:line), block (x, y, z), thread (x, y, z)", or empty. */
std::string running();
std::string running_kernel(); /* without block and thread */

/* trace.cpp: writes a line and is true where the work shall be told and not be done. */
bool traced(const char *format, ...) __attribute__((format(printf, 1, 2)));
bool tracing();
/* fibers.cpp: the kernel's name in the text of a launch. */
std::string name_of(const char *arguments);

/* memory.cpp */
enum class Kind { HOST, DEVICE, MANAGED, PINNED }; /* HOST: not from here */

struct Place {
    Kind kind;
    size_t left; /* bytes from here to the end of the allocation */
};
Place place_of(const void *p);
void *take(size_t bytes, Kind kind); /* NULL: no memory */
bool give(void *p, Kind kind);       /* false: not one of those */
size_t taken();                      /* bytes of device memory */
bool is_device_page(const void *p);  /* of what take gave */
/* "at byte N of ...", of device or shared memory, or what else p is. */
std::string memory_text(const void *p);
/* Shared memory: found once per kernel, on the thread that runs it; NaN before every block. */
void find_shared();
void poison_shared(size_t dynamic_bytes);

/* Device memory is within reach from open to close. */
void open_memory();
void close_memory();
/* Ends the program if something was written in front of or behind an allocation. */
void check_edges(const char *after);

} // namespace emulator

#endif
