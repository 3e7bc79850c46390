/* Part of a table of cases, where a whole one takes long: TTT_TEST_EVERY=N runs every Nth. */
#ifndef TTT_TESTS_CASE_STEP_H
#define TTT_TESTS_CASE_STEP_H

#include <stdlib.h>

static inline int case_step(void)
{
    const char *every = getenv("TTT_TEST_EVERY");
    int n = every ? atoi(every) : 1;
    return n > 0 ? n : 1;
}

#endif
