/* What every CPU kernel file starts with: the instruction set's suffix on public names, and the
 * prototypes of all kernels under it. */
#ifndef TTT_OPS_KERNEL_H
#define TTT_OPS_KERNEL_H

#include "ops/ops.h"

#define PASTE_(a, b) a##_##b
#define PASTE(a, b)  PASTE_(a, b)
#define KERNEL(name) PASTE(name, ISA)

#define OP(name, args, names) void KERNEL(name) args;
#include "ops/ops.def"
#undef OP

static inline int min_int(int a, int b)
{
    return a < b ? a : b;
}
static inline int max_int(int a, int b)
{
    return a > b ? a : b;
}

static inline int round_up_int(int n, int unit)
{
    return (n + unit - 1) / unit * unit;
}

/* With no tangent anywhere, a gradient in the tangent slot is an ordinary one: run it as the value.
 */
static inline bool plain_in_tangent_slot(Dual dy)
{
    return !dy.v && dy.t;
}

#endif
