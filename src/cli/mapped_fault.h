/* A file that is mapped and then cut short by somebody, or whose disk fails, is met as a SIGBUS
 * where its bytes are read. */
#ifndef TTT_CLI_MAPPED_FAULT_H
#define TTT_CLI_MAPPED_FAULT_H

/* From here on such a fault ends the program with one line that names the file, and status 1. */
void mapped_fault_watch(void);

#endif
