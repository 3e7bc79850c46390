/* Feeds any text as a sharded set's index, beside two shards that are good, and looks every tensor
 * up in what it lets through. */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/file.h"
#include "base/st_set.h"

int LLVMFuzzerInitialize(int *argc, char ***argv);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static char folder[] = "/tmp/fuzz_index.XXXXXX", path[64];

static void shard(const char *file, const char *name)
{
    static const float one = 1;
    const StTensor t = {
        .name = name, .type = ST_F32, .n_dims = 1, .shape = {1}, .n_elements = 1, .data = &one};
    Err err;
    snprintf(path, sizeof path, "%s/%s", folder, file);
    CHECK(st_write(path, &t, 1, NULL, 0, &err) == 0, "%s", err.text);
}

/* A folder of its own, because an index leads to files beside it. It stays behind. */
int LLVMFuzzerInitialize(int *argc, char ***argv)
{
    (void)argc, (void)argv;
    CHECK(mkdtemp(folder), "cannot make a folder");
    shard("1.st", "a");
    shard("2.st", "b");
    snprintf(path, sizeof path, "%s/i.json", folder);
    return 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    Err err = {""};
    StSet *set;
    FILE *file = fopen(path, "wb");
    CHECK(file && fwrite(data, 1, size, file) == size && fclose(file) == 0, "cannot write");
    if (st_set_open(&set, path, &err) == 0) {
        CHECK(st_set_count(set) > 0, "an empty set");
        for (int i = 0; i < st_set_count(set); i++)
            CHECK(st_set_find(set, st_set_at(set, i)->name) == i && st_set_file(set, i),
                  "tensor %d is not found by its name", i);
        st_set_close(set);
    } else {
        CHECK(err.text[0] && !strchr(err.text, '\n'), "bad error text: %s", err.text);
    }
    return 0;
}
