/* Two parts, split at the first NUL byte: a Llama's config.json, and a safetensors file. Both are
 * read as `ttt import` would (with "params/" before names where the first part begins with P); what
 * fits together is read and checked to its last value. */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/file.h"
#include "run/hf_config.h"
#include "run/import.h"

int LLVMFuzzerInitialize(int *argc, char ***argv);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static char folder[] = "/tmp/fuzz_import.XXXXXX", config[64], model[64];

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
    (void)argc, (void)argv;
    CHECK(mkdtemp(folder), "cannot make a folder");
    snprintf(config, sizeof config, "%s/config.json", folder);
    snprintf(model, sizeof model, "%s/model.safetensors", folder);
    return 0;
}

static void put(const char *path, const uint8_t *data, size_t size)
{
    FILE *file = fopen(path, "wb");
    CHECK(file && fwrite(data, 1, size, file) == size && fclose(file) == 0, "cannot write");
}

static void check_line(const Err *err)
{
    CHECK(err->text[0] && !strchr(err->text, '\n'), "bad error text: %s", err->text);
}

static void values_read(const Import *im)
{
    Err err = {""};
    for (int id = 0; id < N_PARAMS; id++) {
        const ParamEntry *e = &im->map.table.entry[id];
        if (!e->present || e->size > 1 << 20) continue;
        float *values = malloc((e->size + 1) * sizeof *values);
        values[e->size] = 7;
        if (weights_read(&im->map, (ParamId)id, values, &err) < 0) check_line(&err);
        CHECK(values[e->size] == 7, "%s was written past its end", e->path);
        free(values);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    Err err = {""};
    Import im;
    const uint8_t *nul = memchr(data, 0, size);
    size_t first = nul ? (size_t)(nul - data) : size;
    put(config, data, first);
    put(model, data + first + (nul != NULL), size - first - (nul != NULL));
    const ImportOptions o = {
        .source = model, .out = "out", .prefix = size && data[0] == 'P' ? "params/" : ""};
    if (import_open(&im, &o, &err) == 0) {
        values_read(&im);
        import_close(&im);
    } else {
        check_line(&err);
    }
    int64_t kv_heads;
    Config c;
    config_defaults(&c);
    if (hf_config_parse(&c, &kv_heads, (const char *)data, first, "config.json", &err) < 0)
        check_line(&err);
    return 0;
}
