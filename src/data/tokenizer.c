/* Opening tokenizers: which kind, from where, and whether it is the one that was meant. */
#include "data/tokenizer.h"

#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "base/mem.h"
#include "base/names.h"
#include "base/sha256.h"
#include "data/token_model.h"

enum { BYTES_BOS = 256, BYTES_EOS = 257, BYTES_VOCAB = 258 };
static const size_t max_file = (size_t)1 << 28;

/* What a copy of the file is called; the digest follows after '@'. */
static const char json_name[] = "tokenizer.json", ranks_name[] = "tokenizer.model";

bool tokenizer_name_exact(const char *name)
{
    return strcmp(name, "bytes") == 0 || strchr(name, '@') != NULL;
}

/* --- opening ------------------------------------------------------------------------------------
 */

static Tokenizer *bytes_open(void)
{
    Tokenizer *tok = mem_alloc(sizeof *tok);
    *tok =
        (Tokenizer){.name = "bytes", .vocab_size = BYTES_VOCAB, .bos = BYTES_BOS, .eos = BYTES_EOS};
    return tok;
}

static bool is_json(const char *text, size_t n)
{
    size_t at = n >= 3 && memcmp(text, "\xef\xbb\xbf", 3) == 0 ? 3 : 0;
    while (at < n && strchr(" \t\r\n", text[at]) && text[at]) at++;
    return at < n && text[at] == '{';
}

static void name_make(char name[TOKENIZER_NAME], bool json, const char *text, size_t n)
{
    char hex[SHA256_HEX_SIZE];
    Sha256 sha;
    sha256_init(&sha);
    sha256_update(&sha, text, n);
    sha256_hex(&sha, hex);
    snprintf(name, TOKENIZER_NAME, "%s@%s", json ? json_name : ranks_name, hex);
}

int tokenizer_read(Tokenizer **out, const char *text, size_t n, const char *file, Err *err)
{
    *out = NULL;
    Tokenizer *tok = mem_alloc(sizeof *tok);
    tok->model = mem_alloc(sizeof *tok->model);
    tok->model->bos = tok->model->eos = -1;
    bool json = is_json(text, n);
    int status = json ? hf_file_read(tok->model, text, n, file, err)
                      : ranks_file_read(tok->model, text, n, file, err);
    if (status < 0) {
        tokenizer_close(tok);
        return -1;
    }
    name_make(tok->name, json, text, n);
    tok->vocab_size = tok->model->bpe.n_ids;
    tok->bos = tok->model->bos;
    tok->eos = tok->model->eos;
    *out = tok;
    return 0;
}

static int file_open(Tokenizer **out, const char *path, Err *err)
{
    char *text;
    size_t n;
    TRY(file_read(path, &text, &n, max_file, err));
    int status = tokenizer_read(out, text, n, path, err);
    free(text);
    TRY(status);
    (*out)->file = realpath(path, NULL);
    if ((*out)->file) return 0;
    tokenizer_close(*out);
    *out = NULL;
    return file_error(err, "find", path);
}

static int folder_open(Tokenizer **out, const char *folder, Err *err)
{
    char path[PATH_MAX];
    TRY(path_join(path, sizeof path, folder, json_name, err));
    if (!file_exists(path)) TRY(path_join(path, sizeof path, folder, ranks_name, err));
    if (file_exists(path)) return file_open(out, path, err);
    return err_set(err, "%s holds neither %s nor %s", folder, json_name, ranks_name);
}

int tokenizer_open(Tokenizer **out, const char *what, Err *err)
{
    *out = NULL;
    if (strcmp(what, "bytes") == 0 || strcmp(what, "byte") == 0) {
        *out = bytes_open();
        return 0;
    }
    if (dir_exists(what)) return folder_open(out, what, err);
    if (file_exists(what)) return file_open(out, what, err);
    char shown[NAME_SHOWN_MAX];
    return err_set(err,
                   "no tokenizer '%s': name 'bytes', which is built in, or a file that is there "
                   "(%s, %s)",
                   name_show(shown, what), json_name, ranks_name);
}

int tokenizer_named_path(char path[PATH_MAX], const char *name, const char *folder, Err *err)
{
    path[0] = 0;
    if (strchr(name, '@') == NULL) return 0;
    bool json = strncmp(name, json_name, sizeof json_name - 1) == 0;
    return path_join(path, PATH_MAX, folder, json ? json_name : ranks_name, err);
}

