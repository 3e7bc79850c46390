/* Memory files of strangers: shown, and loaded into a small model, which then reads on. An input is
 * either a file as it is, or changes to a good one: bytes that no fuzzer would find, such as the
 * model's digest, are then in place. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "../tiny_model.h"
#include "base/file.h"
#include "ttt.h"

typedef struct Target {
    ttt_model *model;
    char path[64];
    char *good; /* (size) a good memory file */
    size_t size;
} Target;

static void target_start(Target *t)
{
    static const int32_t text[] = {256, 104, 105, 32, 104, 105, 32, 104, 111, 33, 10, 257};
    char dir[] = "/tmp/ttt-fuzz-XXXXXX", why[TTT_ERROR_MAX];
    Err err;
    ttt_reader *r;
    ttt_source source = {.name = "text", .sha256 = "00", .tokens = ARRAY_LEN(text)};
    CHECK(mkdtemp(dir), "no temporary folder");
    CHECK(tiny_model_write(dir, 1, "meta", &err) == 0, "%s", err.text);
    CHECK(ttt_model_open(&t->model, dir, &(ttt_model_options){.threads = 1}, why) == 0, "%s", why);
    CHECK(dir_remove(dir, &err) == 0, "%s", err.text);
    snprintf(t->path, sizeof t->path, "/dev/shm/ttt-fuzz-%ld", (long)getpid());
    CHECK(ttt_reader_new(&r, t->model, NULL, why) == 0, "%s", why);
    CHECK(ttt_feed(r, text, ARRAY_LEN(text), NULL) == 0, "%s", ttt_error(r));
    CHECK(ttt_reader_save(r, t->path, &source, 1) == 0, "%s", ttt_error(r));
    CHECK(file_read(t->path, &t->good, &t->size, (size_t)1 << 30, &err) == 0, "%s", err.text);
    ttt_reader_free(r);
}

/* The good file with changes: each is an offset of two bytes and a new byte. Only the beginning is
 * reached, which holds the header. */
static void write_changed(const Target *t, const uint8_t *change, size_t size)
{
    char *copy = malloc(t->size);
    CHECK(copy, "no memory");
    memcpy(copy, t->good, t->size);
    for (size_t i = 0; i + 3 <= size; i += 3) {
        size_t at = (size_t)change[i] << 8 | change[i + 1];
        copy[at % t->size] = (char)change[i + 2];
    }
    FILE *file = fopen(t->path, "wb");
    CHECK(file && fwrite(copy, 1, t->size, file) == t->size && fclose(file) == 0, "no room");
    free(copy);
}

static void write_raw(const Target *t, const uint8_t *data, size_t size)
{
    FILE *file = fopen(t->path, "wb");
    CHECK(file && fwrite(data, 1, size, file) == size && fclose(file) == 0, "no room");
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static Target t; /* made with the first input, kept until the process ends */
    static const int32_t text[] = {1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16};
    char why[TTT_ERROR_MAX] = "";
    ttt_memory_info info;
    ttt_source sources[2];
    ttt_reader *r;
    if (t.model == NULL) target_start(&t);
    if (size > 0 && data[0] == 'c')
        write_changed(&t, data + 1, size - 1);
    else
        write_raw(&t, data, size);
    int n = ttt_memory_describe(t.path, &info, sources, ARRAY_LEN(sources), why);
    CHECK(n >= 0 || why[0] != 0, "a failure without a message");
    if (ttt_reader_load(&r, t.model, t.path, NULL, why) == 0) {
        ttt_feed(r, text, ARRAY_LEN(text), NULL);
        ttt_reader_free(r);
    }
    unlink(t.path);
    return 0;
}
