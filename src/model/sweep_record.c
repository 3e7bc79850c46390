/* Runs of a sweep do the same to the same memory each time, whatever the tokens are: they are
 * repeated (backend/repeat.h), so that chunks too short to hide the start of their operations cost
 * no more than those. */
#include "model/sweep_state.h"

/* The record, or the place for one, of runs like this; NULL: places are taken. */
static SweepRecord *record_of(Sweep *s, const SweepRun *r)
{
    bool norms = r->report && r->report->inner_gnorm;
    for (int i = 0; i < SWEEP_RECORDS; i++) {
        SweepRecord *kept = &s->record[i];
        if (kept->repeat.runs == 0)
            *kept = (SweepRecord){
                .gradient = r->gradient, .chunk_weight = r->chunk_weight, .norms = norms};
        if (kept->gradient == r->gradient && kept->chunk_weight == r->chunk_weight &&
            kept->norms == norms)
            return kept;
    }
    return NULL;
}

typedef struct Passes {
    Sweep *s;
    const SweepRun *r;
} Passes;

static void passes(void *context)
{
    Passes *p = context;
    sweep_passes(p->s, p->r);
}

/* Nobody looks on between the operations of a repeated run. */
void sweep_play(Sweep *s, const SweepRun *r)
{
    bool watched = r->report && r->report->on_inner_step;
    SweepRecord *kept = watched ? NULL : record_of(s, r);
    Passes p = {s, r};
    if (kept)
        repeat_run(s->m->be, &kept->repeat, passes, &p);
    else
        passes(&p);
}

void sweep_records_free(Sweep *s)
{
    for (int i = 0; i < SWEEP_RECORDS; i++) repeat_forget(s->m->be, &s->record[i].repeat);
}
