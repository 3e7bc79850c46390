/* Any bytes as a saved configuration: it is refused with one line, or its values print and read
 * back to the same text. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "model/config_table.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
const char *__lsan_default_suppressions(void);

/* libfyaml 0.7 loses a buffer on a long quoted scalar without its end. */
const char *__lsan_default_suppressions(void)
{
    return "leak:libfyaml";
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    Config c, back;
    Err err;
    if (config_parse(&c, (const char *)data, size, "fuzz", false, &err) < 0) {
        CHECK(!strpbrk(err.text, "\r\n"), "more than one line: %s", err.text);
        return 0;
    }
    (void)config_check(&c, &err);
    char *text = config_text(&c);
    CHECK(config_parse(&back, text, strlen(text), "back", true, &err) == 0, "%s", err.text);
    char *again = config_text(&back);
    CHECK(strcmp(text, again) == 0, "read back differently");
    free(text);
    free(again);
    return 0;
}
