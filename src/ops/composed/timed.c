/* The kernels' proxies for profiling: each times the kernel of its name. Never called from inside a
 * parallel region. */
#include "ops/ops.h"

_Static_assert((int)N_OPS <= (int)PROFILE_OPS_MAX, "a profile has a row for each operation");

#define ROW(name) (PROFILE_GEMM + 1 + (int)(offsetof(Ops, name) / sizeof(void (*)(void))))

#define OP(name, args, names)                                                                      \
    static void timed_##name args                                                                  \
    {                                                                                              \
        double began = profile_begin(be);                                                          \
        be->profile->kernels->name names;                                                          \
        profile_end(be, ROW(name), began);                                                         \
    }
#include "ops/ops.def"
#undef OP

typedef struct Proxies {
    Ops ops;
    const char *name[N_OPS];
} Proxies;

static const Proxies proxies = {
    .name[PROFILE_GEMM] = "gemm",
#define OP(name_, args, names) .ops.name_ = timed_##name_, .name[ROW(name_)] = #name_,
#include "ops/ops.def"
#undef OP
};

const Ops *ops_timed(void)
{
    return &proxies.ops;
}

const char *op_name(int row)
{
    return proxies.name[row];
}
