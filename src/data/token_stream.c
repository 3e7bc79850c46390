/* From text to ids in three stages, each with its own buffer for what is not settled:
 *   added tokens in the text as it came -> normalization, added tokens -> pieces and their tokens.
 *
 * What is not UTF-8. A tokenizer.json has no rule for it (its library takes only text), so here
 * such a byte is a character without a class. For ranks files tiktoken has one, and it is followed
 * to the letter: the text before the first such byte is encoded by itself; then its last tokens,
 * those of the last piece, and where that begins with white space all tokens of white space before
 * it, are turned back into bytes and make one piece with all that follows, to the end of the text.
 */
#include "data/token_stream.h"

#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "base/utf8.h"
#include "data/pieces.h"
#include "data/unicode.h"

enum { BLOCK = 1 << 16 };

typedef struct Bytes {
    unsigned char *v;
    size_t n, room;
} Bytes;

/* A text in which added tokens are looked for. */
typedef struct Finder {
    Bytes text;
    size_t retry; /* no new look before there is so much */
    bool begun;   /* some of the text is gone */
    bool after_word;
} Finder;

struct TokenStream {
    const Tokenizer *tok;
    const TokenModel *m;  /* NULL: bytes */
    bool specials, finds; /* special tokens count; any token is looked for in the text as it came */
    Finder raw, normalized;
    Bytes plain;               /* between the two: not normalized yet */
    Bytes text;                /* to be split */
    size_t retry, plain_retry; /* no new look before there is so much */
    size_t checked;            /* of text: known to be UTF-8 */
    bool text_begun;
    bool tail; /* after what is not UTF-8: one piece to the end */
    PieceWork work;
    size_t given; /* ids of the last call */
};

static void bytes_add(Bytes *b, const void *bytes, size_t n)
{
    if (n == 0) return;
    if (b->room - b->n < n) {
        b->room = 2 * b->room > b->n + n ? 2 * b->room : b->n + n + BLOCK;
        b->v = realloc(b->v, b->room);
        mem_need(b->v != NULL, "a text");
    }
    memcpy(b->v + b->n, bytes, n);
    b->n += n;
}

static void bytes_drop(Bytes *b, size_t n)
{
    b->n -= n;
    if (b->n > 0) memmove(b->v, b->v + n, b->n);
}

/* --- pieces -------------------------------------------------------------------------------------
 */

/* Bytes of [checked, n) that are UTF-8; *bad: what follows them is not and never will be. */
static size_t valid_until(const Bytes *text, size_t checked, bool end, bool *bad)
{
    size_t at = checked;
    uint32_t code;
    uint64_t word;
    *bad = false;
    while (at < text->n) {
        if (at + sizeof word <= text->n) {
            memcpy(&word, text->v + at, sizeof word);
            if ((word & 0x8080808080808080) == 0) {
                at += sizeof word;
                continue;
            }
        }
        int length = utf8_read(text->v + at, text->n - at, &code);
        if (length <= 0) {
            *bad = length == 0 || end;
            break;
        }
        at += (size_t)length;
    }
    return at;
}

/* One piece to the end; parts of it only because pieces have an upper limit. */
static void tail_take(TokenStream *s, bool end)
{
    const Bpe *b = &s->m->bpe;
    PieceWork *w = &s->work;
    size_t used = 0;
    for (; s->text.n - used > BPE_MAX_PIECE; used += BPE_MAX_PIECE)
        bpe_merge(b, &w->bpe, s->text.v + used, BPE_MAX_PIECE, &w->ids);
    if (end && s->text.n > used) {
        if (used == 0)
            bpe_encode(b, &w->bpe, s->text.v, s->text.n, &w->ids);
        else
            bpe_merge(b, &w->bpe, s->text.v + used, s->text.n - used, &w->ids);
        used = s->text.n;
    }
    if (used > 0) bytes_drop(&s->text, used);
    w->loose = w->spaces = w->ids.n;
}

/* The text has `valid` bytes of UTF-8 that are not encoded yet, then the first that is none. */
static int tail_begin(TokenStream *s, size_t valid, Err *err)
{
    PieceWork *w = &s->work;
    Bytes tail = {0};
    TRY(pieces_take(w, s->text.v, valid, true, err));
    for (size_t i = w->loose; i < w->ids.n; i++) {
        size_t n;
        const unsigned char *bytes = bpe_bytes(&s->m->bpe, w->ids.v[i], &n);
        bytes_add(&tail, bytes, n);
    }
    w->ids.n = w->loose;
    bytes_add(&tail, s->text.v + valid, s->text.n - valid);
    free(s->text.v);
    s->text = tail;
    s->tail = true;
    return 0;
}

