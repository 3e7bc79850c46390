/* What attention.cu takes from its neighbours. */
#ifndef TTT_OPS_ATTENTION_GPU_CUH
#define TTT_OPS_ATTENTION_GPU_CUH

#include "ops/attention_pass.cuh"

extern "C" {
#include "ops/attention_row.h" // defines: attention_row, attention_row_suits
}

/* attention_tc.cu: the pass on tensor cores; false, and nothing done, where it is not for them. */
bool attention_tc_forward(Backend *be, const AttentionPass &a);
bool attention_tc_backward(Backend *be, const AttentionPass &a);

#endif
