/* Scores the held-out sequences batch by batch. Batches change no number: sequences do not meet. */
#include "run/holdout.h"

#include <math.h>
#include <stdio.h>

#include "base/file.h"
#include "base/mem.h"
#include "base/npy.h"
#include "base/progress.h"
#include "model/sweep.h"

const char holdout_name[] = "train_holdout";

typedef struct Scorer {
    Holdout *h;
    const HoldoutOptions *o;
    Model *m;
    Sweep *sweep;
    int B;
    int32_t *tokens;          /* (B, T + 1) */
    double *nll, *chunk_loss; /* (B, T), (B, chunks) */
    float *row;               /* (T) */
    double *scored_sum;
    int64_t *scored_n; /* (n_bins): over targets that are not masked */
    AtomicFile file;   /* all tokens' losses; fd -1: not wanted */
    Progress progress;
} Scorer;

static SweepOptions sweep_options(const Scorer *s, int64_t B)
{
    return (SweepOptions){
        .batch = (int)B, .length = s->o->length, .learn = model_learns(s->m), .gradient = false};
}

static int batch_choose(Scorer *s, Err *err)
{
    int64_t n = s->h->set.n_items, B = s->o->batch < n ? s->o->batch : n;
    for (;; B = (B + 1) / 2) {
        SweepOptions so = sweep_options(s, B);
        SweepPlan plan = sweep_plan(s->m, &so);
        s->h->chunks = plan.chunks;
        size_t needed = plan.total + plan.scratch;
        if (needed <= s->o->memory) break;
        if (B > 1) continue;
        if (needed <= backend_memory_left(s->m->be)) break;
        return err_set(err,
                       "an evaluation of one sequence of %lld tokens needs %.0f MB and %.0f MB are "
                       "free; lower training.seq_length",
                       (long long)s->o->length, (double)needed / 1e6,
                       (double)backend_memory_left(s->m->be) / 1e6);
    }
    int64_t batches = (n + B - 1) / B;
    s->B = (int)((n + batches - 1) / batches); /* so that the last batch is about full */
    return 0;
}

static int file_begin(Scorer *s, Err *err)
{
    char path[PATH_MAX], name[HOLDOUT_FILE_MAX];
    int64_t shape[] = {s->h->set.n_items, s->o->length};
    s->file.fd = -1;
    if (!s->o->out) return 0;
    snprintf(name, sizeof name, "%s_token_nll.npy", holdout_name);
    TRY(path_join(path, sizeof path, s->o->out, name, err));
    return npy_begin_f32(&s->file, path, shape, 2, err);
}

static int scorer_open(Scorer *s, Err *err)
{
    Holdout *h = s->h;
    size_t T = (size_t)s->o->length;
    TRY(batch_choose(s, err));
    TRY(file_begin(s, err));
    SweepOptions so = sweep_options(s, s->B);
    TRY(sweep_create(&s->sweep, s->m, &so, err));
    size_t B = (size_t)s->B, chunks = (size_t)h->chunks, bins = (size_t)h->set.n_bins;
    s->tokens = mem_alloc(B * (T + 1) * sizeof *s->tokens);
    s->nll = mem_alloc(B * T * sizeof *s->nll);
    s->chunk_loss = mem_alloc(B * chunks * sizeof *s->chunk_loss);
    s->row = mem_alloc(T * sizeof *s->row);
    s->scored_sum = mem_alloc(bins * sizeof *s->scored_sum);
    s->scored_n = mem_alloc(bins * sizeof *s->scored_n);
    h->chunk_loss = mem_alloc(chunks * sizeof *h->chunk_loss);
    h->token_nll = mem_alloc(T * sizeof *h->token_nll);
    h->bin_loss = mem_alloc(bins * sizeof *h->bin_loss);
    return 0;
}

static void scorer_close(Scorer *s)
{
    atomic_abort(&s->file);
    sweep_free(s->sweep);
    mem_free(s->tokens);
    mem_free(s->nll);
    mem_free(s->chunk_loss);
    mem_free(s->row);
    mem_free(s->scored_sum);
    mem_free(s->scored_n);
}

static void bins_take(Scorer *s, const int32_t *tokens, const double *nll)
{
    for (int b = 0; b < s->h->set.n_bins; b++) {
        const EvalBin *bin = &s->h->set.bins[b];
        for (int64_t p = bin->first; p < bin->end; p++) {
            if (tokens[p + 1] == s->m->cfg.model.bos_token_id) continue;
            s->scored_sum[b] += nll[p];
            s->scored_n[b]++;
        }
    }
}

