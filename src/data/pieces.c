/* The steps of splitting. The first one works on a text that may go on; what it gives is complete,
 * so the others see whole pieces. */
#include "data/pieces.h"

#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "base/utf8.h"
#include "data/unicode.h"

void piece_work_begin(PieceWork *w, const TokenModel *model)
{
    *w = (PieceWork){.model = model};
    for (int i = 0; i < model->n_steps; i++)
        if (model->step[i].regex) w->step[i].matcher = regex_matcher_new(model->step[i].regex);
}

void piece_work_free(PieceWork *w)
{
    for (int i = 0; i < MAX_SPLIT_STEPS; i++) {
        regex_matcher_free(w->step[i].matcher);
        free(w->step[i].span);
        free(w->step[i].text);
    }
    bpe_work_free(&w->bpe);
    ids_free(&w->ids);
}

static void span_add(StepWork *s, size_t from, size_t to, bool match)
{
    if (s->n == s->room) {
        s->room = s->room ? 2 * s->room : 64;
        Span *more = realloc(s->span, s->room * sizeof *more);
        mem_need(more != NULL, "a text");
        s->span = more;
    }
    s->span[s->n++] = (Span){from, to, match};
}

/* --- ids of one piece ---------------------------------------------------------------------------
 */

static bool is_space_token(const Bpe *b, int32_t id)
{
    return (b->kind[id] & BPE_SPACE) != 0;
}

static void piece_take(PieceWork *w, const unsigned char *piece, size_t n)
{
    const Bpe *b = &w->model->bpe;
    size_t first = w->ids.n;
    bpe_encode(b, &w->bpe, piece, n, &w->ids);
    if (!w->model->ranks) {
        w->loose = w->ids.n;
        return;
    }
    w->loose = is_space_token(b, w->ids.v[first]) ? w->spaces : first;
    for (size_t i = w->ids.n; i-- > first;)
        if (!is_space_token(b, w->ids.v[i])) {
            w->spaces = i + 1;
            break;
        }
}

static int step_take(PieceWork *w, int step, const unsigned char *text, size_t n, Err *err);

/* --- steps --------------------------------------------------------------------------------------
 */

static int64_t by_pattern(PieceWork *w, int step, const unsigned char *text, size_t n, bool end,
                          Err *err)
{
    const SplitPattern *pattern = w->model->step[step].pattern;
    const uint8_t *bits = w->model->bits;
    size_t at = 0, settled = end ? n : split_pattern_settled(pattern, bits, text, n);
    bool last = step + 1 == w->model->n_steps;
    while (at < n) {
        size_t length = pattern->match(bits, text + at, n - at);
        if (at + length > settled) break;
        if (last)
            piece_take(w, text + at, length);
        else
            TRY(step_take(w, step + 1, text + at, length, err));
        at += length;
    }
    return (int64_t)at;
}

/* `tokenizers` asks its language's own tables here, which are of Unicode 17: these came with it. */
static bool is_newer_number(uint32_t code)
{
    return (code >= 0x11de0 && code <= 0x11de9) || (code >= 0x16ff4 && code <= 0x16ff6);
}

/* Numbers and what is between them, as matches and the rest. */
static size_t digit_run(const PieceWork *w, const SplitStep *s, const unsigned char *text, size_t n,
                        bool *number)
{
    size_t at = 0;
    while (at < n) {
        uint32_t code;
        int length = utf8_read(text + at, n - at, &code);
        bool is = length > 0 && ((w->model->bits[code] & CHAR_NUMBER) || is_newer_number(code));
        if (at == 0) *number = is;
        if (is != *number) break;
        at += length > 0 ? (size_t)length : 1;
        if (is && s->individual) break;
    }
    return at;
}

static int64_t by_digits(PieceWork *w, int step, const unsigned char *text, size_t n, bool end,
                         Err *err)
{
    size_t at = 0;
    bool number;
    while (at < n) {
        size_t length = digit_run(w, &w->model->step[step], text + at, n - at, &number);
        if (!end && at + length + UTF8_MAX > n) break;
        TRY(step_take(w, step + 1, text + at, length, err));
        at += length;
    }
    return (int64_t)at;
}

/* All matches and what is between them. Without the end, the last match is left to the next time:
 * its neighbour is not known. An empty match parts what is around it. */
