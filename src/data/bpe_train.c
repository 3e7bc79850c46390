/* The distinct pieces of the text are counted first; merging then works on them. For each pair
 * there is its count and the list of pieces that have held it; a heap gives the most frequent one,
 * whose count may be out of date and is then put right. */
#include "data/bpe_train.h"

#include <stdio.h>
#include <stdlib.h>

#include "base/file.h"
#include "base/mem.h"
#include "base/progress.h"
#include "data/bpe_words.h"
#include "data/hf_write.h"
#include "data/split_pattern.h"
#include "data/unicode.h"
#include "data/walk.h"

/* Longer tokens do not become: a run of one character would fill the vocabulary. */
enum { MAX_LENGTH = 128 };

typedef struct PairCount {
    int32_t left, right; /* left -1: empty */
    int64_t count;
    uint32_t *word;          /* (n of room) that hold it, or did; one may come twice */
    uint32_t n, room, round; /* round: the merge at which it last gained */
} PairCount;

typedef struct Candidate {
    int64_t count;
    int32_t left, right;
} Candidate;

typedef struct Trainer {
    const TrainerOptions *options;
    TrainerReport *report;
    WordList words;
    uint8_t *bits;
    const SplitPattern *pattern;
    HfVocabulary vocab;
    PairCount *pairs; /* (mask + 1) */
    size_t mask, n_pairs;
    Candidate *heap; /* (n_heap of heap_room) */
    size_t n_heap, heap_room;
    int32_t (*gained)[2]; /* (n_gained of gained_room) pairs of the merge at hand */
    size_t n_gained, gained_room;
    uint32_t *seen; /* (words.n) the merge at which a word was last worked on */
    Progress progress;
} Trainer;

static int check_stop(const Trainer *t, Err *err)
{
    if (t->options->stop == NULL || *t->options->stop == 0) return 0;
    return err_set(err, "interrupted; nothing was written");
}

/* --- counting pieces ----------------------------------------------------------------------------
 */

static void count_text(Trainer *t, const unsigned char *text, size_t n)
{
    enum { PART = 256 }; /* of a piece without end, so that a merge need not go through all of it */
    for (size_t at = 0; at < n;) {
        size_t length = t->pattern->match(t->bits, text + at, n - at);
        for (size_t from = 0; from < length; from += PART)
            words_count(&t->words, text + at + from, length - from < PART ? length - from : PART);
        at += length;
        t->report->pieces++;
    }
}

static int count_files(Trainer *t, Err *err)
{
    const TrainerOptions *o = t->options;
    WalkOptions walk = {
        .extensions = o->extensions, .n_extensions = o->n_extensions, .min_bytes = 1};
    FileList files = {0};
    int status = walk_files(&files, o->paths, o->n_paths, walk, err);
    if (status == 0 && files.n == 0) status = err_set(err, "no text in %s", o->paths[0]);
    progress_start(&t->progress, o->quiet ? NULL : "read", (uint64_t)files.n, "files");
    for (int64_t i = 0; i < files.n && status == 0; i++) {
        char *text = NULL;
        size_t n = 0;
        status = check_stop(t, err);
        if (status == 0) status = file_read(files.files[i].path, &text, &n, (size_t)1 << 32, err);
        if (status < 0) break;
        count_text(t, (const unsigned char *)text, n);
        free(text);
        t->report->files++;
        t->report->bytes += (int64_t)n;
        progress_update(&t->progress, (uint64_t)i + 1, NULL);
    }
    file_list_free(&files);
    TRY(status);
    t->report->distinct = (int64_t)t->words.n;
    char summary[96];
    snprintf(summary, sizeof summary, "%lld bytes, %lld different pieces",
             (long long)t->report->bytes, (long long)t->report->distinct);
    progress_end(&t->progress, summary);
    return 0;
}

/* --- pairs --------------------------------------------------------------------------------------
 */

static PairCount *pair_slot(PairCount *pairs, size_t mask, int32_t left, int32_t right)
{
    uint64_t key = ((uint64_t)(uint32_t)left << 32 | (uint32_t)right) * 0x9e3779b97f4a7c15;
    for (size_t i = (size_t)(key >> 20) & mask;; i = (i + 1) & mask)
        if (pairs[i].left < 0 || (pairs[i].left == left && pairs[i].right == right))
            return &pairs[i];
}

static void pairs_grow(Trainer *t)
{
    size_t mask = t->mask ? 2 * t->mask + 1 : ((size_t)1 << 16) - 1;
    PairCount *pairs = malloc((mask + 1) * sizeof *pairs);
    mem_need(pairs != NULL, "%zu pairs of tokens", mask);
    for (size_t i = 0; i <= mask; i++) pairs[i] = (PairCount){.left = -1};
    for (size_t i = 0; t->mask && i <= t->mask; i++)
        if (t->pairs[i].left >= 0)
            *pair_slot(pairs, mask, t->pairs[i].left, t->pairs[i].right) = t->pairs[i];
    free(t->pairs);
    t->pairs = pairs;
    t->mask = mask;
}

