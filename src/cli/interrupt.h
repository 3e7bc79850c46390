/* Signals that ask a command for an end. */
#ifndef TTT_CLI_INTERRUPT_H
#define TTT_CLI_INTERRUPT_H

#include <signal.h>

#include "base/err.h"

/* SIGINT and SIGTERM set a flag, and the same signal a second time ends the process; SIGPIPE
 * becomes a failing write. */
void interrupt_catch(void);
/* The signal that came, 0 while there was none. */
int interrupt_signal(void);
/* What the signal sets: not zero once it came. */
const volatile sig_atomic_t *interrupt_flag(void);
/* Exit status after it, as shells count: 130, 143. */
int interrupt_status(void);
/* command_fail of what a signal may have stopped: then the status is the signal's. */
int interrupt_fail(const char *command, const Err *err);

#endif
