/* Nodes, the arena that owns them, and paths into a tree. */
#include "hydra/tree.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"

enum { FIRST_BLOCK = 1 << 10, LARGEST_BLOCK = 1 << 16, ALIGNMENT = 16, WHERE_MAX = 4096 };

typedef struct Block Block;
struct Block {
    Block *next;
    size_t used, size;
    char data[];
};

struct HyArena {
    Block *blocks;
    size_t bytes, nodes;
};

HyArena *hy_arena_new(void)
{
    HyArena *a = calloc(1, sizeof *a);
    mem_need(a, "a configuration");
    return a;
}

void hy_arena_free(HyArena *a)
{
    if (!a) return;
    for (Block *b = a->blocks; b;) {
        Block *next = b->next;
        free(b);
        b = next;
    }
    free(a);
}

/* Data starts at the alignment of calloc plus a header of three words. */
static size_t block_offset(const Block *b)
{
    return ((size_t)b->data + b->used + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT - (size_t)b->data;
}

void *hy_alloc(HyArena *a, size_t size)
{
    Block *b = a->blocks;
    if (!b || block_offset(b) + size > b->size) {
        size_t room = b ? 2 * b->size : FIRST_BLOCK;
        if (room > LARGEST_BLOCK) room = LARGEST_BLOCK;
        if (room < size + ALIGNMENT) room = size + ALIGNMENT;
        b = calloc(1, sizeof *b + room);
        mem_need(b, "a configuration");
        b->size = room;
        b->next = a->blocks;
        a->blocks = b;
        a->bytes += room;
        mem_close(b->data, room);
    }
    size_t offset = block_offset(b);
    b->used = offset + size + MEM_GUARD;
    mem_open(b->data + offset, size);
    return b->data + offset;
}

static bool is_full(const HyArena *a)
{
    return a->bytes > HY_MAX_BYTES || a->nodes > HY_MAX_NODES;
}

void hy_print_begin(HyPrint *p)
{
    p->out = open_memstream(&p->text, &p->size);
    mem_need(p->out, "a configuration");
}

char *hy_print_end(HyPrint *p, HyArena *a)
{
    fclose(p->out);
    char *copy = hy_copy_text(a, p->text, p->size);
    free(p->text);
    return copy;
}

int hy_check_size(const HyArena *a, Err *err)
{
    if (!is_full(a)) return 0;
    return err_set(err,
                   "the configuration grows beyond %d values; a file or a reference repeats "
                   "itself",
                   HY_MAX_NODES);
}

char *hy_copy_text(HyArena *a, const char *text, size_t size)
{
    char *copy = hy_alloc(a, size + 1);
    if (size > 0) memcpy(copy, text, size);
    return copy;
}

char *hy_format(HyArena *a, const char *fmt, ...)
{
    va_list args, again;
    va_start(args, fmt);
    va_copy(again, args);
    int size = vsnprintf(NULL, 0, fmt, args);
    CHECK(size >= 0, "a text cannot be formatted");
    char *text = hy_alloc(a, (size_t)size + 1);
    vsnprintf(text, (size_t)size + 1, fmt, again);
    va_end(again);
    va_end(args);
    return text;
}

HyNode *hy_new(HyArena *a, HyKind kind)
{
    HyNode *node = hy_alloc(a, sizeof *node);
    node->kind = kind;
    a->nodes++;
    return node;
}

HyNode *hy_new_text(HyArena *a, const char *text)
{
    HyNode *node = hy_new(a, HY_TEXT);
    node->text = text;
    return node;
}

HyNode *hy_new_bool(HyArena *a, bool truth)
{
    HyNode *node = hy_new(a, HY_BOOL);
    node->truth = truth;
    return node;
}

HyNode *hy_new_int(HyArena *a, const char *digits)
{
    HyNode *node = hy_new(a, HY_INT);
    node->text = digits;
    return node;
}

HyNode *hy_new_float(HyArena *a, double number)
{
    HyNode *node = hy_new(a, HY_FLOAT);
    node->number = number;
    return node;
}

/* Depth is bounded by what could be built. */
HyNode *hy_copy(HyArena *a, const HyNode *node)
{
    if (is_full(a)) return NULL;
    HyNode *copy = hy_new(a, node->kind);
    *copy = *node;
    copy->key = NULL;
    copy->parent = copy->first = copy->last = copy->next = NULL;
    copy->busy = false;
    for (const HyNode *c = node->first; c; c = c->next) {
        HyNode *child = hy_copy(a, c);
        if (!child) return NULL;
        hy_append(copy, child);
        child->key = c->key;
        child->key_kind = c->key_kind;
    }
    return copy;
}

bool hy_is_container(const HyNode *node)
{
    return node->kind == HY_LIST || node->kind == HY_MAP;
}

bool hy_is_missing(const HyNode *node)
{
    return node->kind == HY_TEXT && strcmp(node->text, "???") == 0;
}

bool hy_is_reference(const HyNode *node)
{
    return node->kind == HY_TEXT && !node->final && strstr(node->text, "${");
}

static HyNode *find_key(const HyNode *map, HyKind kind, const char *key)
{
    for (HyNode *c = map->first; c; c = c->next) {
        if (c->key_kind == kind && strcmp(c->key, key) == 0) return c;
    }
    return NULL;
}

HyNode *hy_get(const HyNode *map, const char *key)
{
    return map->kind == HY_MAP ? find_key(map, HY_TEXT, key) : NULL;
}

HyNode *hy_at(const HyNode *list, long index)
{
    HyNode *c = list->kind == HY_LIST && index >= 0 ? list->first : NULL;
    while (c && index-- > 0) c = c->next;
    return c;
}

int hy_count(const HyNode *container)
{
    int n = 0;
    for (const HyNode *c = container->first; c; c = c->next) n++;
    return n;
}

void hy_append(HyNode *list, HyNode *child)
{
    child->parent = list;
    child->next = NULL;
    if (list->last) {
        list->last->next = child;
    } else {
        list->first = child;
    }
    list->last = child;
}

void hy_set(HyNode *map, HyKind key_kind, const char *key, HyNode *child)
{
    HyNode *old = find_key(map, key_kind, key);
    if (old) {
        hy_replace(old, child);
        return;
    }
    child->key = key;
    child->key_kind = key_kind;
    hy_append(map, child);
}

static HyNode **link_of(HyNode *child)
{
    HyNode **link = &child->parent->first;
    while (*link != child) link = &(*link)->next;
    return link;
}

static void last_renew(HyNode *container)
{
    container->last = container->first;
    while (container->last && container->last->next) container->last = container->last->next;
}

void hy_replace(HyNode *old, HyNode *child)
{
    if (old == child) return;
    HyNode *parent = old->parent;
    child->key = old->key;
    child->key_kind = old->key_kind;
    child->parent = parent;
    child->next = old->next;
    *link_of(old) = child;
    last_renew(parent);
}

void hy_remove(HyNode *child)
{
    HyNode *parent = child->parent;
    *link_of(child) = child->next;
    last_renew(parent);
    child->parent = child->next = NULL;
}

void hy_put(HyArena *a, HyNode *root, const char *path, HyNode *child)
{
    for (const char *dot; (dot = strchr(path, '.')) != NULL; path = dot + 1) {
        const char *key = hy_copy_text(a, path, (size_t)(dot - path));
        HyNode *next = hy_get(root, key);
        if (!next || next->kind != HY_MAP) {
            next = hy_new(a, HY_MAP);
            hy_set(root, HY_TEXT, key, next);
        }
        root = next;
    }
    hy_set(root, HY_TEXT, hy_copy_text(a, path, strlen(path)), child);
}

HyNode *hy_find(HyNode *root, const char *path)
{
    char key[256];
    while (root) {
        size_t size = strcspn(path, ".");
        if (size >= sizeof key) return NULL;
        memcpy(key, path, size);
        key[size] = 0;
        root = hy_get(root, key);
        if (!path[size]) break;
        path += size + 1;
    }
    return root;
}

static int path_add(HyArena *a, HyPath *path, const char *text, size_t size, Err *err)
{
    if (path->n == HY_MAX_PATH) {
        return err_set(err, "a key of more than %d parts: %.60s...", HY_MAX_PATH, path->part[0]);
    }
    path->part[path->n++] = hy_copy_text(a, text, size);
    return 0;
}

/* As OmegaConf reads keys: a part is what stands after a dot or within brackets. */
int hy_path_split(HyArena *a, const char *text, HyPath *path, Err *err)
{
    path->n = 0;
    const char *s = text;
    if (*s != '[') {
        size_t size = strcspn(s, ".[");
        TRY(path_add(a, path, s, size, err));
        s += size;
    }
    while (*s) {
        const char *close = *s == '[' ? strchr(s, ']') : NULL;
        if (close) {
            TRY(path_add(a, path, s + 1, (size_t)(close - s) - 1, err));
            s = close + 1;
        } else if (*s == '.') {
            size_t size = strcspn(s + 1, ".[");
            if (s[1 + size] != '[' || size > 0) TRY(path_add(a, path, s + 1, size, err));
            s += 1 + size;
        } else {
            s++; /* a bracket that is never closed, or text after one */
        }
    }
    return 0;
}

const char *hy_full_key(HyArena *a, const HyNode *node)
{
    const char *key = "";
    for (int depth = 0; node->parent && depth < HY_MAX_NESTING; node = node->parent, depth++) {
        const char *gap = !*key || *key == '[' ? "" : ".";
        if (node->parent->kind == HY_LIST) {
            int index = 0;
            for (const HyNode *c = node->parent->first; c != node; c = c->next) index++;
            key = hy_format(a, "[%d]%s%s", index, gap, key);
        } else {
            key = hy_format(a, "%s%s%s", node->key ? node->key : "", gap, key);
        }
    }
    return key;
}

const char *hy_where(HyArena *a, const HyNode *node)
{
    const char *file = node->file ? node->file : "configuration";
    if (node->line > 0) return hy_format(a, "%.*s:%d", WHERE_MAX, file, node->line);
    return file;
}

int hy_one_line(Err *err)
{
    for (char *s = err->text; *s; s++) {
        if ((unsigned char)*s < 32 || *s == 127) *s = '?';
    }
    return -1;
}
