/* Said once by each program that computes in bfloat16 without instructions for it. */
#ifndef TTT_RUN_BF16_TELL_H
#define TTT_RUN_BF16_TELL_H

#include "backend/backend.h"
#include "base/log.h"

static inline void bf16_tell(bool emulated)
{
    if (emulated) log_info("bf16: this CPU has no bf16 instructions; products run in float32");
}

#endif
