/* What attention.cu takes from its neighbours. */
#ifndef TTT_OPS_ATTENTION_GPU_CUH
#define TTT_OPS_ATTENTION_GPU_CUH

#include "ops/attention_pass.cuh"

extern "C" {
#include "ops/attention_row.h"
}

#endif
