/* Operations that are the same each time, on the same memory: kept as a record of the machine,
 * where it has such a thing, and from then on done as one (backend_record_begin). */
#ifndef TTT_BACKEND_REPEAT_H
#define TTT_BACKEND_REPEAT_H

#include "backend/backend.h"

typedef struct Repeat {
    int runs;     /* so far */
    bool refused; /* no record could be made */
    BackendRecord *record;
} Repeat;

/* Does what `passes` starts: by calling it the first time, in which scratch grows and products look
 * for their algorithms, where a profile is taken, and where no record can be made, which is said in
 * one line; from the record otherwise. */
void repeat_run(Backend *be, Repeat *r, void (*passes)(void *context), void *context);
/* As if it had never run: the operations, or their memory, will be others. */
void repeat_forget(Backend *be, Repeat *r);

#endif
