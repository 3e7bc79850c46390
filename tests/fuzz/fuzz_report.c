/* Feeds any bytes to the report of a run as its logs. Input: log.jsonl, a NUL, eval.jsonl, a NUL,
 * history.jsonl, a NUL, eval_summary.json. gnuplot is not found: what is drawn is not the matter.
 */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/file.h"
#include "model/config.h"
#include "run/report.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void run_folder_make(const char *folder)
{
    char path[128];
    Err err;
    Config c;
    setenv("PATH", "/nonexistent", 1);
    mkdir(folder, 0777);
    snprintf(path, sizeof path, "%s/config.yaml", folder);
    config_defaults(&c);
    CHECK(file_exists(path) || config_write(&c, path, &err) == 0, "%s", err.text);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const char *const names[] = {"log.jsonl", "eval.jsonl", "history.jsonl",
                                        "eval_summary.json"};
    char folder[64], path[128];
    Err err;
    snprintf(folder, sizeof folder, "/tmp/fuzz_report.%ld", (long)getpid());
    run_folder_make(folder);
    for (int i = 0; i < ARRAY_LEN(names); i++) {
        const uint8_t *nul = size == 0 ? NULL : memchr(data, 0, size);
        size_t part = nul ? (size_t)(nul - data) : size;
        snprintf(path, sizeof path, "%s/%s", folder, names[i]);
        FILE *file = fopen(path, "wb");
        CHECK(file != NULL, "cannot write %s", path);
        if (part > 0) fwrite(data, 1, part, file);
        fclose(file);
        size_t used = part + (nul != NULL);
        data += used;
        size -= used;
    }
    CHECK(report_write(folder, &err) == 0, "%s", err.text);
    return 0;
}
