#include "backend/signal_stack.h"

#include <omp.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>

#include "base/mem.h"

/* The registers alone take 11 KiB on some CPUs. */
enum { STACK = 1 << 16 };

/* Faults are the thread's own. */
static const int faults[] = {SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGTRAP, SIGABRT, SIGSYS};

void signal_stack_open(Backend *be)
{
    stack_t old;
    sigset_t others;
    sigfillset(&others);
    for (int i = 0; i < ARRAY_LEN(faults); i++) sigdelset(&others, faults[i]);
#pragma omp parallel num_threads(be->threads)
    if (omp_get_thread_num() > 0) pthread_sigmask(SIG_BLOCK, &others, NULL);
    if (sigaltstack(NULL, &old) != 0 || !(old.ss_flags & SS_DISABLE))
        return; /* the program's own */
    be->signal_stack = malloc(STACK);
    mem_need(be->signal_stack, "a stack for signals");
    stack_t stack = {.ss_sp = be->signal_stack, .ss_size = STACK};
    CHECK(sigaltstack(&stack, NULL) == 0, "no stack for signals");
}

void signal_stack_close(Backend *be)
{
    stack_t now, none = {.ss_flags = SS_DISABLE};
    if (!be->signal_stack) return;
    if (sigaltstack(NULL, &now) == 0 && now.ss_sp == be->signal_stack) sigaltstack(&none, NULL);
    free(be->signal_stack);
}
