/* The table of CPU kernels of one instruction set. */
#include "ops/kernel.h"

extern const Ops KERNEL(ops);

const Ops KERNEL(ops) = {
#define OP(name, args, names) .name = KERNEL(name),
#include "ops/ops.def"
#undef OP
};
