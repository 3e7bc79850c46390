/* Scores every item with one model in one mode.
 *
 * Items run in batches of equal length. A shorter one is filled up with BOS: targets that are BOS
 * are masked, attention looks back only, and a chunk without targets is not learned from, so what
 * is filled in changes no score. To waste little on it, lengths are T, T/2, T/4, ..., one sweep at
 * a time, and each item goes to the shortest that holds it. */
#include "run/eval_score.h"

#include <math.h>
#include <stdio.h>

#include "base/mem.h"
#include "base/progress.h"
#include "model/sweep.h"

typedef struct Scorer {
    const Eval *e;
    EvalColumn *column;
    const EvalModel *model;
    Model *m;
    int64_t *rows; /* (n_items): the items of the present length */
    int64_t n_rows;
    Progress progress;
    int64_t done; /* positions */
} Scorer;

/* One length's sweep and its buffers. */
typedef struct Bucket {
    Sweep *sweep;
    int B;
    int64_t length;
    int32_t *tokens; /* (B, length + 1) */
    double *nll;     /* (B, length) */
} Bucket;

static int64_t half_of(int64_t length)
{
    return (length + 1) / 2;
}

static bool can_halve(int64_t length)
{
    return half_of(length) >= EVAL_MIN_TOKENS;
}

static int64_t bucket_length(int64_t T, int64_t positions)
{
    int64_t length = T;
    while (can_halve(length) && half_of(length) >= positions) length = half_of(length);
    return length;
}

/* As many sequences at once as wanted and as fit into half of the free memory; then so few that the
 * last batch is about full. */
static int batch_choose(const Scorer *s, int64_t length, int *out, Err *err)
{
    const EvalOptions *o = &s->e->options;
    int64_t wanted = o->batch > 0 ? o->batch : s->model->cfg.training.eval_batch_size;
    int64_t B = wanted < s->n_rows ? wanted : s->n_rows;
    size_t available = backend_memory_left(s->m->be), needed;
    for (;;) {
        SweepOptions so = {.batch = (int)B, .length = length, .learn = s->column->learn};
        SweepPlan plan = sweep_plan(s->m, &so);
        needed = plan.total + plan.scratch;
        if (o->batch > 0 || B == 1 || needed <= available / 2) break;
        B = (B + 1) / 2;
    }
    if (needed > available)
        return err_set(err,
                       "%lld sequences of %lld tokens of %s need %.1f GiB of memory and %.1f are "
                       "free: lower --%s",
                       (long long)B, (long long)length, s->model->name, (double)needed / (1 << 30),
                       (double)available / (1 << 30), o->batch > 1 ? "batch" : "length");
    int64_t batches = (s->n_rows + B - 1) / B;
    *out = (int)((s->n_rows + batches - 1) / batches);
    return 0;
}

static void bucket_free(Bucket *b)
{
    sweep_free(b->sweep);
    mem_free(b->tokens);
    mem_free(b->nll);
}

static int bucket_make(Bucket *b, const Scorer *s, int64_t length, Err *err)
{
    *b = (Bucket){.length = length};
    TRY(batch_choose(s, length, &b->B, err));
    SweepOptions o = {.batch = b->B, .length = length, .learn = s->column->learn};
    TRY(sweep_create(&b->sweep, s->m, &o, err));
    b->tokens = mem_alloc((size_t)b->B * (size_t)(length + 1) * sizeof *b->tokens);
    b->nll = mem_alloc((size_t)b->B * (size_t)length * sizeof *b->nll);
    return 0;
}

/* Where nothing was learned yet the weights themselves are at fault. */
static int loss_not_finite(const Scorer *s, int64_t item, int64_t position, double nll, Err *err)
{
    char name[256];
    bool learned = s->column->learn && position >= s->model->cfg.model.mini_batch_size;
    eval_item_name(&s->e->set, item, name, sizeof name);
    return err_set(err, "%s (%s): the loss is %s in %s at position %lld; %s", s->column->label,
                   s->model->dir, isnan(nll) ? "NaN" : "infinite", name, (long long)position,
                   learned ? "lower training.optimizer_inner.lr in its config, or use --modes off"
                           : "its weights are damaged: take an earlier checkpoint");
}

