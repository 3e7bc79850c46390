/* Runs of a sweep do the same to the same memory each time, whatever the tokens are. Where the
 * machine can keep what it is told to do, a second run's passes are kept and from then on done as
 * one, so that chunks too short to hide the start of their operations cost no more than those. The
 * first run does not count: in it scratch grows, and products look for their algorithms. */
#include "model/sweep_state.h"

/* The record, or the place for one, of runs like this; NULL: places are taken. */
static SweepRecord *record_of(Sweep *s, const SweepRun *r)
{
    bool norms = r->report && r->report->inner_gnorm;
    for (int i = 0; i < SWEEP_RECORDS; i++) {
        SweepRecord *kept = &s->record[i];
        if (kept->runs == 0)
            *kept = (SweepRecord){
                .gradient = r->gradient, .chunk_weight = r->chunk_weight, .norms = norms};
        if (kept->gradient == r->gradient && kept->chunk_weight == r->chunk_weight &&
            kept->norms == norms)
            return kept;
    }
    return NULL;
}

/* Nobody looks on between the operations of a recorded run. */
static bool watched(const Sweep *s, const SweepRun *r)
{
    return s->m->be->profile || (r->report && r->report->on_inner_step);
}

void sweep_play(Sweep *s, const SweepRun *r)
{
    Backend *be = s->m->be;
    SweepRecord *kept = backend_records(be) && !watched(s, r) ? record_of(s, r) : NULL;
    if (!kept || kept->runs++ == 0) {
        sweep_passes(s, r);
        return;
    }
    if (!kept->record) {
        backend_record_begin(be);
        sweep_passes(s, r);
        kept->record = backend_record_end(be);
    }
    if (kept->record) backend_record_play(be, kept->record);
}

void sweep_records_free(Sweep *s)
{
    for (int i = 0; i < SWEEP_RECORDS; i++) backend_record_free(s->m->be, s->record[i].record);
}