int tokenizer_open_named(Tokenizer **out, const char *name, const char *folder, Err *err)
{
    char path[PATH_MAX], shown[NAME_SHOWN_MAX];
    *out = NULL;
    if (strcmp(name, "bytes") == 0) return tokenizer_open(out, name, err);
    if (!tokenizer_name_exact(name)) return folder_open(out, folder, err);
    TRY(tokenizer_named_path(path, name, folder, err));
    if (!file_exists(path))
        return err_set(err, "%s is missing: put the tokenizer's file there whose SHA-256 is %s",
                       path, strchr(name, '@') + 1);
    TRY(file_open(out, path, err));
    if (strcmp((*out)->name, name) == 0) return 0;
    tokenizer_close(*out);
    *out = NULL;
    return err_set(err, "%s is not the tokenizer that belongs here (%s): put the right file there",
                   path, name_show(shown, name));
}

void tokenizer_close(Tokenizer *tok)
{
    if (tok == NULL) return;
    token_model_free(tok->model);
    free(tok->file);
    mem_free(tok);
}

/* --- copies -------------------------------------------------------------------------------------
 */

int tokenizer_copy_file(const char *name, const char *from, const char *folder, Err *err)
{
    char to[PATH_MAX], now[TOKENIZER_NAME], *text;
    size_t n;
    TRY(tokenizer_named_path(to, name, folder, err));
    TRY(file_read(from, &text, &n, max_file, err));
    name_make(now, is_json(text, n), text, n);
    int status = strcmp(now, name) == 0 ? file_write_atomic(to, text, n, err)
                                        : err_set(err, "%s is another file than before", from);
    free(text);
    return status;
}

int tokenizer_copy(const Tokenizer *tok, const char *folder, Err *err)
{
    return tok->file ? tokenizer_copy_file(tok->name, tok->file, folder, err) : 0;
}

int tokenizer_folder_name(char name[TOKENIZER_NAME], const char *folder, Err *err)
{
    char path[PATH_MAX], *text;
    size_t n;
    TRY(path_join(path, sizeof path, folder, json_name, err));
    if (!file_exists(path)) TRY(path_join(path, sizeof path, folder, ranks_name, err));
    if (!file_exists(path)) return 0;
    TRY(file_read(path, &text, &n, max_file, err));
    name_make(name, is_json(text, n), text, n);
    free(text);
    return 1;
}

/* --- asking -------------------------------------------------------------------------------------
 */

int tokenizer_check_bos(const Tokenizer *tok, Err *err)
{
    if (tok->bos >= 0) return 0;
    return err_set(err,
                   "%s has no special token that begins a document: add one to its added_tokens "
                   "and its post_processor",
                   tok->file ? tok->file : tok->name);
}

static int token_bytes(const Tokenizer *tok, int32_t id, char out[TOKENIZER_MAX_PIECE], bool spell)
{
    _Static_assert((int)TOKENIZER_MAX_PIECE >= (int)BPE_MAX_TOKEN, "a token fits");
    CHECK(id >= 0 && id < tok->vocab_size, "token id %d is not in the vocabulary of '%s'", id,
          tok->name);
    if (tok->model == NULL) {
        if (id >= BYTES_BOS) return 0;
        unsigned char byte = (unsigned char)id;
        memcpy(out, &byte, 1);
        return 1;
    }
    const Bpe *b = &tok->model->bpe;
    size_t n;
    const unsigned char *bytes = bpe_bytes(b, id, &n);
    if ((b->kind[id] & BPE_CONTROL) && !spell) return 0;
    memcpy(out, bytes, n);
    return (int)n;
}

int tokenizer_decode(const Tokenizer *tok, int32_t id, char out[TOKENIZER_MAX_PIECE])
{
    return token_bytes(tok, id, out, false);
}

int tokenizer_spell(const Tokenizer *tok, int32_t id, char out[TOKENIZER_MAX_PIECE])
{
    return token_bytes(tok, id, out, true);
}

const char *tokenizer_name(const Tokenizer *tok)
{
    return tok->name;
}
int32_t tokenizer_vocab_size(const Tokenizer *tok)
{
    return tok->vocab_size;
}
int32_t tokenizer_bos(const Tokenizer *tok)
{
    return tok->bos;
}
int32_t tokenizer_eos(const Tokenizer *tok)
{
    return tok->eos;
}
