/* Ranks files: a line is a token in base64, a space, its rank. The file names neither the split
 * pattern nor the special tokens: those are told by how many ranks there are. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "data/token_model.h"
#include "data/unicode.h"

typedef struct Special {
    const char *name;
    int32_t id;
} Special;

typedef struct Family {
    size_t ranks;
    const char *pattern;
    Special special[5]; /* the first begins a document, the second, or else the first, ends it */
} Family;

static const Family families[] = {
    {50256, "gpt2", {{"<|endoftext|>", 50256}}},
    {50280, "p50k", {{"<|endoftext|>", 50256}}},
    {100256,
     "cl100k",
     {{"<|endoftext|>", 100257},
      {"<|fim_prefix|>", 100258},
      {"<|fim_middle|>", 100259},
      {"<|fim_suffix|>", 100260},
      {"<|endofprompt|>", 100276}}},
    {199998, "o200k", {{"<|endoftext|>", 199999}, {"<|endofprompt|>", 200018}}},
};

/* Llama 3, which is any other number of ranks: 256 special tokens follow them. Those without a name
 * here are reserved, and numbered. */
enum { LLAMA_SPECIALS = 256 };
static const char *const llama_names[] = {"<|begin_of_text|>",
                                          "<|end_of_text|>",
                                          NULL,
                                          NULL,
                                          "<|finetune_right_pad_id|>",
                                          "<|step_id|>",
                                          "<|start_header_id|>",
                                          "<|end_header_id|>",
                                          "<|eom_id|>",
                                          "<|eot_id|>",
                                          "<|python_tag|>",
                                          "<|image|>"};

/* --- lines --------------------------------------------------------------------------------------
 */

typedef struct Reading {
    const char *file;
    int64_t line;
    BpeToken *tokens; /* (n of room) */
    size_t n, room;
    unsigned char *bytes; /* (used) all tokens; never more than the file has */
    size_t used;
} Reading;

static int complain(const Reading *r, const char *what, Err *err)
{
    return err_set(err,
                   "%s:%lld: %s; a ranks file (tokenizer.model) has a token in base64, a space and "
                   "its rank on each line",
                   r->file, (long long)r->line, what);
}

static int digit_of(unsigned char c)
{
    if (c >= 'A' && c <= 'Z') return c - 'A';
    if (c >= 'a' && c <= 'z') return c - 'a' + 26;
    if (c >= '0' && c <= '9') return c - '0' + 52;
    return c == '+' ? 62 : c == '/' ? 63 : -1;
}

/* Returns the number of bytes, -1 when it is not base64. */
static int64_t base64_read(const char *p, size_t n, unsigned char *out)
{
    if (n == 0 || n % 4 != 0) return -1;
    size_t padding = p[n - 1] != '=' ? 0 : p[n - 2] != '=' ? 1 : 2, used = 0;
    uint32_t word = 0;
    for (size_t i = 0; i < n; i++) {
        int digit = i >= n - padding ? 0 : digit_of((unsigned char)p[i]);
        if (digit < 0) return -1;
        word = word << 6 | (uint32_t)digit;
        if (i % 4 != 3) continue;
        for (int k = 2; k >= 0; k--) out[used++] = (unsigned char)(word >> (8 * k));
        word = 0;
    }
    return (int64_t)(used - padding);
}

static int rank_read(const char *p, size_t n, int32_t *rank)
{
    int64_t value = 0;
    if (n == 0 || n > 9) return -1;
    for (size_t i = 0; i < n; i++) {
        if (p[i] < '0' || p[i] > '9') return -1;
        value = 10 * value + (p[i] - '0');
    }
    *rank = (int32_t)value;
    return value < BPE_MAX_IDS ? 0 : -1;
}

static int token_add(Reading *r, int32_t id, uint8_t kind, size_t length, Err *err)
{
    if (r->n == r->room) {
        r->room = r->room ? 2 * r->room : 1 << 12;
        BpeToken *more = realloc(r->tokens, r->room * sizeof *more);
        if (more == NULL) return err_set(err, "no memory for the tokens of %s", r->file);
        r->tokens = more;
    }
    r->tokens[r->n++] = (BpeToken){id, kind, (uint32_t)r->used, (uint32_t)length};
    r->used += length;
    return 0;
}

static bool only_space(const unsigned char *p, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (p[i] != ' ' && p[i] != '\n' && p[i] != '\t') return false;
    return true;
}

