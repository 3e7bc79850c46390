/* The plan of an encoding. */
#include "data/encode_plan.h"

#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/file.h"

static const char file_name[] = "plan";
enum { MAX_LIST = 1 << 26 };

static void add_stat(Sha256 *sha, const struct stat *st)
{
    sha256_number(sha, st->st_size);
    sha256_number(sha, st->st_mtim.tv_sec);
    sha256_number(sha, st->st_mtim.tv_nsec);
}

/* A tokenizer may be a file. */
static void add_tokenizer(Sha256 *sha, const EncodeOptions *o, const Tokenizer *tok)
{
    struct stat st;
    sha256_text(sha, tokenizer_name(tok));
    sha256_number(sha, tokenizer_vocab_size(tok));
    sha256_number(sha, tokenizer_bos(tok));
    sha256_number(sha, tokenizer_eos(tok));
    if (stat(o->tokenizer, &st) == 0) add_stat(sha, &st);
}

static int add_val_list(Sha256 *sha, const char *path, Err *err)
{
    char *text;
    size_t size;
    TRY(file_read(path, &text, &size, MAX_LIST, err));
    sha256_update(sha, text, size);
    free(text);
    return 0;
}

int encode_plan_digest(char hex[SHA256_HEX_SIZE], const EncodeOptions *o, const Tokenizer *tok,
                       const FileList *files, Err *err)
{
    Sha256 sha;
    sha256_init(&sha);
    sha256_text(&sha, "ttt data encode 1");
    add_tokenizer(&sha, o, tok);
    sha256_update(&sha, &o->val_fraction, sizeof o->val_fraction);
    sha256_number(&sha, (int64_t)o->seed);
    sha256_number(&sha, o->chunk_tokens);
    sha256_number(&sha, o->shard_tokens);
    sha256_text(&sha, o->codec);
    if (o->val_list != NULL) TRY(add_val_list(&sha, o->val_list, err));
    for (int64_t i = 0; i < files->n; i++) {
        struct stat st;
        const FileEntry *file = &files->files[i];
        if (stat(file->path, &st) != 0) return file_error(err, "read", file->path);
        sha256_text(&sha, file->name);
        add_stat(&sha, &st);
    }
    sha256_hex(&sha, hex);
    return 0;
}

/* --- what is kept: the plan's digest, then per file its digest and size ------------------------
 */

enum { RECORD = SPLIT_DIGEST + 8 };

bool encode_plan_load(SplitItem *items, int64_t n, const char *folder, const char *hex)
{
    char path[PATH_MAX], *data;
    size_t size, expected = SHA256_HEX_SIZE + (size_t)n * RECORD;
    Err ignored;
    if (path_join(path, sizeof path, folder, file_name, &ignored) < 0 || !file_exists(path) ||
        file_read(path, &data, &size, expected, &ignored) < 0)
        return false;
    bool fits = size == expected && memcmp(data, hex, SHA256_HEX_SIZE) == 0;
    for (int64_t i = 0; i < n && fits; i++) {
        const char *record = data + SHA256_HEX_SIZE + i * RECORD;
        memcpy(items[i].digest, record, SPLIT_DIGEST);
        memcpy(&items[i].size, record + SPLIT_DIGEST, sizeof items[i].size);
    }
    free(data);
    return fits;
}

int encode_plan_save(const SplitItem *items, int64_t n, const char *folder, const char *hex,
                     Err *err)
{
    char path[PATH_MAX];
    size_t size = SHA256_HEX_SIZE + (size_t)n * RECORD;
    TRY(path_join(path, sizeof path, folder, file_name, err));
    char *data = malloc(size);
    if (data == NULL) return err_set(err, "no memory for a list of %lld files", (long long)n);
    memcpy(data, hex, SHA256_HEX_SIZE);
    for (int64_t i = 0; i < n; i++) {
        char *record = data + SHA256_HEX_SIZE + i * RECORD;
        memcpy(record, items[i].digest, SPLIT_DIGEST);
        memcpy(record + SPLIT_DIGEST, &items[i].size, sizeof items[i].size);
    }
    int status = file_write_atomic(path, data, size, err);
    free(data);
    return status;
}

int encode_plan_remove(const char *folder, Err *err)
{
    char path[PATH_MAX];
    TRY(path_join(path, sizeof path, folder, file_name, err));
    return unlink(path) == 0 || errno == ENOENT ? 0 : file_error(err, "remove", path);
}