static int text_look(TokenStream *s, bool end, Err *err)
{
    size_t n = s->text.n;
    if (s->m->ranks && !s->tail) {
        bool bad;
        s->checked = n = valid_until(&s->text, s->checked, end, &bad);
        if (bad) TRY(tail_begin(s, n, err));
    }
    if (s->tail) {
        tail_take(s, end);
        return 0;
    }
    int64_t used = pieces_take(&s->work, s->text.v, n, end, err);
    if (used < 0) return -1;
    bytes_drop(&s->text, (size_t)used);
    if (s->m->ranks) s->checked -= (size_t)used;
    s->retry = 2 * s->text.n; /* a piece that does not end is not looked at again and again */
    return 0;
}

static int text_in(TokenStream *s, const unsigned char *text, size_t n, Err *err)
{
    if (n > 0 && !s->text_begun && pieces_wants_space(s->m) && text[0] != ' ')
        bytes_add(&s->text, " ", 1);
    s->text_begun = s->text_begun || n > 0;
    for (size_t at = 0, part; at < n; at += part) {
        part = n - at < BLOCK ? n - at : BLOCK;
        bytes_add(&s->text, text + at, part);
        if (s->text.n >= s->retry) TRY(text_look(s, false, err));
    }
    return 0;
}

static int text_end(TokenStream *s, Err *err)
{
    int status = s->text.n > 0 ? text_look(s, true, err) : 0;
    s->text.n = s->retry = s->checked = 0;
    s->tail = s->text_begun = false;
    s->work.loose = s->work.spaces = s->work.ids.n;
    return status;
}

static int token_in(TokenStream *s, int32_t id, Err *err)
{
    TRY(text_end(s, err));
    *ids_more(&s->work.ids, 1) = id;
    s->work.ids.n++;
    s->work.loose = s->work.spaces = s->work.ids.n;
    return 0;
}

/* --- added tokens -------------------------------------------------------------------------------
 */

typedef struct Stage {
    int (*text)(TokenStream *s, const unsigned char *text, size_t n, Err *err);
    int (*end)(TokenStream *s, Err *err); /* of a text between two tokens */
} Stage;

static void finder_drop(TokenStream *s, Finder *f, size_t n)
{
    if (n == 0) return;
    size_t start = n - 1;
    uint32_t code;
    while (start > 0 && n - start < UTF8_MAX && (f->text.v[start] & 0xc0) == 0x80) start--;
    f->after_word =
        utf8_read(f->text.v + start, n - start, &code) > 0 && (s->m->bits[code] & CHAR_WORD) != 0;
    f->begun = true;
}

/* Hands on what is settled: text to the next stage, and the tokens found. */
static int finder_look(TokenStream *s, Finder *f, const AddedTokens *tokens, const Stage *next,
                       bool end, Err *err)
{
    size_t at = 0;
    for (;;) {
        AddedSearch search = {s->m->bits, s->specials, !f->begun, f->after_word, end};
        AddedMatch m = added_tokens_find(tokens, &search, f->text.v + at, f->text.n - at);
        TRY(next->text(s, f->text.v + at, m.from, err));
        if (m.token) {
            TRY(next->end(s, err));
            TRY(token_in(s, m.token->id, err));
        }
        at += m.to;
        finder_drop(s, f, at);
        if (m.token == NULL) break;
    }
    bytes_drop(&f->text, at);
    f->retry = 2 * f->text.n;
    return 0;
}

static int finder_in(TokenStream *s, Finder *f, const AddedTokens *tokens, const Stage *next,
                     const unsigned char *text, size_t n, Err *err)
{
    bytes_add(&f->text, text, n);
    return f->text.n >= f->retry && f->text.n > 0 ? finder_look(s, f, tokens, next, false, err) : 0;
}

static int finder_end(TokenStream *s, Finder *f, const AddedTokens *tokens, const Stage *next,
                      Err *err)
{
    int status = f->text.n > 0 ? finder_look(s, f, tokens, next, true, err) : 0;
    f->text.n = f->retry = 0;
    f->begun = f->after_word = false;
    if (status == 0) status = next->end(s, err);
    return status;
}

static const Stage to_pieces = {text_in, text_end};

static int normalized_in(TokenStream *s, const unsigned char *text, size_t n, Err *err)
{
    if (s->m->normalized.n == 0) return text_in(s, text, n, err);
    return finder_in(s, &s->normalized, &s->m->normalized, &to_pieces, text, n, err);
}

