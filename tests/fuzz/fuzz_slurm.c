/* Any YAML as hydra.launcher and as the file of a submitted job. What sbatch reads of a script is
 * its first lines; none of them may be anything but an option or a remark of ours. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "cli/slurm_script.h"
#include "cli/submitted.h"
#include "hydra/load.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
const char *__lsan_default_suppressions(void);

/* libfyaml 0.7 loses a buffer on a long quoted scalar without its end. */
const char *__lsan_default_suppressions(void)
{
    return "leak:libfyaml";
}

static void head_check(const char *script)
{
    int n, lines = 0;
    slurm_keys(&n);
    for (; *script == '#'; script += strcspn(script, "\n") + 1, lines++)
        CHECK(lines < 2 || strncmp(script, "#SBATCH --", 10) == 0, "a strange line: %.80s", script);
    CHECK(*script == '\n', "the head ends with: %.80s", script);
}

static void script_try(const char *text, size_t size)
{
    static const char usual[] = "{submitit_folder: /s/%j, timeout_min: 60, tasks_per_node: 1, "
                                "nodes: 1, name: n, stderr_to_stdout: false, signal_delay_s: 9, "
                                "max_num_timeout: 0, additional_parameters: {}, "
                                "array_parallelism: 2}";
    Err err;
    HyArena *a = hy_arena_new();
    SlurmPlace place = {.program = "/p", .cwd = "/c", .jobs = "/j", .n = 3};
    HyNode *node = hy_load_text(a, usual, sizeof usual - 1, "usual", &err);
    HyNode *more = hy_load_text(a, text, size, "input", &err);
    CHECK(node, "%s", err.text);
    for (HyNode *x = more && more->kind == HY_MAP ? more->first : NULL; x; x = x->next) {
        HyNode *copy = hy_copy(a, x);
        if (copy && x->key_kind == HY_TEXT) hy_set(node, HY_TEXT, x->key, copy);
    }
    const char *script = more ? slurm_script(a, node, &place, &err) : NULL;
    if (script) {
        head_check(script);
        (void)slurm_folder(a, node, &err);
        (void)slurm_note(a, node);
    } else {
        CHECK(!strpbrk(err.text, "\r\n"), "more than one line: %s", err.text);
    }
    hy_arena_free(a);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char *text = malloc(size + 1);
    HyConfig h;
    TrainOptions options = {0};
    Err err;
    CHECK(text, "out of memory");
    if (size > 0) memcpy(text, data, size);
    text[size] = 0;
    script_try(text, size);
    if (submitted_parse(text, size, "input", &h, &options, &err) < 0)
        CHECK(!strpbrk(err.text, "\r\n"), "more than one line: %s", err.text);
    hy_config_free(&h);
    free(text);
    return 0;
}
