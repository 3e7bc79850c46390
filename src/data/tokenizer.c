/* The built-in byte tokenizer, and the one place that maps a tokenizer's name to its kind. */
#include "data/tokenizer.h"

#include <stdlib.h>
#include <string.h>

enum { BYTES_BOS = 256, BYTES_EOS = 257, BYTES_VOCAB = 258 };

static int64_t bytes_encode(const Tokenizer *tok, const void *text, size_t n, int32_t *out)
{
    (void)tok;
    const unsigned char *bytes = text;
    for (size_t i = 0; i < n; i++) out[i] = bytes[i];
    return (int64_t)n;
}

static int bytes_decode(const Tokenizer *tok, int32_t id, char out[TOKENIZER_MAX_PIECE])
{
    (void)tok;
    if (id >= BYTES_BOS) return 0;
    unsigned char byte = (unsigned char)id;
    memcpy(out, &byte, 1);
    return 1;
}

static void bytes_close(Tokenizer *tok)
{
    free(tok);
}

static int bytes_open(Tokenizer **out, Err *err)
{
    static const TokenizerOps ops = {bytes_encode, bytes_decode, bytes_close};
    Tokenizer *tok = malloc(sizeof *tok);
    if (tok == NULL) return err_set(err, "no memory for a tokenizer");
    *tok = (Tokenizer){.ops = &ops,
                       .name = "bytes",
                       .vocab_size = BYTES_VOCAB,
                       .bos = BYTES_BOS,
                       .eos = BYTES_EOS,
                       .cuts_anywhere = true};
    *out = tok;
    return 0;
}

int tokenizer_open(Tokenizer **out, const char *name, Err *err)
{
    *out = NULL;
    if (strcmp(name, "bytes") == 0) return bytes_open(out, err);
    return err_set(err, "unknown tokenizer '%.200s'; the one built in is 'bytes'", name);
}

void tokenizer_close(Tokenizer *tok)
{
    if (tok != NULL) tok->ops->close(tok);
}

int64_t tokenizer_encode(const Tokenizer *tok, const void *text, size_t n, int32_t *out)
{
    return tok->ops->encode(tok, text, n, out);
}

int tokenizer_decode(const Tokenizer *tok, int32_t id, char out[TOKENIZER_MAX_PIECE])
{
    CHECK(id >= 0 && id < tok->vocab_size, "token id %d is not in the vocabulary of '%s'", id,
          tok->name);
    return tok->ops->decode(tok, id, out);
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