/* Takes over one item's losses. tokens: (positions + 1); nll: (positions). */
static int item_take(Scorer *s, int64_t item, const int32_t *tokens, const double *nll, Err *err)
{
    const EvalSet *set = &s->e->set;
    int64_t T = set->options.length, positions = set->items[item].positions, all = 0;
    double all_sum = 0.0, *mean = s->column->bin_mean + item * (set->n_bins + 1);
    float *kept = s->column->nll ? s->column->nll + item * T : NULL;
    for (int64_t p = 0; kept && p < T; p++) kept[p] = NAN;
    for (int b = 0; b < set->n_bins; b++) {
        int64_t n = 0, end = set->bins[b].end < positions ? set->bins[b].end : positions;
        double sum = 0.0;
        for (int64_t p = set->bins[b].first; p < end; p++) {
            if (tokens[p + 1] == s->model->cfg.model.bos_token_id) continue;
            if (!isfinite(nll[p])) return loss_not_finite(s, item, p, nll[p], err);
            if (kept) kept[p] = (float)nll[p];
            sum += nll[p];
            n++;
        }
        mean[b] = n > 0 ? sum / (double)n : NAN;
        all_sum += sum;
        all += n;
    }
    mean[set->n_bins] = all > 0 ? all_sum / (double)all : NAN;
    s->column->nll_sum += all_sum;
    s->column->tokens += all;
    s->done += positions;
    return 0;
}

/* Rows [first, first + B) of the bucket's items; rows past the last hold nothing but BOS. */
static int batch_score(Scorer *s, Bucket *b, int64_t first, Err *err)
{
    int32_t bos = (int32_t)s->model->cfg.model.bos_token_id;
    int64_t width = b->length + 1, left = s->n_rows - first;
    int used = left < b->B ? (int)left : b->B;
    for (int r = 0; r < used; r++)
        TRY(eval_set_read(&s->e->set, s->rows[first + r], b->length, bos, b->tokens + r * width,
                          err));
    for (int64_t i = used * width; i < b->B * width; i++) b->tokens[i] = bos;
    SweepReport report = {.token_nll = b->nll};
    sweep_run(b->sweep, b->tokens, s->model->inner_lr, NULL, 0.0, &report);
    TRY(backend_wait(s->m->be, err));
    for (int r = 0; r < used; r++)
        TRY(item_take(s, s->rows[first + r], b->tokens + r * width, b->nll + r * b->length, err));
    return 0;
}

static int bucket_score(Scorer *s, int64_t length, Err *err)
{
    Bucket b;
    char note[64];
    int status = bucket_make(&b, s, length, err);
    for (int64_t first = 0; status == 0 && first < s->n_rows; first += b.B) {
        status = batch_score(s, &b, first, err);
        snprintf(note, sizeof note, "loss %.3f", s->column->nll_sum / (double)s->column->tokens);
        if (status == 0) progress_update(&s->progress, (uint64_t)s->done, note);
    }
    bucket_free(&b);
    return status;
}

static int lengths_score(Scorer *s, Err *err)
{
    const EvalSet *set = &s->e->set;
    int64_t T = set->options.length;
    for (int64_t length = T;; length = half_of(length)) {
        s->n_rows = 0;
        for (int64_t i = 0; i < set->n_items; i++)
            if (bucket_length(T, set->items[i].positions) == length) s->rows[s->n_rows++] = i;
        if (s->n_rows > 0) TRY(bucket_score(s, length, err));
        if (!can_halve(length)) return 0;
    }
}

int eval_score(const Eval *e, EvalColumn *column, Model *m, Err *err)
{
    Scorer s = {.e = e, .column = column, .model = &e->models[column->model], .m = m};
    char summary[128];
    s.rows = mem_alloc((size_t)e->set.n_items * sizeof *s.rows);
    progress_start(&s.progress, column->label, (uint64_t)e->set.positions, "tokens");
    double start = time_now();
    int status = lengths_score(&s, err);
    column->seconds = time_now() - start;
    mem_free(s.rows);
    if (status == 0 && column->tokens == 0)
        status = err_set(err, "%s: every target is a BOS, so there is nothing to score",
                         e->source->name);
    if (status < 0)
        snprintf(summary, sizeof summary, "stopped");
    else
        snprintf(summary, sizeof summary, "loss %.4f, %lld tokens, %.0f tokens/s",
                 column->nll_sum / (double)column->tokens, (long long)column->tokens,
                 (double)s.done / column->seconds);
    progress_end(&s.progress, summary);
    return status;
}