static int normalize(TokenStream *s, bool end, Err *err)
{
    const Normalizer *z = s->m->normalizer;
    size_t size, n = normalizer_settled(z, s->plain.v, s->plain.n, end);
    if (n == 0) return 0;
    unsigned char *text = normalizer_run(z, s->plain.v, n, &size);
    int status = normalized_in(s, text, size, err);
    mem_free(text);
    bytes_drop(&s->plain, n);
    return status;
}

static int plain_in(TokenStream *s, const unsigned char *text, size_t n, Err *err)
{
    if (s->m->normalizer == NULL) return normalized_in(s, text, n, err);
    bytes_add(&s->plain, text, n);
    if (s->plain.n < s->plain_retry) return 0;
    TRY(normalize(s, false, err));
    s->plain_retry = BLOCK + 2 * s->plain.n;
    return 0;
}

static int plain_end(TokenStream *s, Err *err)
{
    int status = s->plain.n > 0 ? normalize(s, true, err) : 0;
    s->plain.n = s->plain_retry = 0;
    TRY(status);
    if (s->m->normalized.n == 0) return text_end(s, err);
    return finder_end(s, &s->normalized, &s->m->normalized, &to_pieces, err);
}

static const Stage to_normalizer = {plain_in, plain_end};

/* --- the whole ----------------------------------------------------------------------------------
 */

TokenStream *token_stream_new(const Tokenizer *tok, bool specials)
{
    TokenStream *s = mem_alloc(sizeof *s);
    s->tok = tok;
    s->m = tok->model;
    s->specials = specials;
    s->finds = s->m && (specials ? s->m->raw.n > 0 : s->m->raw.plain);
    if (s->m) piece_work_begin(&s->work, s->m);
    return s;
}

void token_stream_free(TokenStream *s)
{
    if (s == NULL) return;
    piece_work_free(&s->work);
    free(s->raw.text.v);
    free(s->normalized.text.v);
    free(s->plain.v);
    free(s->text.v);
    mem_free(s);
}

/* Forgets the ids of the call before. */
static void ids_forget(TokenStream *s)
{
    PieceWork *w = &s->work;
    w->ids.n -= s->given;
    if (w->ids.n > 0 && s->given > 0)
        memmove(w->ids.v, w->ids.v + s->given, w->ids.n * sizeof *w->ids.v);
    w->loose -= s->given;
    w->spaces = w->spaces > s->given ? w->spaces - s->given : 0;
    s->given = 0;
}

static int64_t ids_give(TokenStream *s, int status, const int32_t **ids)
{
    *ids = s->work.ids.v;
    if (status < 0) { /* the next text begins anew */
        s->raw.text.n = s->normalized.text.n = s->plain.n = s->text.n = 0;
        s->raw.begun = s->normalized.begun = s->text_begun = s->tail = false;
        s->retry = s->plain_retry = s->checked = s->raw.retry = s->normalized.retry = 0;
        s->work.ids.n = s->work.loose = s->work.spaces = 0;
        return -1;
    }
    s->given = s->work.loose;
    return (int64_t)s->given;
}

static void bytes_to_ids(TokenStream *s, const unsigned char *text, size_t n)
{
    int32_t *ids = ids_more(&s->work.ids, n);
    for (size_t i = 0; i < n; i++) ids[i] = text[i];
    s->work.ids.n += n;
    s->work.loose = s->work.spaces = s->work.ids.n;
}

int64_t token_stream_push(TokenStream *s, const void *text, size_t n, const int32_t **ids, Err *err)
{
    ids_forget(s);
    int status = 0;
    const unsigned char *bytes = text;
    if (s->m == NULL) bytes_to_ids(s, bytes, n);
    for (size_t at = 0, part; s->m && at < n && status == 0; at += part) {
        part = n - at < BLOCK ? n - at : BLOCK;
        if (!s->finds)
            status = plain_in(s, bytes + at, part, err);
        else
            status = finder_in(s, &s->raw, &s->m->raw, &to_normalizer, bytes + at, part, err);
    }
    return ids_give(s, status, ids);
}

int64_t token_stream_end(TokenStream *s, const int32_t **ids, Err *err)
{
    ids_forget(s);
    int status = 0;
    if (s->finds)
        status = finder_end(s, &s->raw, &s->m->raw, &to_normalizer, err);
    else if (s->m)
        status = plain_end(s, err);
    return ids_give(s, status, ids);
}