static int line_read(Reading *r, const char *p, size_t n, Err *err)
{
    const char *space = memchr(p, ' ', n);
    size_t head = space ? (size_t)(space - p) : n;
    int32_t rank;
    if (space == NULL) return complain(r, "no space in this line", err);
    if (rank_read(space + 1, n - head - 1, &rank) < 0)
        return complain(r, "the rank is not a number below 4194304", err);
    if (head > 4 * BPE_MAX_TOKEN) return complain(r, "the token is too long", err);
    unsigned char *bytes = r->bytes + r->used;
    int64_t length = base64_read(p, head, bytes);
    if (length <= 0) return complain(r, "the token is not base64", err);
    uint8_t kind = BPE_TEXT | (only_space(bytes, (size_t)length) ? BPE_SPACE : 0);
    return token_add(r, rank, kind, (size_t)length, err);
}

static int lines_read(Reading *r, const char *text, size_t n, Err *err)
{
    for (size_t at = 0, length; at < n; at += length + 1) {
        const char *end = memchr(text + at, '\n', n - at);
        length = end ? (size_t)(end - text) - at : n - at;
        size_t used = length > 0 && text[at + length - 1] == '\r' ? length - 1 : length;
        r->line++;
        if (used > 0) TRY(line_read(r, text + at, used, err));
    }
    return r->n > 0 ? 0 : err_set(err, "%s: no tokens in it", r->file);
}

/* --- special tokens -----------------------------------------------------------------------------
 */

static int special_add(Reading *r, AddedToken *list, int *n, const char *name, int32_t id, Err *err)
{
    size_t length = strlen(name);
    memcpy(r->bytes + r->used, name, length);
    TRY(token_add(r, id, BPE_CONTROL, length, err));
    AddedToken token = {.id = id, .special = true, .length = length};
    token.text = (unsigned char *)strdup(name);
    if (token.text == NULL) return err_set(err, "no memory for special tokens");
    list[(*n)++] = token;
    return 0;
}

static int llama_specials(Reading *r, AddedToken *list, int *n, int32_t base, Err *err)
{
    char name[64];
    int reserved = 0;
    for (int i = 0; i < LLAMA_SPECIALS; i++) {
        const char *known = i < ARRAY_LEN(llama_names) ? llama_names[i] : NULL;
        if (known == NULL) snprintf(name, sizeof name, "<|reserved_special_token_%d|>", reserved++);
        TRY(special_add(r, list, n, known ? known : name, base + i, err));
    }
    return 0;
}

static int specials_add(Reading *r, TokenModel *m, AddedToken *list, int *n, Err *err)
{
    const Family *family = NULL;
    for (int i = 0; i < ARRAY_LEN(families); i++)
        if (families[i].ranks == r->n) family = &families[i];
    SplitStep *step = &m->step[m->n_steps++];
    *step = (SplitStep){.pattern = split_pattern_named(family ? family->pattern : "llama3")};
    if (family == NULL) {
        for (size_t i = 0; i < r->n; i++)
            if (r->tokens[i].id >= (int64_t)r->n)
                return err_set(err,
                               "%s: %zu tokens, but one has the rank %d: a line is missing or "
                               "doubled; use a sound copy",
                               r->file, r->n, r->tokens[i].id);
        m->bos = (int32_t)r->n;
        m->eos = m->bos + 1;
        return llama_specials(r, list, n, m->bos, err);
    }
    m->bos = m->eos = family->special[0].id;
    for (int i = 0; i < ARRAY_LEN(family->special) && family->special[i].name; i++)
        TRY(special_add(r, list, n, family->special[i].name, family->special[i].id, err));
    return 0;
}

static int ranks_place(Reading *r, TokenModel *m, const char *text, size_t n, Err *err)
{
    AddedToken *list = calloc(LLAMA_SPECIALS, sizeof *list);
    /* the longest special names follow the tokens */
    r->bytes = malloc(n + LLAMA_SPECIALS * 64);
    m->bits = unicode_bits();
    m->ranks = true;
    int specials = 0, status = -1;
    if (list == NULL || r->bytes == NULL || m->bits == NULL)
        err_set(err, "no memory for the tokens of %s", r->file);
    else
        status = lines_read(r, text, n, err);
    if (status == 0) status = specials_add(r, m, list, &specials, err);
    token_model_added(m, list, specials);
    TRY(status);
    TRY(bpe_place(&m->bpe, r->tokens, r->n, r->bytes, r->file, err));
    return bpe_pairs_from_ranks(&m->bpe, err);
}

int ranks_file_read(TokenModel *m, const char *text, size_t n, const char *file, Err *err)
{
    Reading r = {.file = file};
    int status = ranks_place(&r, m, text, n, err);
    free(r.tokens);
    free(r.bytes);
    return status;
}
