/* Where handlers of signals run. oneDNN's float products, up to 3.11.1 (its issue 4845), point the
 * stack pointer into a block of the heap while they run: a handler's frame, which the kernel writes
 * below it, would destroy what lies in front of that block. So the thread that computes has a stack
 * of its own for handlers, and the threads that help it take no signals. */
#ifndef TTT_BACKEND_SIGNAL_STACK_H
#define TTT_BACKEND_SIGNAL_STACK_H

#include "backend/backend.h"

/* For the calling thread and the helpers of its parallel regions. Handlers that may run meanwhile
 * are installed with SA_ONSTACK. */
void signal_stack_open(Backend *be);
void signal_stack_close(Backend *be);

#endif
