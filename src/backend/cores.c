/* Counting cores: a core is named by the first CPU of its list of siblings. */
#include "backend/cores.h"

#include <stdio.h>
#include <stdlib.h>

/* The first number of the list ("0,64" or "0-1"); the CPU's own where there is no list. */
static size_t first_sibling(size_t cpu, const char *root)
{
    char path[512], line[64];
    size_t first = cpu;
    snprintf(path, sizeof path, "%s/cpu%zu/topology/thread_siblings_list", root, cpu);
    FILE *f = fopen(path, "r");
    if (!f) return cpu;
    if (fgets(line, sizeof line, f)) {
        char *end;
        long n = strtol(line, &end, 10);
        if (end != line && n >= 0 && n < CPU_SETSIZE) first = (size_t)n;
    }
    fclose(f);
    return first;
}

int cores_of(const cpu_set_t *set, const char *root)
{
    cpu_set_t seen;
    CPU_ZERO(&seen);
    for (size_t cpu = 0; cpu < CPU_SETSIZE; cpu++)
        if (CPU_ISSET(cpu, set)) CPU_SET(first_sibling(cpu, root), &seen);
    int n = CPU_COUNT(&seen);
    return n > 0 ? n : 1;
}

int cores_usable(void)
{
    cpu_set_t set;
    if (sched_getaffinity(0, sizeof set, &set) != 0) return 1;
    return cores_of(&set, "/sys/devices/system/cpu");
}

int cpus_usable(void)
{
    cpu_set_t set;
    return sched_getaffinity(0, sizeof set, &set) == 0 ? CPU_COUNT(&set) : 1;
}
