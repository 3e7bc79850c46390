/* Chooses what to score. Nothing here depends on a model: columns of one evaluation see the same
 * tokens at the same positions, so their differences can be taken document by document. */
#include "run/eval_set.h"

#include <stdio.h>

#include "base/mem.h"
#include "base/sha256.h"

enum { DIGEST_BLOCK = 4096 };

_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "tokens are digested as they lie");

const char *eval_set_unit(const EvalSet *set)
{
    return set->options.stream ? "sequence" : "document";
}

void eval_item_name(const EvalSet *set, int64_t i, char *out, int out_size)
{
    if (set->items[i].name)
        snprintf(out, (size_t)out_size, "document %.200s", set->items[i].name);
    else
        snprintf(out, (size_t)out_size, "sequence %lld", (long long)i);
}

/* 0-63, then doubling; the last bin ends where the longest item does. */
static void bins_make(EvalSet *set)
{
    int64_t first = 0, end = EVAL_MIN_TOKENS, longest = 0;
    for (int64_t i = 0; i < set->n_items; i++)
        if (set->items[i].positions > longest) longest = set->items[i].positions;
    while (first < longest) {
        CHECK(set->n_bins < EVAL_MAX_BINS, "more bins than a length can have");
        EvalBin *bin = &set->bins[set->n_bins++];
        *bin = (EvalBin){.first = first, .end = end < longest ? end : longest};
        snprintf(bin->name, sizeof bin->name, "%lld-%lld", (long long)bin->first,
                 (long long)bin->end - 1);
        first = end;
        end *= 2;
    }
}

int64_t eval_set_least(const EvalSet *set)
{
    const EvalSetOptions *o = &set->options;
    bool whole = o->full_length_only || o->length < EVAL_MIN_TOKENS;
    int64_t least = whole ? o->length : EVAL_MIN_TOKENS;
    return least > 2 ? least : 2; /* a BOS and something to predict */
}

/* Adds an item unless a bound is reached. Returns whether there is room for more. */
static bool set_add(EvalSet *set, const char *name, int64_t start, int64_t positions)
{
    const EvalSetOptions *o = &set->options;
    if (o->max_items > 0 && set->n_items == o->max_items) return false;
    if (o->max_tokens > 0 && positions > o->max_tokens - set->positions) {
        positions = o->max_tokens - set->positions;
        /* A short rest would say little about late positions and cost an interval its meaning. */
        if (positions <= 0 || (positions < EVAL_MIN_TOKENS && set->n_items > 0)) return false;
    }
    set->items[set->n_items++] = (EvalItem){name, start, positions};
    set->positions += positions;
    return true;
}

static int choose_documents(EvalSet *set, Err *err)
{
    const EvalSetOptions *o = &set->options;
    int64_t n = doc_count(set->source), longest = 0;
    int64_t least = eval_set_least(set);
    if (n == 0)
        return err_set(err, "%s does not say where documents begin: use --layout stream",
                       set->source->name);
    set->items = mem_alloc((size_t)n * sizeof *set->items);
    for (int64_t i = 0; i < n; i++) {
        Document doc = doc_info(set->source, i);
        if (doc.length > longest) longest = doc.length;
        if (doc.length < least) {
            set->too_short++;
            continue;
        }
        int64_t positions = doc.length - 1 < o->length ? doc.length - 1 : o->length;
        if (!set_add(set, doc.name, doc.start, positions)) break;
    }
    if (set->n_items > 0) return 0;
    return err_set(
        err,
        "no document of %s is long enough: the longest has %lld tokens, at least %lld are "
        "needed; %s",
        set->source->name, (long long)longest, (long long)least,
        o->full_length_only ? "lower --length" : "use --layout stream or longer texts");
}

static int choose_sequences(EvalSet *set, Err *err)
{
    int64_t T = set->options.length, n = (token_source_length(set->source) - 1) / T;
    if (n <= 0)
        return err_set(err, "%s holds %lld tokens, one sequence needs %lld: lower --length",
                       set->source->name, (long long)token_source_length(set->source),
                       (long long)T + 1);
    set->items = mem_alloc((size_t)n * sizeof *set->items);
    for (int64_t i = 0; i < n; i++)
        if (!set_add(set, NULL, i * T, T)) break;
    return 0;
}

static int set_digest(EvalSet *set, Err *err)
{
    int32_t block[DIGEST_BLOCK];
    Sha256 sha;
    sha256_init(&sha);
    for (int64_t i = 0; i < set->n_items; i++) {
        int64_t at = set->items[i].start, end = at + set->items[i].positions + 1;
        while (at < end) {
            int64_t n = end - at < DIGEST_BLOCK ? end - at : DIGEST_BLOCK;
            TRY(token_source_read(set->source, at, n, block, err));
            sha256_update(&sha, block, (size_t)n * sizeof *block);
            at += n;
        }
    }
    sha256_hex(&sha, set->digest);
    return 0;
}

int eval_set_make(EvalSet *out, const TokenSource *source, const EvalSetOptions *options, Err *err)
{
    CHECK(options->length > 0, "an evaluation needs a length");
    *out = (EvalSet){.source = source, .options = *options};
    int status = options->stream ? choose_sequences(out, err) : choose_documents(out, err);
    if (status == 0) status = set_digest(out, err);
    if (status < 0) eval_set_free(out);
    bins_make(out);
    return status;
}

void eval_set_free(EvalSet *set)
{
    mem_free(set->items);
    set->items = NULL;
    set->n_items = 0;
}

int eval_set_read(const EvalSet *set, int64_t i, int64_t length, int32_t pad, int32_t *out,
                  Err *err)
{
    const EvalItem *item = &set->items[i];
    CHECK(length >= item->positions, "%lld positions do not fit into %lld",
          (long long)item->positions, (long long)length);
    TRY(token_source_read(set->source, item->start, item->positions + 1, out, err));
    for (int64_t p = item->positions + 1; p <= length; p++) out[p] = pad;
    return 0;
}
