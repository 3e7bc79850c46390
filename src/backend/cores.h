/* How many threads make sense: physical cores, since two threads of one core share what products
 * and memory are bound by. */
#ifndef TTT_BACKEND_CORES_H
#define TTT_BACKEND_CORES_H

#include <sched.h>

/* Cores that the CPUs of the set belong to, by the system's description of them in
 * ROOT/cpuN/topology; a CPU that is not described counts as a core. At least 1. */
int cores_of(const cpu_set_t *set, const char *root);

/* The same of the CPUs that this process may use. */
int cores_usable(void);

/* The CPUs themselves, two to a core where a core runs two threads: for work that waits for memory
 * and branches more than it computes, such as splitting text and packing tokens. At least 1. */
int cpus_usable(void);

#endif
