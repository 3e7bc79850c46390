/* Any line as an override, alone and as a sweep: refused with one line, or turned into jobs whose
 * overrides are texts. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "hydra/compose.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    HyArena *a = hy_arena_new();
    HyOverride o;
    Err err;
    const char *line = hy_copy_text(a, (const char *)data, size);
    if (hy_override_parse(a, line, &o, &err) < 0) {
        CHECK(!strpbrk(err.text, "\r\n"), "more than one line: %s", err.text);
    } else {
        HyConfig c = {.arena = a, .override = &o, .n_overrides = 1};
        c.repo = (HyRepo){.arena = a, .err = &err};
        HyNode *jobs = hy_sweep(&c, &err);
        for (const HyNode *job = jobs ? jobs->first : NULL; job; job = job->next)
            for (const HyNode *x = job->first; x; x = x->next) CHECK(x->kind == HY_TEXT, "no text");
        CHECK(jobs || !strpbrk(err.text, "\r\n"), "more than one line: %s", err.text);
    }
    hy_arena_free(a);
    return 0;
}
