/* Feeds any bytes to token_source_open as the three files of a dataset split, and reads all that it
 * lets through. Input: a mode byte, then dataset.json, a NUL, train.docs.jsonl, a NUL, train.bin.
 * Odd modes put a fitting dataset.json in place of the first part, so that what lies behind it is
 * reached often. */
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/file.h"
#include "data/dataset.h"
#include "data/loader.h"
#include "data/token_source.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

typedef struct Part {
    const uint8_t *data;
    size_t size;
} Part;

/* Takes what lies before the next NUL, or everything. */
static Part part_take(Part *rest)
{
    const uint8_t *nul = rest->size == 0 ? NULL : memchr(rest->data, 0, rest->size);
    Part part = {rest->data, nul == NULL ? rest->size : (size_t)(nul - rest->data)};
    size_t used = part.size + (nul != NULL);
    *rest = (Part){rest->data + used, rest->size - used};
    return part;
}

static void write_part(const char *dir, const char *name, Part part)
{
    char path[128];
    snprintf(path, sizeof path, "%s/%s", dir, name);
    FILE *file = fopen(path, "wb");
    CHECK(file != NULL, "cannot write %s", path);
    if (part.size > 0) fwrite(part.data, 1, part.size, file);
    fclose(file);
}

static void write_fitting(const char *dir, uint8_t mode, Part docs, Part bin)
{
    Err err;
    DatasetInfo info = {.tokenizer = "bytes", .vocab_size = 258, .bos = 256, .eos = 257};
    info.token_size = mode & 2 ? 2 : 4;
    for (int s = 0; s < SPLIT_COUNT; s++) {
        SplitInfo *split = &info.splits[s];
        *split = (SplitInfo){.token_file = "train.bin", .docs_file = "train.docs.jsonl"};
        split->tokens = (int64_t)bin.size / info.token_size;
        for (size_t i = 0; i < docs.size; i++) split->documents += docs.data[i] == '\n';
        memset(split->sha256, '0', 64);
    }
    CHECK(dataset_write(&info, dir, &err) == 0, "%s", err.text);
}

/* The counts that were checked must hold for what is read. */
static void touch(const TokenSource *source)
{
    Err err = {""};
    int32_t ids[256];
    Loader *loader;
    int64_t total = 0, length = token_source_length(source);
    for (int64_t at = 0; at < length; at++) {
        int status = token_source_read(source, at, 1, ids, &err);
        CHECK(status < 0 || (ids[0] >= 0 && ids[0] < source->vocab_size), "id %d", ids[0]);
    }
    for (int64_t i = 0; i < doc_count(source); i++) {
        Document doc = doc_info(source, i);
        CHECK(doc.start == total && doc.length > 0 && strlen(doc.name) < 1 << 20, "document");
        total += doc.length;
    }
    CHECK(total == length, "the documents hold %lld tokens", (long long)total);
    if (loader_open(&loader, source, (LoaderOptions){.seq_length = 3, .batch_size = 5}, &err) < 0)
        return;
    loader_batch(loader, length, ids, &err);
    loader_close(loader);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size == 0) return 0;
    char dir[64];
    Err err = {""};
    TokenSource *source;
    Part rest = {data + 1, size - 1};
    Part json = part_take(&rest), docs = part_take(&rest);
    snprintf(dir, sizeof dir, "/dev/shm/ttt-fuzz-%ld", (long)getpid());
    mkdir(dir, 0700);
    write_part(dir, "dataset.json", json);
    write_part(dir, "train.docs.jsonl", docs);
    write_part(dir, "train.bin", rest);
    if (data[0] & 1) write_fitting(dir, data[0], docs, rest);
    if (token_source_open(&source, dir, data[0] & 4 ? "val" : "train", &err) == 0) {
        touch(source);
        token_source_close(source);
    } else {
        CHECK(strstr(err.text, dir) && !strchr(err.text, '\n'), "bad error text: %s", err.text);
    }
    CHECK(dir_remove(dir, &err) == 0, "%s", err.text);
    return 0;
}
