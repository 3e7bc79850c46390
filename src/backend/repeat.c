/* See repeat.h. */
#include "backend/repeat.h"

void repeat_run(Backend *be, Repeat *r, void (*passes)(void *context), void *context)
{
    if (!backend_records(be) || be->profile || r->runs++ == 0) {
        passes(context);
        return;
    }
    if (!r->record) {
        backend_record_begin(be);
        passes(context);
        r->record = backend_record_end(be);
    }
    if (r->record) backend_record_play(be, r->record);
}

void repeat_forget(Backend *be, Repeat *r)
{
    backend_record_free(be, r->record);
    *r = (Repeat){0};
}
