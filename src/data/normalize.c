/* Decompose, order marks by combining class, compose (Unicode, UAX 15). Tables are unpacked from
 * the generated lists when a normalizer is made. */
#include "data/normalize.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/err.h"
#include "base/mem.h"
#include "base/utf8.h"
#include "data/unicode.h"

static const uint32_t single_runs[] = {
#include "data/unicode_single.inc"
};
static const uint32_t several[] = {
#include "data/unicode_several.inc"
};
static const uint32_t combining_runs[] = {
#include "data/unicode_combining.inc"
};
static const uint32_t excluded[] = {
#include "data/unicode_excluded.inc"
};

/* Hangul syllables are computed: L V (T). */
enum {
    S_BASE = 0xac00,
    L_BASE = 0x1100,
    V_BASE = 0x1161,
    T_BASE = 0x11a7,
    L_COUNT = 19,
    V_COUNT = 21,
    T_COUNT = 28,
    S_COUNT = L_COUNT * V_COUNT * T_COUNT
};
enum { MAX_PAIRS = 2048 };

typedef struct Pair {
    uint32_t first, second, composed;
} Pair;

struct Normalizer {
    bool compose, compatible;
    uint8_t class[UNICODE_END];   /* combining class */
    uint8_t joins[UNICODE_END];   /* 1: what it decomposes to begins with a mark, or may compose
                                     with what is before */
    int32_t mapping[UNICODE_END]; /* 0: none; -to for one; else 1 + its place in several[] */
    int n_pairs;
    Pair pairs[MAX_PAIRS]; /* sorted by first, second */
};

typedef struct Codes {
    uint32_t *v;
    size_t n, room;
} Codes;

static void codes_add(Codes *c, uint32_t code)
{
    if (c->n == c->room) {
        c->room = c->room ? 2 * c->room : 256;
        uint32_t *more = realloc(c->v, c->room * sizeof *more);
        mem_need(more != NULL, "a normalized text");
        c->v = more;
    }
    c->v[c->n++] = code;
}

static int pair_order(const void *a, const void *b)
{
    const Pair *x = a, *y = b;
    if (x->first != y->first) return x->first < y->first ? -1 : 1;
    return (x->second > y->second) - (x->second < y->second);
}

static bool is_excluded(uint32_t code)
{
    for (size_t i = 0; i < sizeof excluded / sizeof excluded[0]; i++)
        if (excluded[i] == code) return true;
    return false;
}

static void tables_fill(Normalizer *z)
{
    for (size_t i = 0; i < sizeof combining_runs / 4; i += 3)
        memset(z->class + combining_runs[i], (int)combining_runs[i + 2], combining_runs[i + 1]);
    for (size_t i = 0; i < sizeof single_runs / 4; i += 4)
        for (uint32_t k = 0; k < single_runs[i + 1] && (z->compatible || !single_runs[i + 3]); k++)
            z->mapping[single_runs[i] + k] = -(int32_t)(single_runs[i + 2] + k);
    for (size_t i = 0; i < sizeof several / 4; i += 2 + (several[i + 1] >> 1)) {
        bool canonical = (several[i + 1] & 1) == 0;
        if (canonical || z->compatible) z->mapping[several[i]] = (int32_t)i + 1;
        if (!canonical || several[i + 1] >> 1 != 2 || is_excluded(several[i])) continue;
        CHECK(z->n_pairs < MAX_PAIRS, "more compositions than were counted on");
        z->pairs[z->n_pairs++] = (Pair){several[i + 2], several[i + 3], several[i]};
    }
    qsort(z->pairs, (size_t)z->n_pairs, sizeof z->pairs[0], pair_order);
}

static void decompose(const Normalizer *z, uint32_t code, Codes *out)
{
    if (code - S_BASE < S_COUNT) {
        uint32_t s = code - S_BASE, t = s % T_COUNT;
        codes_add(out, L_BASE + s / (V_COUNT * T_COUNT));
        codes_add(out, V_BASE + s % (V_COUNT * T_COUNT) / T_COUNT);
        if (t > 0) codes_add(out, T_BASE + t);
        return;
    }
    int32_t to = z->mapping[code];
    if (to == 0) {
        codes_add(out, code);
    } else if (to < 0) {
        decompose(z, (uint32_t)-to, out);
    } else {
        const uint32_t *entry = several + to - 1;
        for (uint32_t k = 0; k < entry[1] >> 1; k++) decompose(z, entry[2 + k], out);
    }
}

/* A boundary is before a code point whose decomposition neither begins with a mark nor with the
 * second half of a composition. */
static void joins_fill(Normalizer *z)
{
    Codes codes = {0};
    for (int i = 0; i < z->n_pairs; i++) z->joins[z->pairs[i].second] = 1;
    memset(z->joins + V_BASE, 1, V_COUNT);
    memset(z->joins + T_BASE + 1, 1, T_COUNT - 1);
    for (uint32_t c = 0; c < UNICODE_END; c++)
        if (z->class[c]) z->joins[c] = 1;
    for (uint32_t c = 0; c < UNICODE_END; c++) {
        if (z->mapping[c] == 0) continue;
        codes.n = 0;
        decompose(z, c, &codes);
        if (z->joins[codes.v[0]]) z->joins[c] = 1;
    }
    free(codes.v);
}

