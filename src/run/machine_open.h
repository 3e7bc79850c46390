/* The backend that a configuration asks for. */
#ifndef TTT_RUN_MACHINE_OPEN_H
#define TTT_RUN_MACHINE_OPEN_H

#include "backend/backend.h"
#include "model/config.h"

/* wish: threads, instruction set, and the device, NULL for the configuration's; bfloat16 is as the
 * configuration says. */
int machine_open(Backend **be, const Config *cfg, BackendOptions wish, Err *err);
/* Said once by each program that computes in bfloat16 without instructions for it, as machine_open
 * does. */
void bf16_tell(bool emulated);

#endif
