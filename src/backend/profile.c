/* Counting time by operation and phase: see profile.h. */
#include "backend/profile.h"

#include "base/mem.h" // defines: time_now

const char *const phase_names[N_PHASES] = {
    [PHASE_OTHER] = "other",
    [PHASE_LEAD_FORWARD] = "lead forward",
    [PHASE_TAIL_FORWARD] = "tail forward",
    [PHASE_INNER_STEP] = "inner step",
    [PHASE_REVERSE] = "reverse",
    [PHASE_LEAD_BACKWARD] = "lead backward",
    [PHASE_OPTIMIZER] = "optimizer",
};

void backend_profile(Backend *be, Profile *p)
{
    if (be->profile) {
        profile_enter(be->profile, PHASE_OTHER);
        be->ops = be->profile->kernels;
    }
    be->profile = p;
    if (!p) return;
    p->kernels = be->ops;
    p->phase = PHASE_OTHER;
    p->since = time_now();
    be->ops = ops_timed();
}

void profile_enter(Profile *p, Phase phase)
{
    double now = time_now();
    p->phase_seconds[p->phase] += now - p->since;
    p->phase = phase;
    p->since = now;
}

double profile_start(Profile *p)
{
    p->inside = true;
    return time_now();
}

/* Waits, so that the time is the operation's own; what fails is told by who asks. */
void profile_add(Backend *be, int op, double began)
{
    Profile *p = be->profile;
    Err ignored;
    (void)backend_wait(be, &ignored);
    p->inside = false;
    p->seconds[p->phase][op] += time_now() - began;
    p->calls[p->phase][op]++;
}
