/* The backend that a configuration asks for. */
#include "run/machine_open.h"

#include "base/log.h"

void bf16_tell(bool emulated)
{
    if (emulated) log_info("bf16: this CPU has no bf16 instructions; products run in float32");
}

int machine_open(Backend **be, const Config *cfg, BackendOptions wish, Err *err)
{
    wish.device = config_device(cfg, wish.device);
    wish.bf16 = cfg->model.compute_dtype == COMPUTE_BF16;
    TRY(backend_open(be, &wish, err));
    bf16_tell(backend_bf16_emulated(*be));
    return 0;
}
