/* See repeat.h. */
#include "backend/repeat.h"

#include "base/log.h"

static void record(Backend *be, Repeat *r, void (*passes)(void *context), void *context)
{
    Err why = {0};
    backend_record_begin(be);
    passes(context);
    r->record = backend_record_end(be, &why);
    r->refused = !r->record;
    if (*why.text)
        log_info(
            "the GPU starts each operation by itself, which is slower: no record of them could "
            "be made (%s)",
            why.text);
}

void repeat_run(Backend *be, Repeat *r, void (*passes)(void *context), void *context)
{
    if (!backend_records(be) || be->profile || r->runs++ == 0) {
        passes(context);
        return;
    }
    if (!r->record && !r->refused) record(be, r, passes, context);
    if (r->record)
        backend_record_play(be, r->record);
    else
        passes(context);
}

void repeat_forget(Backend *be, Repeat *r)
{
    backend_record_free(be, r->record);
    *r = (Repeat){0};
}
