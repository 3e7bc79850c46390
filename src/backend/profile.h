/* Where the time of a step goes: seconds and calls by operation and phase. Off by default, and then
 * it costs nothing: kernels are called through their plain table. Switched on, they are called
 * through proxies that read the clock (ops/composed/timed.c). */
#ifndef TTT_BACKEND_PROFILE_H
#define TTT_BACKEND_PROFILE_H

#include <stdint.h>

#include "backend/backend.h"

typedef enum Phase {
    PHASE_OTHER, /* what is marked as nothing else: copies between segments, host work */
    PHASE_LEAD_FORWARD,
    PHASE_TAIL_FORWARD, /* with the loss where nothing is learned from it */
    PHASE_INNER_STEP,   /* the loss, its gradient, and the step */
    PHASE_REVERSE,
    PHASE_LEAD_BACKWARD,
    PHASE_OPTIMIZER,
    N_PHASES
} Phase;

extern const char *const phase_names[N_PHASES];

/* Row 0 is products at top level; the others are kernels in the order of ops.def. */
enum { PROFILE_GEMM = 0, PROFILE_OPS_MAX = 64 };

typedef struct Profile {
    double seconds[N_PHASES][PROFILE_OPS_MAX];
    int64_t calls[N_PHASES][PROFILE_OPS_MAX];
    double phase_seconds[N_PHASES]; /* from marker to marker: what no operation took included */
    Phase phase;                    /* the one at hand */
    double since;                   /* when it began */
    bool inside;                    /* an operation is being timed: those it calls are part of it */
    const struct Ops *kernels;      /* what the proxies call */
} Profile;

/* Starts to add to p, which begins as {0}, in PHASE_OTHER; NULL ends it, and p is complete. */
void backend_profile(Backend *be, Profile *p);

/* The proxies. */
const struct Ops *ops_timed(void);

/* Marks where a phase begins. */
void profile_enter(Profile *p, Phase phase);
static inline void profile_phase(Backend *be, Phase phase)
{
    if (be->profile) profile_enter(be->profile, phase);
}

/* Around one operation: profile_end(be, op, profile_begin(be)) counts what lies between. */
double profile_start(Profile *p);
void profile_add(Backend *be, int op, double began);
static inline double profile_begin(Backend *be)
{
    return be->profile && !be->profile->inside ? profile_start(be->profile) : -1;
}
static inline void profile_end(Backend *be, int op, double began)
{
    if (began >= 0) profile_add(be, op, began);
}

#endif