static PairCount *pair_get(Trainer *t, int32_t left, int32_t right)
{
    if (t->mask == 0 || 2 * t->n_pairs > t->mask) pairs_grow(t);
    PairCount *p = pair_slot(t->pairs, t->mask, left, right);
    if (p->left < 0) {
        *p = (PairCount){.left = left, .right = right};
        t->n_pairs++;
    }
    return p;
}

static void pair_in_word(PairCount *p, uint32_t word)
{
    if (p->n > 0 && p->word[p->n - 1] == word) return;
    if (p->n == p->room) {
        p->room = p->room ? 2 * p->room : 4;
        p->word = realloc(p->word, p->room * sizeof *p->word);
        mem_need(p->word != NULL, "the places of a pair");
    }
    p->word[p->n++] = word;
}

/* --- the most frequent --------------------------------------------------------------------------
 */

static bool goes_before(const Candidate *a, const Candidate *b)
{
    if (a->count != b->count) return a->count > b->count;
    if (a->left != b->left) return a->left < b->left;
    return a->right < b->right;
}

static void candidate_push(Trainer *t, const PairCount *p)
{
    if (p->count <= 0) return;
    if (t->n_heap == t->heap_room) {
        t->heap_room = t->heap_room ? 2 * t->heap_room : 1 << 16;
        t->heap = realloc(t->heap, t->heap_room * sizeof *t->heap);
        mem_need(t->heap != NULL, "the pairs of tokens");
    }
    Candidate new = {p->count, p->left, p->right};
    size_t at = t->n_heap++;
    for (size_t up; at > 0 && goes_before(&new, &t->heap[up = (at - 1) / 2]); at = up)
        t->heap[at] = t->heap[up];
    t->heap[at] = new;
}

static Candidate candidate_pop(Trainer *t)
{
    Candidate first = t->heap[0], moving = t->heap[--t->n_heap];
    size_t at = 0;
    for (size_t child; (child = 2 * at + 1) < t->n_heap; at = child) {
        if (child + 1 < t->n_heap && goes_before(&t->heap[child + 1], &t->heap[child])) child++;
        if (!goes_before(&t->heap[child], &moving)) break;
        t->heap[at] = t->heap[child];
    }
    t->heap[at] = moving;
    return first;
}

/* The pair with the highest count now; NULL when none is left. */
static PairCount *pair_best(Trainer *t)
{
    while (t->n_heap > 0) {
        Candidate c = candidate_pop(t);
        PairCount *p = pair_get(t, c.left, c.right);
        if (p->count == c.count && c.count > 0) return p;
        if (p->count > 0 && p->count < c.count) candidate_push(t, p);
    }
    return NULL;
}

/* --- merging ------------------------------------------------------------------------------------
 */

static void word_pairs(Trainer *t, uint32_t w)
{
    const Word *word = &t->words.word[w];
    const int32_t *ids = t->words.ids + word->at;
    for (uint32_t i = 0; i + 1 < word->n; i++) {
        PairCount *p = pair_get(t, ids[i], ids[i + 1]);
        p->count += word->count;
        pair_in_word(p, w);
    }
}

/* A pair has become more frequent by a word; it is a candidate once the merge is through. */
static void pair_gain(Trainer *t, int32_t left, int32_t right, uint32_t w, uint32_t round)
{
    PairCount *p = pair_get(t, left, right);
    p->count += t->words.word[w].count;
    pair_in_word(p, w);
    if (p->round == round) return;
    p->round = round;
    if (t->n_gained == t->gained_room) {
        t->gained_room = t->gained_room ? 2 * t->gained_room : 1024;
        t->gained = realloc(t->gained, t->gained_room * sizeof *t->gained);
        mem_need(t->gained != NULL, "the pairs of tokens");
    }
    t->gained[t->n_gained][0] = left;
    t->gained[t->n_gained++][1] = right;
}

/* Merges the pair in one word. Only the neighbours of a merge change: their old pairs lose the
 * word's count, the new ones get it. */
