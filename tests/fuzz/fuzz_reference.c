/* Any text as a value with references, in a small tree: refused with one line where it is read or
 * where it is followed, or resolved. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "hydra/load.h"
#include "hydra/refer.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void resolve(HyArena *a, const char *text)
{
    static const char tree[] = "x: 1\nm: ???\ny: {z: [1, '${x}', {k: '${..w}'}], w: s, v: null}\n";
    Err err;
    HyNode *root = hy_load_text(a, tree, sizeof tree - 1, "tree", &err);
    CHECK(root, "%s", err.text);
    hy_set(root, HY_TEXT, "t", hy_new_text(a, text));
    hy_set(hy_get(root, "y"), HY_TEXT, "t", hy_new_text(a, text));
    HyEval e = {.arena = a, .root = root, .err = &err};
    for (int strict = 0; strict < 2; strict++) {
        if (!hy_resolve(&e, root, strict)) CHECK(!strpbrk(err.text, "\r\n"), "%s", err.text);
        CHECK(e.depth == 0, "depth %d is left", e.depth);
        e.depth = 0;
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    HyArena *a = hy_arena_new();
    Err err;
    const char *text = hy_copy_text(a, (const char *)data, size);
    if (hy_check_reference(a, text, &err) < 0) {
        CHECK(!strpbrk(err.text, "\r\n"), "more than one line: %s", err.text);
    } else {
        resolve(a, text);
    }
    hy_arena_free(a);
    return 0;
}