Normalizer *normalizer_new(NormalForm form)
{
    Normalizer *z = mem_alloc(sizeof *z);
    z->compose = form == NORMAL_NFC || form == NORMAL_NFKC;
    z->compatible = form == NORMAL_NFKC || form == NORMAL_NFKD;
    tables_fill(z);
    joins_fill(z);
    return z;
}

void normalizer_free(Normalizer *z)
{
    mem_free(z);
}

size_t normalizer_settled(const Normalizer *z, const unsigned char *text, size_t n, bool end)
{
    if (end) return n;
    size_t at = n - utf8_unfinished(text, n);
    while (at > 0) { /* back to the last boundary, and before the character there */
        size_t start = at - 1;
        while (start > 0 && at - start < UTF8_MAX && (text[start] & 0xc0) == 0x80) start--;
        uint32_t code;
        int length = utf8_read(text + start, at - start, &code);
        if (length <= 0) return at; /* a byte that is no character is a boundary on both sides */
        if (!z->joins[code]) return start;
        at = start;
    }
    return 0;
}

static uint32_t compose_pair(const Normalizer *z, uint32_t a, uint32_t b)
{
    if (a - L_BASE < L_COUNT && b - V_BASE < V_COUNT)
        return S_BASE + ((a - L_BASE) * V_COUNT + (b - V_BASE)) * T_COUNT;
    if (a - S_BASE < S_COUNT && (a - S_BASE) % T_COUNT == 0 && b - T_BASE - 1 < T_COUNT - 1)
        return a + (b - T_BASE);
    const Pair key = {a, b, 0},
               *found = bsearch(&key, z->pairs, (size_t)z->n_pairs, sizeof key, pair_order);
    return found ? found->composed : 0;
}

/* Marks that follow each other go by class, equal ones in the order they had. */
static void order_marks(const Normalizer *z, Codes *c)
{
    for (size_t from = 0, to; from < c->n; from = to + (to == from)) {
        uint32_t count[256] = {0};
        to = from;
        while (to < c->n && z->class[c->v[to]]) to++;
        if (to - from < 2) continue;
        uint32_t *sorted =
            mem_alloc((to - from) * sizeof *sorted); /* by counting: runs may be long */
        for (size_t i = from; i < to; i++) count[z->class[c->v[i]]]++;
        for (uint32_t k = 0, sum = 0, n; k < 256; k++, sum += n) {
            n = count[k];
            count[k] = sum;
        }
        for (size_t i = from; i < to; i++) sorted[count[z->class[c->v[i]]]++] = c->v[i];
        memcpy(c->v + from, sorted, (to - from) * sizeof *sorted);
        mem_free(sorted);
    }
}

static void compose_marks(const Normalizer *z, Codes *c)
{
    size_t starter = SIZE_MAX, kept = 0;
    int last = -1; /* class of the last one kept after the starter; -1: there is none */
    for (size_t i = 0; i < c->n; i++) {
        uint32_t code = c->v[i];
        int class = z->class[code];
        uint32_t joined =
            starter != SIZE_MAX && last < class ? compose_pair(z, c->v[starter], code) : 0;
        if (joined) {
            c->v[starter] = joined;
            continue;
        }
        if (class == 0) starter = kept;
        last = class == 0 ? -1 : class;
        c->v[kept++] = code;
    }
    c->n = kept;
}

/* The code points of one stretch of UTF-8, normalized, are appended to out. */
static size_t stretch_write(const Normalizer *z, Codes *codes, unsigned char *out)
{
    size_t n = 0;
    order_marks(z, codes);
    if (z->compose) compose_marks(z, codes);
    for (size_t i = 0; i < codes->n; i++) n += (size_t)utf8_write(out + n, codes->v[i]);
    codes->n = 0;
    return n;
}

unsigned char *normalizer_run(const Normalizer *z, const unsigned char *text, size_t n,
                              size_t *size)
{
    enum { GROWTH = 12 }; /* U+FDFA: 3 bytes to 33, the most */
    size_t room = GROWTH * n + UTF8_MAX, used = 0;
    unsigned char *out = mem_alloc(room);
    Codes codes = {0};
    for (size_t i = 0; i < n;) {
        uint32_t code;
        int length = utf8_read(text + i, n - i, &code);
        if (length <= 0 || !z->joins[code]) used += stretch_write(z, &codes, out + used);
        if (length <= 0)
            out[used++] = text[i++];
        else if (code < 0x80 && (i + 1 >= n || text[i + 1] < 0x80))
            out[used++] = text[i++]; /* plain ASCII goes by itself */
        else {
            decompose(z, code, &codes);
            i += (size_t)length;
        }
    }
    used += stretch_write(z, &codes, out + used);
    free(codes.v);
    *size = used;
    return out;
}