static int64_t regex_spans(PieceWork *w, int step, const unsigned char *text, size_t n, bool end,
                           Err *err)
{
    const SplitStep *s = &w->model->step[step];
    StepWork *work = &w->step[step];
    size_t done = 0, from = 0, place[2];
    int found = 0;
    work->n = 0;
    while (from <= n &&
           (found = regex_find(s->regex, work->matcher, text, n, from, end, place, err)) > 0) {
        if (place[1] == place[0] && place[0] == done && done > 0) { /* right after a match */
            from = place[1] + 1;
            while (from < n && (text[from] & 0xc0) == 0x80) from++;
            continue;
        }
        if (place[0] > done) span_add(work, done, place[0], s->invert);
        span_add(work, place[0], place[1], !s->invert);
        done = from = place[1];
        if (place[1] == place[0]) {
            from++;
            while (from < n && (text[from] & 0xc0) == 0x80) from++;
        }
    }
    TRY(found);
    if (end && done < n) span_add(work, done, n, s->invert);
    if (end) return (int64_t)n;
    return work->n > 0 ? (int64_t)work->span[--work->n].from : 0;
}

/* Puts neighbours together as the behaviour says; what is removed becomes empty. */
static void spans_join(StepWork *s, SplitBehavior behavior)
{
    size_t kept = 0;
    bool before = false; /* whether the last span was a match, as it came */
    for (size_t i = 0; i < s->n; i++) {
        Span span = s->span[i];
        bool match = span.match, joins = false;
        if (behavior == SPLIT_REMOVED && match) span.to = span.from;
        if (kept > 0 && behavior == SPLIT_WITH_PREVIOUS) joins = match && !before;
        if (kept > 0 && behavior == SPLIT_WITH_NEXT) joins = !match && before;
        if (kept > 0 && behavior == SPLIT_CONTIGUOUS) joins = match == before;
        if (joins)
            s->span[kept - 1].to = span.to;
        else
            s->span[kept++] = span;
        before = match;
    }
    s->n = kept;
}

static int64_t by_regex(PieceWork *w, int step, const unsigned char *text, size_t n, bool end,
                        Err *err)
{
    const SplitStep *s = &w->model->step[step];
    if (!end && (split_regex_looks_back(s->regex) ||
                 (s->behavior != SPLIT_ISOLATED && s->behavior != SPLIT_REMOVED)))
        return 0;
    int64_t used = regex_spans(w, step, text, n, end, err);
    if (used < 0) return -1;
    if (s->behavior != SPLIT_ISOLATED) spans_join(&w->step[step], s->behavior);
    for (size_t i = 0; i < w->step[step].n; i++) {
        Span span = w->step[step].span[i];
        if (span.to > span.from)
            TRY(step_take(w, step + 1, text + span.from, span.to - span.from, err));
    }
    return used;
}

/* The text with a space in front of it, unless it begins with one. */
static int with_space(PieceWork *w, int step, const unsigned char *text, size_t n, Err *err)
{
    StepWork *s = &w->step[step];
    if (n > 0 && text[0] == ' ') return step_take(w, step + 1, text, n, err);
    if (s->text_room < n + 1) {
        free(s->text);
        s->text_room = 2 * (n + 1);
        s->text = malloc(s->text_room);
        mem_need(s->text != NULL, "a text");
    }
    s->text[0] = ' ';
    if (n > 0) memcpy(s->text + 1, text, n);
    return step_take(w, step + 1, s->text, n + 1, err);
}

static int64_t run_step(PieceWork *w, int step, const unsigned char *text, size_t n, bool end,
                        Err *err)
{
    if (step == w->model->n_steps) {
        if (!end) return 0;
        if (n > 0) piece_take(w, text, n);
        return (int64_t)n;
    }
    switch (w->model->step[step].kind) {
    case SPLIT_PATTERN:
        return by_pattern(w, step, text, n, end, err);
    case SPLIT_DIGITS:
        return by_digits(w, step, text, n, end, err);
    case SPLIT_REGEX:
        return by_regex(w, step, text, n, end, err);
    case SPLIT_SPACE:
        break;
    }
    if (!end) return 0;
    TRY(with_space(w, step, text, n, err));
    return (int64_t)n;
}

static int step_take(PieceWork *w, int step, const unsigned char *text, size_t n, Err *err)
{
    return run_step(w, step, text, n, true, err) < 0 ? -1 : 0;
}

int64_t pieces_take(PieceWork *w, const unsigned char *text, size_t n, bool end, Err *err)
{
    return n > 0 ? run_step(w, pieces_wants_space(w->model), text, n, end, err) : 0;
}

bool pieces_wants_space(const TokenModel *m)
{
    return m->n_steps > 0 && m->step[0].kind == SPLIT_SPACE;
}