/* Sums, until sums_finish. */
static int sequence_take(Scorer *s, int64_t item, int row, Err *err)
{
    Holdout *h = s->h;
    int64_t T = s->o->length;
    const double *nll = s->nll + row * T, *chunk = s->chunk_loss + row * h->chunks;
    double loss = 0;
    for (int64_t p = 0; p < T; p++) {
        if (!isfinite(nll[p]))
            return err_set(err,
                           "the loss of sequence %lld is %s at position %lld; lower "
                           "training.optimizer_inner.lr, or take an earlier checkpoint "
                           "(training.resume_step)",
                           (long long)item, isnan(nll[p]) ? "NaN" : "infinite", (long long)p);
        h->token_nll[p] += nll[p];
        s->row[p] = (float)nll[p];
    }
    for (int64_t c = 0; c < h->chunks; c++) {
        h->chunk_loss[c] += chunk[c];
        loss += chunk[c] / (double)h->chunks;
    }
    h->loss += loss;
    h->scored++;
    bins_take(s, s->tokens + row * (T + 1), nll);
    if (s->file.fd < 0) return 0;
    return atomic_write(&s->file, s->row, (size_t)T * sizeof *s->row, err);
}

/* Items [first, first + B); rows past the last item repeat the first and are not looked at. */
static int batch_score(Scorer *s, int64_t first, Err *err)
{
    int64_t T = s->o->length, left = s->h->set.n_items - first;
    int used = left < s->B ? (int)left : s->B;
    SweepReport report = {.token_nll = s->nll, .chunk_loss = s->chunk_loss};
    for (int b = 0; b < s->B; b++)
        TRY(eval_set_read(&s->h->set, first + (b < used ? b : 0), T, 0, s->tokens + b * (T + 1),
                          err));
    sweep_run(s->sweep, s->tokens, inner_lr_at(&s->m->cfg.training, EVALUATION_STEP), NULL, 0.0,
              &report);
    TRY(backend_wait(s->m->be, err));
    for (int b = 0; b < used; b++) TRY(sequence_take(s, first + b, b, err));
    return 0;
}

static void sums_finish(Scorer *s)
{
    Holdout *h = s->h;
    double n = (double)h->scored;
    h->loss /= n;
    for (int64_t c = 0; c < h->chunks; c++) h->chunk_loss[c] /= n;
    for (int64_t p = 0; p < s->o->length; p++) h->token_nll[p] /= n;
    for (int b = 0; b < h->set.n_bins; b++)
        h->bin_loss[b] = s->scored_n[b] > 0 ? s->scored_sum[b] / (double)s->scored_n[b] : NAN;
}

static int batches_score(Scorer *s, Err *err)
{
    char note[64];
    int64_t n = s->h->set.n_items, T = s->o->length;
    progress_start(&s->progress, s->o->label, (uint64_t)(n * T), "tokens");
    double start = time_now();
    for (int64_t first = 0; first < n && !(s->o->stop && *s->o->stop); first += s->B) {
        TRY(batch_score(s, first, err));
        snprintf(note, sizeof note, "loss %.4f", s->h->loss / (double)s->h->scored);
        progress_update(&s->progress, (uint64_t)(s->h->scored * T), note);
    }
    s->h->seconds = time_now() - start;
    s->h->tokens_per_second = (double)(s->h->scored * T) / s->h->seconds;
    if (s->h->scored == 0) return err_set(err, "stopped before the first sequences were scored");
    sums_finish(s);
    return s->file.fd >= 0 && s->h->scored == n ? atomic_commit(&s->file, err) : 0;
}

static int mean_write(const Scorer *s, Err *err)
{
    char path[PATH_MAX], name[HOLDOUT_FILE_MAX];
    if (!s->o->out) return 0;
    snprintf(name, sizeof name, "%s_token_nll_loss.npy", holdout_name);
    TRY(path_join(path, sizeof path, s->o->out, name, err));
    for (int64_t p = 0; p < s->o->length; p++) s->row[p] = (float)s->h->token_nll[p];
    return npy_write_f32(path, s->row, &s->o->length, 1, err);
}

static int set_choose(Holdout *h, const TokenSource *source, const HoldoutOptions *o, Err *err)
{
    EvalSetOptions so = {.length = o->length, .stream = true, .max_items = o->max_sequences};
    if (token_source_length(source) <= o->length)
        return err_set(err,
                       "%s holds %lld tokens, one sequence needs %lld; lower training.seq_length "
                       "or choose another training.eval_split",
                       source->name, (long long)token_source_length(source),
                       (long long)o->length + 1);
    return eval_set_make(&h->set, source, &so, err);
}

int holdout_score(Holdout *h, Model *m, const TokenSource *source, const HoldoutOptions *o,
                  Err *err)
{
    *h = (Holdout){0};
    Scorer s = {.h = h, .o = o, .m = m, .file.fd = -1};
    TRY(set_choose(h, source, o, err));
    int status = scorer_open(&s, err);
    if (status == 0) status = batches_score(&s, err);
    if (status == 0) status = mean_write(&s, err);
    scorer_close(&s);
    if (status < 0) holdout_free(h);
    return status;
}

void holdout_free(Holdout *h)
{
    eval_set_free(&h->set);
    mem_free(h->chunk_loss);
    mem_free(h->token_nll);
    mem_free(h->bin_loss);
    *h = (Holdout){0};
}
