/* Signals that ask a command for an end. */
#include "cli/interrupt.h"

#include "cli/command.h"

static volatile sig_atomic_t caught_signal;

static void on_signal(int number)
{
    caught_signal = number;
}

void interrupt_catch(void)
{
    /* Without SA_RESTART a read from a pipe ends too. */
    struct sigaction action = {.sa_handler = on_signal,
                               .sa_flags = (int)SA_RESETHAND | SA_ONSTACK}; /* signal_stack.h */
    sigemptyset(&action.sa_mask);
    sigaction(SIGINT, &action, NULL);
    sigaction(SIGTERM, &action, NULL);
    signal(SIGPIPE, SIG_IGN);
}

int interrupt_signal(void)
{
    return caught_signal;
}

const volatile sig_atomic_t *interrupt_flag(void)
{
    return &caught_signal;
}

int interrupt_status(void)
{
    return 128 + caught_signal;
}

int interrupt_fail(const char *command, const Err *err)
{
    int status = command_fail(command, err);
    return caught_signal ? interrupt_status() : status;
}
