/* Any lines as overrides on top of the project's configurations (run it at the root of the source
 * tree), and any globs against a parameter path. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "model/config.h"

enum { MAX_OVERRIDES = 8 };

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
const char *__lsan_default_suppressions(void);

/* libfyaml 0.7 loses a buffer on a long quoted scalar without its end. */
const char *__lsan_default_suppressions(void)
{
    return "leak:libfyaml";
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const char path[] = "language_model.model.h.suffix_blocks.feed_forward_prime.w1.weight";
    const char *overrides[MAX_OVERRIDES];
    char folder[CFG_PATH], *text = malloc(size + 1), *rest = text, *line;
    int n = 0;
    Config c;
    Err err;
    CHECK(text && config_dir_find(folder, sizeof folder, NULL, &err) == 0, "%s", err.text);
    if (size > 0) memcpy(text, data, size);
    text[size] = 0;
    while (n < MAX_OVERRIDES && (line = strsep(&rest, "\n")) != NULL) overrides[n++] = line;
    if (config_compose(&c, folder, overrides, n, &err) == 0) {
        char *saved = config_text(&c);
        (void)config_check(&c, &err);
        (void)spec_selects(&c.training.spec_inner, path);
        free(saved);
    } else {
        CHECK(!strpbrk(err.text, "\r\n"), "more than one line: %s", err.text);
    }
    free(text);
    return 0;
}
