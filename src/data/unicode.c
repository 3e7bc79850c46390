/* Runs of general categories, and the bits and classes that follow from them. */
#include "data/unicode.h"

#include <stdlib.h>
#include <string.h>

static const uint32_t category_runs[] = {
#include "data/unicode_classes.inc"
};
enum { N_RUNS = sizeof category_runs / sizeof category_runs[0] };

/* In the order of the generator's list; after it, a run that alternates Lu, Ll. */
static const char category_names[][3] = {
    "Cn", "Lu", "Ll", "Lt", "Lm", "Lo", "Mn", "Mc", "Me", "Nd", "Nl", "No", "Pc", "Pd", "Ps",
    "Pe", "Pi", "Pf", "Po", "Sm", "Sc", "Sk", "So", "Zs", "Zl", "Zp", "Cc", "Cf", "Co", "Cs"};
enum {
    CN,
    LU,
    LL,
    LT,
    LM,
    LO,
    MN,
    MC,
    ME,
    ND,
    NL,
    PC = 12,
    ZS = 23,
    ZP = 25,
    CO = 28,
    ALTERNATING = 30
};

typedef struct Range {
    uint32_t from, to;
} Range;

/* White_Space beyond Zs, Zl, Zp. */
static const Range more_space[] = {{0x09, 0x0d}, {0x85, 0x85}};
/* Alphabetic symbols, and the joiners that \w counts in. */
static const Range more_word[] = {
    {0x200c, 0x200d}, {0x24b6, 0x24e9}, {0x1f130, 0x1f149}, {0x1f150, 0x1f169}, {0x1f170, 0x1f189}};

static bool in_ranges(const Range *ranges, size_t n, uint32_t c)
{
    for (size_t i = 0; i < n; i++)
        if (c >= ranges[i].from && c <= ranges[i].to) return true;
    return false;
}

static bool is_space(int category, uint32_t c)
{
    return (category >= ZS && category <= ZP) ||
           in_ranges(more_space, sizeof more_space / sizeof more_space[0], c);
}

static bool is_word(int category, uint32_t c)
{
    return (category >= LU && category <= NL) || category == PC ||
           in_ranges(more_word, sizeof more_word / sizeof more_word[0], c);
}

static uint8_t bits_of(int category, uint32_t c)
{
    static const uint8_t by_category[] = {
        [LU] = CHAR_LETTER | CHAR_UPPER,
        [LL] = CHAR_LETTER | CHAR_LOWER,
        [LT] = CHAR_LETTER | CHAR_UPPER,
        [LM] = CHAR_LETTER | CHAR_UPPER | CHAR_LOWER,
        [LO] = CHAR_LETTER | CHAR_UPPER | CHAR_LOWER,
        [MN] = CHAR_UPPER | CHAR_LOWER,
        [MC] = CHAR_UPPER | CHAR_LOWER,
        [ME] = CHAR_UPPER | CHAR_LOWER,
        [ND] = CHAR_NUMBER | CHAR_DIGIT,
        [NL] = CHAR_NUMBER,
        [NL + 1] = CHAR_NUMBER,
    };
    unsigned bits = category <= NL + 1 ? by_category[category] : 0;
    if (is_space(category, c)) bits |= CHAR_SPACE;
    if (is_word(category, c)) bits |= CHAR_WORD;
    if (c == '\r' || c == '\n') bits |= CHAR_NEWLINE;
    return (uint8_t)bits;
}

static uint32_t run_end(int run)
{
    return run + 1 < N_RUNS ? category_runs[run + 1] >> 5 : UNICODE_END;
}

/* The long runs, whose characters are all alike: no exceptions lie inside. */
static bool is_uniform(int run)
{
    int kind = category_runs[run] & 31;
    return kind == LO || kind == CO || kind == CN;
}

static int category_at(int run, uint32_t c)
{
    int kind = category_runs[run] & 31;
    if (kind != ALTERNATING) return kind;
    return (c - (category_runs[run] >> 5)) % 2 ? LL : LU;
}

uint8_t *unicode_bits(void)
{
    uint8_t *bits = malloc(UNICODE_END);
    if (bits == NULL) return NULL;
    for (int run = 0; run < N_RUNS; run++) {
        uint32_t c = category_runs[run] >> 5, end = run_end(run);
        if (is_uniform(run)) {
            memset(bits + c, bits_of(category_at(run, c), c), end - c);
            continue;
        }
        for (; c < end; c++) bits[c] = bits_of(category_at(run, c), c);
    }
    return bits;
}

/* "L" and "Lu" are general categories, one letter 's', 'd', 'w' an escape. */
static bool class_has(const char *name, size_t length, int category, uint32_t c)
{
    if (length == 1 && name[0] == 's') return is_space(category, c);
    if (length == 1 && name[0] == 'w') return is_word(category, c);
    if (length == 1 && name[0] == 'd') return category == ND;
    return strncmp(category_names[category], name, length) == 0;
}

static bool class_known(const char *name, size_t length)
{
    if (length == 1 && (name[0] == 's' || name[0] == 'w' || name[0] == 'd')) return true;
    for (size_t i = 0; length > 0 && length < 3 && i < sizeof category_names / 3; i++)
        if (strncmp(category_names[i], name, length) == 0) return true;
    return false;
}

bool unicode_class(const char *name, size_t length, bool negated, UnicodeRun run, void *context)
{
    if (!class_known(name, length)) return false;
    bool open = false;
    uint32_t from = 0;
    for (int r = 0; r < N_RUNS; r++)
        for (uint32_t c = category_runs[r] >> 5; c < run_end(r); c++) {
            /* Surrogates are no characters of any text. */
            bool has = class_has(name, length, category_at(r, c), c) != negated &&
                       (c < 0xd800 || c > 0xdfff);
            if (has && !open) from = c;
            if (!has && open) run(context, from, c - 1);
            open = has;
            if (is_uniform(r)) c = run_end(r) - 1;
        }
    if (open) run(context, from, UNICODE_END - 1);
    return true;
}