static void word_merge(Trainer *t, uint32_t w, const int32_t pair[2], int32_t id, uint32_t round)
{
    Word *word = &t->words.word[w];
    int32_t *ids = t->words.ids + word->at;
    uint32_t n = 0;
    for (uint32_t i = 0; i < word->n; i++) {
        if (i + 1 == word->n || ids[i] != pair[0] || ids[i + 1] != pair[1]) {
            ids[n++] = ids[i];
            continue;
        }
        if (n > 0) {
            pair_get(t, ids[n - 1], pair[0])->count -= word->count;
            pair_gain(t, ids[n - 1], id, w, round);
        }
        if (i + 2 < word->n) {
            pair_get(t, pair[1], ids[i + 2])->count -= word->count;
            pair_gain(t, id, ids[i + 2], w, round);
        }
        ids[n++] = id;
        i++;
    }
    word->n = n;
}

static void pair_merge(Trainer *t, PairCount *pair, int32_t id, uint32_t round)
{
    PairCount p = *pair; /* the table may move */
    *pair = (PairCount){.left = p.left, .right = p.right};
    for (uint32_t i = 0; i < p.n; i++) {
        if (t->seen[p.word[i]] == round) continue;
        t->seen[p.word[i]] = round;
        word_merge(t, p.word[i], (const int32_t[]){p.left, p.right}, id, round);
    }
    pair_get(t, p.left, p.right)->count = 0;
    for (size_t i = 0; i < t->n_gained; i++)
        candidate_push(t, pair_get(t, t->gained[i][0], t->gained[i][1]));
    t->n_gained = 0;
    free(p.word);
}

static int pairs_count(Trainer *t, Err *err)
{
    t->seen = calloc(t->words.n + 1, sizeof *t->seen);
    if (t->seen == NULL) return err_set(err, "no memory to train a tokenizer");
    for (uint32_t w = 0; w < t->words.n; w++) word_pairs(t, w);
    for (size_t i = 0; t->mask && i <= t->mask; i++)
        if (t->pairs[i].left >= 0) candidate_push(t, &t->pairs[i]);
    return 0;
}

static int merge_all(Trainer *t, Err *err)
{
    const TrainerOptions *o = t->options;
    int32_t wanted = o->vocab_size - HF_SPECIALS;
    TRY(pairs_count(t, err));
    progress_start(&t->progress, o->quiet ? NULL : "merge", (uint64_t)wanted - 256, "tokens");
    for (uint32_t round = 1; t->vocab.n < wanted; round++) {
        PairCount *best = pair_best(t);
        if (best == NULL) break;
        if (hf_vocabulary_length(&t->vocab, best->left) +
                hf_vocabulary_length(&t->vocab, best->right) >
            MAX_LENGTH) {
            best->count = 0; /* never again */
            continue;
        }
        TRY(check_stop(t, err));
        int32_t id = hf_vocabulary_merge(&t->vocab, best->left, best->right);
        pair_merge(t, best, id, round);
        progress_update(&t->progress, (uint64_t)t->vocab.n - 256, NULL);
    }
    char summary[64];
    snprintf(summary, sizeof summary, "%d tokens", t->vocab.n + HF_SPECIALS);
    progress_end(&t->progress, summary);
    t->report->vocab_size = t->vocab.n + HF_SPECIALS;
    return 0;
}

static int options_check(const TrainerOptions *o, Err *err)
{
    char names[128];
    split_pattern_names(names, sizeof names);
    if (split_pattern_named(o->pattern) == NULL)
        return err_set(err, "no split pattern '%.100s'; there are %s", o->pattern, names);
    if (o->vocab_size < TRAIN_MIN_VOCAB || o->vocab_size > 1 << 20)
        return err_set(err, "a vocabulary of %d; %d to %d is possible", o->vocab_size,
                       TRAIN_MIN_VOCAB, 1 << 20);
    AtomicFile file; /* a place that takes no file is told before the work */
    TRY(atomic_open(&file, o->out, err));
    atomic_abort(&file);
    return 0;
}

static int train(Trainer *t, Err *err)
{
    TRY(options_check(t->options, err));
    t->pattern = split_pattern_named(t->options->pattern);
    t->bits = unicode_bits();
    if (t->bits == NULL) return err_set(err, "no memory to train a tokenizer");
    TRY(count_files(t, err));
    words_start(&t->words);
    hf_vocabulary_begin(&t->vocab);
    TRY(merge_all(t, err));
    return hf_write(&t->vocab, t->pattern->regex, t->options->out, err);
}

int bpe_train(const TrainerOptions *options, TrainerReport *out, Err *err)
{
    CHECK(options->n_paths > 0, "nothing to train on");
    *out = (TrainerReport){0};
    Trainer t = {.options = options, .report = out};
    int status = train(&t, err);
    for (size_t i = 0; t.mask && i <= t.mask; i++) free(t.pairs[i].word);
    free(t.pairs);
    free(t.heap);
    free(t.gained);
    free(t.seen);
    free(t.bits);
    words_free(&t.words);
    hf_vocabulary_free(&t.vocab);
    return status;
}
