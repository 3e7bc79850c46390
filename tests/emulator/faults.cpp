#include "faults.h"

#include "state.h"

namespace emulator
{

namespace
{

/* The number after NAME: in the list, 0 for a name alone, -1 where it is not there. */
long wanted(const char *name)
{
    const char *list = getenv("TTT_EMULATOR_FAIL");
    size_t n = strlen(name);
    while (list && *list) {
        if (strncmp(list, name, n) == 0 && strchr(":,", list[n]))
            return list[n] == ':' ? strtol(list + n + 1, nullptr, 10) : 0;
        list = strchr(list, ',');
        if (list) list++;
    }
    return -1;
}

struct Count {
    const char *name;
    bool lasting; /* what comes after the Nth fails too */
    long calls;
} counts[] = {{"malloc", true, 0}, {"launch", false, 0}, {"sync", false, 0}, {"capture", true, 0}};

} // namespace

bool fault_due(Fault fault)
{
    Count &c = counts[(int)fault];
    long n = wanted(c.name);
    c.calls++;
    return n > 0 && (c.calls == n || (c.lasting && c.calls > n));
}

cudaError_t device_missing()
{
    if (wanted("driver") >= 0 || wanted("old-driver") >= 0) return cudaErrorInsufficientDriver;
    return wanted("device") >= 0 ? cudaErrorNoDevice : cudaSuccess;
}

int driver_version()
{
    if (wanted("driver") >= 0) return 0;
    return wanted("old-driver") >= 0 ? 12000 : CUDART_VERSION;
}

size_t memory_limit()
{
    long mb = wanted("memory");
    return mb > 0 ? (size_t)mb << 20 : (size_t)80 << 30;
}

size_t shared_limit()
{
    long kb = wanted("shared");
    return kb > 0 ? (size_t)kb << 10 : MAX_SHARED;
}

bool reads_late()
{
    return wanted("late-reads") >= 0;
}

bool algorithms_missing()
{
    return wanted("algorithm") >= 0;
}

} // namespace emulator
