/* Any bytes as a tree of three files and some overrides, parts ended by a byte 1: composition and
 * resolution refuse it with one line, or give a tree whose YAML reads back as the same tree. */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "hydra/compose.h"
#include "hydra/emit.h"
#include "hydra/load.h"
#include "hydra/scalar.h"

enum { MAX_OVERRIDES = 4, PATH_SIZE = 256 };

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
const char *__lsan_default_suppressions(void);

/* libfyaml 0.7 loses a buffer on a long quoted scalar without its end. */
const char *__lsan_default_suppressions(void)
{
    return "leak:libfyaml";
}

static void put(const char *folder, const char *name, const uint8_t *data, size_t size)
{
    char path[2 * PATH_SIZE];
    snprintf(path, sizeof path, "%s/%s", folder, name);
    FILE *f = fopen(path, "w");
    CHECK(f && fwrite(data, 1, size, f) == size && fclose(f) == 0, "cannot write %s", path);
}

static const char *scratch(char folder[PATH_SIZE])
{
    char group[2 * PATH_SIZE];
    snprintf(folder, PATH_SIZE, "/dev/shm/fuzz-hydra-%ld", (long)getpid());
    snprintf(group, sizeof group, "%s/g", folder);
    mkdir(folder, 0700);
    mkdir(group, 0700);
    return folder;
}

static void round_trip(HyConfig *h, HyNode *tree)
{
    Err err;
    hy_json(h->arena, tree);
    const char *text = hy_yaml(h->arena, tree);
    const HyNode *back = hy_load_text(h->arena, text, strlen(text), "back", &err);
    CHECK(back, "%s in:\n%s", err.text, text);
    const char *again = hy_yaml(h->arena, back);
    CHECK(strcmp(text, again) == 0, "read back differently:\n%s---\n%s", text, again);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const char *const names[] = {"config.yaml", "g/a.yaml", "g/b.yaml"};
    const char *overrides[MAX_OVERRIDES];
    char folder[PATH_SIZE], *text = malloc(size + 1), *rest = text, *part;
    int i = 0, n = 0;
    CHECK(text, "out of memory");
    if (size > 0) memcpy(text, data, size);
    text[size] = 0;
    scratch(folder);
    for (; i < 3; i++) {
        const uint8_t *end = size > 0 ? memchr(data, 1, size) : NULL;
        size_t bytes = end ? (size_t)(end - data) : size;
        put(folder, names[i], data, bytes);
        data += bytes + (end != NULL);
        size -= bytes + (end != NULL);
    }
    for (i = 0; (part = strsep(&rest, "\1")) != NULL; i++) {
        if (i >= 3 && n < MAX_OVERRIDES) overrides[n++] = part;
    }
    HyConfig h;
    Err err;
    HyOptions o = {.folder = {{"main", folder}},
                   .n_folders = 1,
                   .config_name = "config",
                   .overrides = overrides,
                   .n_overrides = n,
                   .num = -1};
    int rc = hy_compose(&h, &o, &err);
    if (rc == 0) {
        HyEval e = hy_eval_job(&h, &err);
        HyNode *tree = hy_resolve(&e, h.job, false);
        if (tree) round_trip(&h, tree);
        rc = tree ? 0 : -1;
    }
    if (rc < 0) CHECK(!strpbrk(err.text, "\r\n"), "more than one line: %s", err.text);
    hy_config_free(&h);
    free(text);
    return 0;
}
