/* Which parameters a list of globs selects. A glob and a path are compared part by part; as a glob
 * also takes everything below a node it matches, it always acts as if ".**" stood at its end. */
#include <string.h>

#include "model/config.h"

typedef struct Part {
    const char *start;
    size_t size;
} Part;

static Part part_at(const char *s)
{
    return (Part){s, strcspn(s, ".")};
}

static const char *part_next(const char *s)
{
    s += strcspn(s, ".");
    return *s ? s + 1 : s;
}

static bool part_is_any(const char *s)
{
    return s[0] == '*' && s[1] == '*' && strchr(".", s[2]);
}

/* '*' stands for any piece, also an empty one. On a mismatch only the last '*' needs to grow. */
static bool part_matches(Part glob, Part name)
{
    size_t g = 0, n = 0, star = glob.size, resume = 0;
    while (n < name.size) {
        if (g < glob.size && glob.start[g] == '*') {
            star = g++;
            resume = n;
        } else if (g < glob.size && glob.start[g] == name.start[n]) {
            g++, n++;
        } else if (star < glob.size) {
            g = star + 1;
            n = ++resume;
        } else {
            return false;
        }
    }
    while (g < glob.size && glob.start[g] == '*') g++;
    return g == glob.size;
}

/* The same walk over parts, with '**' in the place of '*'. */
static bool glob_matches(const char *glob, const char *path)
{
    const char *after_any = NULL, *resume = NULL;
    if (!*glob) return false;
    for (;;) {
        if (!*glob) return true;
        if (part_is_any(glob)) {
            glob = after_any = part_next(glob);
            resume = path;
        } else if (*path && part_matches(part_at(glob), part_at(path))) {
            glob = part_next(glob);
            path = part_next(path);
        } else if (after_any && *resume) {
            glob = after_any;
            path = resume = part_next(resume);
        } else {
            return false;
        }
    }
}

bool spec_selects(const SpecList *spec, const char *path)
{
    static const char exclude[] = "exclude ";
    bool selected = false;
    for (int i = 0; i < spec->n; i++) {
        const char *glob = spec->glob[i];
        bool deselect = strncmp(glob, exclude, sizeof exclude - 1) == 0;
        if (deselect) glob += sizeof exclude - 1;
        while (*glob == ' ') glob++;
        if (glob_matches(glob, path)) selected = !deselect;
    }
    return selected;
}
