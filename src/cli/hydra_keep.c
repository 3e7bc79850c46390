/* What a run was composed from, without what must not be kept. */
#include "cli/hydra_keep.h"

#include <string.h>

#include "base/err.h"
#include "hydra/emit.h"

static const char secret_key[] = "wandb_key", blot[] = "***";

/* The same text with what follows "wandb_key=" blotted out, up to the next override in it. */
static const char *text_redact(HyArena *a, const char *text)
{
    for (const char *at = strstr(text, secret_key); at; at = strstr(at + 1, secret_key)) {
        size_t head = (size_t)(at - text) + strlen(secret_key);
        if (text[head] != '=' || strncmp(text + head + 1, blot, strlen(blot)) == 0) continue;
        const char *rest = text + head + 1 + strcspn(text + head + 1, ",");
        text = hy_format(a, "%.*s=%s%s", (int)head, text, blot, rest);
        at = text + head;
    }
    return text;
}

static void tree_redact(HyArena *a, HyNode *node)
{
    bool text = node->kind == HY_TEXT && !hy_is_missing(node) && !hy_is_reference(node);
    bool secret = node->key && strcmp(node->key, secret_key) == 0;
    if (text) {
        node->text = secret ? blot : text_redact(a, node->text);
    } else if (secret && node->kind == HY_INT) { /* digits alone are one too */
        hy_replace(node, hy_new_text(a, blot));
        return;
    }
    for (HyNode *child = node->first, *next; child; child = next) {
        next = child->next;
        tree_redact(a, child);
    }
}

const char *hydra_keep_text(HyArena *a, const HyNode *tree)
{
    HyNode *copy = hy_copy(a, tree);
    if (!copy) return NULL;
    tree_redact(a, copy);
    return hy_yaml(a, copy);
}

static int keep(HyArena *a, TrainFile *file, const char *folder, const char *name,
                const HyNode *tree)
{
    const char *text = hydra_keep_text(a, tree);
    if (text) *file = (TrainFile){hy_format(a, "%s/%s", folder, name), text};
    return text != NULL;
}

int hydra_keep(HyConfig *h, TrainFile file[HYDRA_KEPT])
{
    int n = 0;
    HyArena *a = h->arena;
    const HyNode *folder = hy_get(h->hydra, "output_subdir");
    HyNode *hydra = hy_new(a, HY_MAP), *copy = hy_copy(a, h->hydra);
    if (!folder || folder->kind != HY_TEXT || !copy) return 0;
    hy_set(hydra, HY_TEXT, "hydra", copy);
    n += keep(a, &file[n], folder->text, "config.yaml", h->job);
    n += keep(a, &file[n], folder->text, "hydra.yaml", hydra);
    n += keep(a, &file[n], folder->text, "overrides.yaml", hy_find(h->hydra, "overrides.task"));
    return n;
}
