/* Names of defaults list entries. Groups and packages are relative to the file they stand in,
 * unless they start with '/' or "_global_". */
#include "hydra/defaults_entry.h"

#include <string.h>

static const char global[] = "_global_";

static const char *dotted(HyArena *a, const char *path)
{
    char *out = hy_copy_text(a, path, strlen(path));
    for (char *s = out; *s; s++) {
        if (*s == '/') *s = '.';
    }
    return out;
}

/* The part before the last slash. */
static const char *folder_of(HyArena *a, const char *path)
{
    const char *slash = strrchr(path, '/');
    return slash ? hy_copy_text(a, path, (size_t)(slash - path)) : "";
}

static const char *below(HyArena *a, const char *folder, const char *path)
{
    if (!*folder) return path;
    return *path ? hy_format(a, "%s/%s", folder, path) : folder;
}

/* --- reading -----------------------------------------------------------------------------------*/

static void split_package(HyArena *a, const char *text, HyEntry *e)
{
    const char *at = strchr(text, '@');
    e->group = at ? hy_copy_text(a, text, (size_t)(at - text)) : text;
    if (!at) return;
    e->package = hy_copy_text(a, at + 1, strcspn(at + 1, ":"));
    if (strcmp(e->package, "_here_") == 0) e->package = "";
}

/* "override", "optional" and the group, with single blanks between them. */
static void take_keywords(HyEntry *e)
{
    const char *group = e->group;
    for (const char *gap; (gap = strchr(group, ' ')) != NULL; group = gap + 1) {
        size_t size = (size_t)(gap - group);
        if (size == 8 && strncmp(group, "override", size) == 0)
            e->override = true;
        else if (size == 8 && strncmp(group, "optional", size) == 0)
            e->optional = true;
        else
            break;
    }
    const char *last = strrchr(e->group, ' ');
    e->group = last ? last + 1 : e->group;
}

static int read_group(HyArena *a, const HyNode *pair, HyEntry *e, Err *err)
{
    e->is_group = true;
    split_package(a, pair->key, e);
    take_keywords(e);
    if (!*e->group) return err_set(err, "%s: defaults: the group's name is missing", e->place);
    if (pair->kind == HY_NULL) return 0;
    if (pair->kind == HY_TEXT) {
        e->value = pair->text;
        return 0;
    }
    if (pair->kind != HY_LIST) {
        return err_set(err, "%s: defaults: the option of '%.60s' must be a name; quote it",
                       e->place, e->group);
    }
    for (const HyNode *o = pair->first; o; o = o->next) {
        if (o->kind != HY_TEXT) {
            return err_set(err, "%s: defaults: a list of options holds names", e->place);
        }
    }
    e->options = pair;
    return 0;
}

int hy_entry_read(HyArena *a, const HyNode *line, HyEntry *out, Err *err)
{
    *out = (HyEntry){.place = hy_where(a, line), .n_children = -1};
    if (line->kind == HY_MAP && line->first && !line->first->next &&
        line->first->key_kind == HY_TEXT)
        return read_group(a, line->first, out, err);
    if (line->kind != HY_TEXT) {
        return err_set(err,
                       "%s: defaults: write `- group: option`, `- file` or `- _self_`, one each",
                       out->place);
    }
    split_package(a, line->text, out);
    if (hy_entry_is_self(out) && out->package) {
        return err_set(err, "%s: defaults: _self_ cannot have a package", out->place);
    }
    return 0;
}

/* --- names -------------------------------------------------------------------------------------*/

bool hy_entry_is_self(const HyEntry *e)
{
    const char *name = e->is_group ? e->value : e->group;
    return name && strcmp(name, "_self_") == 0;
}

const char *hy_entry_name(const HyEntry *e)
{
    if (e->is_group) return e->value;
    const char *slash = strrchr(e->group, '/');
    return slash ? slash + 1 : e->group;
}

const char *hy_entry_group(HyArena *a, const HyEntry *e)
{
    bool absolute = *e->group == '/';
    const char *path = e->group + absolute;
    if (!e->is_group) path = folder_of(a, path);
    return absolute ? path : below(a, e->parent_group, path);
}

const char *hy_entry_config(HyArena *a, const HyEntry *e)
{
    if (e->is_group) {
        return hy_format(a, "%s/%s", hy_entry_group(a, e), e->value ? e->value : "null");
    }
    return *e->group == '/' ? e->group + 1 : below(a, e->parent_group, e->group);
}

/* Everything up to the last "_global_" counts for nothing. */
const char *hy_entry_package(HyArena *a, const HyEntry *e, bool with_header)
{
    const char *package = e->package;
    if (!package && with_header) package = e->header;
    if (!package) {
        const char *path = e->group + (*e->group == '/');
        package = dotted(a, e->is_group ? path : folder_of(a, path));
    }
    const char *all = *e->parent_package && *package
                          ? hy_format(a, "%s.%s", e->parent_package, package)
                      : *package ? package
                                 : e->parent_package;
    const char *last = NULL;
    for (const char *s = all; (s = strstr(s, global)) != NULL; s++) last = s;
    if (!last) return all;
    last += sizeof global - 1;
    return *last ? last + 1 : last;
}

const char *hy_entry_key(HyArena *a, const HyEntry *e)
{
    const char *group = hy_entry_group(a, e), *package = hy_entry_package(a, e, false);
    if (strcmp(dotted(a, group), package) == 0) return group;
    return hy_format(a, "%s@%s", group, *package ? package : global);
}

void hy_entry_place(HyArena *a, HyEntry *e, const char *parent_group, const char *parent_package)
{
    static const char word[] = "_group_";
    e->parent_group = parent_group;
    e->parent_package = parent_package;
    const char *at = e->package ? strstr(e->package, word) : NULL;
    if (!at) return;
    e->package = hy_format(a, "%s.%.*s%s%s", global, (int)(at - e->package), e->package,
                           dotted(a, hy_entry_group(a, e)), at + sizeof word - 1);
}

/* A header is always absolute. */
void hy_entry_header(HyArena *a, HyEntry *e, const char *header)
{
    if (!header) return;
    size_t size = sizeof global - 1;
    bool absolute = strncmp(header, global, size) == 0 && (!header[size] || header[size] == '.');
    e->header = absolute ? header : hy_format(a, "%s.%s", global, header);
}

bool hy_entry_is_missing(const HyEntry *e)
{
    const char *name = hy_entry_name(e);
    return name && strcmp(name, "???") == 0;
}
