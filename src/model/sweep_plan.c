/* How much memory a sweep takes, how long a segment may be, and where everything lies. */
#include <math.h>
#include <stdlib.h>

#include "backend/bf16_copy.h"
#include "backend/machine.h"
#include "base/mem.h"
#include "model/sweep_state.h"

static int64_t ceil_div(int64_t a, int64_t b)
{
    return (a + b - 1) / b;
}
int64_t sweep_past(const Sweep *s, int64_t index)
{
    return s->kv_full ? index * s->segment : min64(s->history, index * s->segment);
}

static size_t bytes_since(const Arena *a, size_t *mark)
{
    size_t bytes = (a->used - *mark) * sizeof(real);
    *mark = a->used;
    return bytes;
}

/* ------------------------------------------------------------------------------ what is kept */

/* What leading blocks may make again, one after the other as memory asks for it, by products of
 * (c C + f F) C multiply-adds a row: those that save the most for it come first. */
typedef struct Remake {
    Act acts[4]; /* A_X: none */
    int c, f;
} Remake;

static const Remake remakes[] = {
    {{A_PROJECTED}, 1, 0},
    {{A_H1, A_H3, A_PRIME_H1, A_PRIME_H3}, 0, 2},
    {{A_Q_RAW}, 1, 0},
    {{A_F, A_PRIME_OUT}, 0, 1},
};

/* Each step up of s->remake is one more of them in one more block. */
static ActSet again_in(const Sweep *s, int layer)
{
    ActSet acts = block_again_freely(&s->m->cfg.model);
    for (int i = 0; i < ARRAY_LEN(remakes); i++) {
        if (s->remake <= i * lead_layers(s->m) + layer) break;
        for (int j = 0; j < ARRAY_LEN(remakes[i].acts); j++) acts |= act_bit(remakes[i].acts[j]);
    }
    return acts;
}

/* See SweepPlan. */
static double flops_again(const Sweep *s)
{
    const ModelConfig *c = &s->m->cfg.model;
    double C = (double)c->hidden_size, F = (double)c->intermediate_size, sum = 0;
    int leads = lead_layers(s->m);
    if (!s->o.gradient) return 0;
    for (int step = 0; step < s->remake; step++) {
        const Remake *r = &remakes[step / leads];
        int mlps = block_has_prime(s->m, step % leads) ? 2 : 1;
        bool output = r->acts[0] == A_PROJECTED || r->acts[0] == A_F;
        if (output && !c->post_norm) continue; /* kept by nobody: see block_again_freely */
        sum += 2 * C * (r->c * C + r->f * mlps * F);
    }
    double n = (double)s->plan.segments;
    return sum + (n - 1) / n * s->forward_flops;
}

/* What leading blocks keep. Their last output is the tail's input. */
static void layout_lead(Sweep *s, Arena *a)
{
    int B = s->o.batch, last = lead_layers(s->m) - 1;
    for (int i = 0; i < s->spans; i++)
        for (int l = 0; l <= last; l++)
            block_acts_layout_again(&s->acts[i * (last + 1) + l], a, s->m, l, B, s->span,
                                    &s->shared, again_in(s, l) | (l == last ? act_bit(A_OUT) : 0));
}

/* What leading blocks use for the time of a pass. */
static void layout_lead_pass(Sweep *s, Arena *a, int64_t window_rows)
{
    int B = s->o.batch, last = lead_layers(s->m) - 1;
    s->embedded = arena_take(a, (size_t)B * (size_t)s->span * (size_t)s->m->cfg.model.hidden_size);
    if (last < 0) return;
    block_shared_layout(&s->shared, a, s->m, last, B, s->span, again_in(s, 0) | act_bit(A_OUT));
    kv_rows_layout(&s->window, a, s->m, B, window_rows, true);
}

static void layout_activations(Sweep *s, Arena *a, int64_t window_rows)
{
    const ModelConfig *c = &s->m->cfg.model;
    bool tail_blocks = lead_layers(s->m) < c->num_hidden_layers, gradient = s->o.gradient;
    int B = s->o.batch, widest = tail_blocks && s->chunk > s->span ? s->chunk : s->span;
    size_t segment = (size_t)B * (size_t)s->segment, hidden = (size_t)c->hidden_size;
    Arena lead = *a; /* neither half's pass needs what the other's left: both in the same place */
    if (gradient)
        layout_lead_pass(s, &lead, window_rows);
    else
        lead_layout_shared(&s->lead, &lead, s->m, B, s->span);
    tail_layout(&s->tail, a, s->m, B, s->chunk, gradient);
    if (a->used < lead.used) a->used = lead.used;
    if (gradient) layout_lead(s, a);
    block_scratch_layout(&s->scratch, a, s->m, B, widest, gradient);
    s->rope = arena_take(a, (size_t)s->segment * hidden / (size_t)c->num_attention_heads);
    s->x = arena_take(a, segment * hidden);
    s->inputs = arena_take_ids(a, (size_t)B * (size_t)s->o.length);
    s->targets = arena_take_ids(a, (size_t)B * (size_t)s->o.length);
    s->nll = arena_take(a, (size_t)B * (size_t)s->o.length);
    if (gradient && s->learn) s->head_dx = arena_take(a, segment * hidden);
}

static void layout_adapted(Sweep *s, Arena *a)
{
    size_t P = (size_t)s->o.batch * s->m->inner.size;
    size_t chunks = s->o.gradient ? (size_t)(s->segment / s->chunk) : 1;
    size_t stride = (size_t)s->stride;
    if (!s->learn) return;
    s->fast_size = (s->o.gradient ? chunks / stride + stride : 1) * P;
    s->inner_g_size = chunks * P;
    s->fast = arena_take(a, s->fast_size);
    s->inner_g = arena_take(a, s->inner_g_size);
    s->inner_norm = arena_take(a, (size_t)ceil_div(s->o.length, s->chunk) * (size_t)s->o.batch);
    s->inner_lr = arena_take_doubles(a, 1);
    if (!s->o.gradient) return;
    s->v = arena_take(a, P);
}

static void layout_states(Sweep *s, Arena *a, int64_t segments)
{
    const ModelConfig *c = &s->m->cfg.model;
    size_t P = (size_t)s->o.batch * s->m->inner.size, C = (size_t)c->hidden_size;
    size_t leads = (size_t)lead_layers(s->m), tails = (size_t)c->num_hidden_layers - leads;
    if (!s->o.gradient) return;
    s->past_rows = (segments - 1) * min64(s->history, s->segment);
    s->past = arena_take(a, leads * 2 * (size_t)(s->o.batch * s->past_rows) * C);
    for (int64_t i = 0; i < segments - 1; i++) {
        size_t past = (size_t)s->o.batch * (size_t)sweep_past(s, i) * C;
        real *fast = s->learn ? arena_take(a, P) : NULL;
        real *kv = s->kv_full ? NULL : arena_take(a, 2 * tails * past);
        if (!a->base) continue;
        s->state_fast[i] = fast;
        s->state_kv[i] = kv;
    }
}

/* kept: rows before any segment; rows: with those of a segment. Blocks of the tail read theirs
 * again for each chunk, twice where it is run again: these are rounded once, where they stay. */
static void layout_windows(Sweep *s, Arena *a, int64_t kept, int64_t rows)
{
    int B = s->o.batch, leads = lead_layers(s->m);
    int64_t T = s->o.length, before = min64(s->history, (ceil_div(T, s->chunk) - 1) * s->chunk);
    size_t C = (size_t)s->m->cfg.model.hidden_size;
    if (s->kv_full) rows = T;
    if (!s->o.gradient) {
        kv_cache_layout(&s->kv, a, s->m, B, rows);
        if (s->kv_full) kv_halves_layout(&s->kv, a, s->m, B, leads);
        return;
    }
    s->owed_rows = kept;
    s->owed = arena_take(a, (size_t)leads * 2 * (size_t)(B * kept) * C);
    for (int l = leads; l < s->kv.n_layers; l++) {
        KvRows *r = &s->kv.layer[l];
        kv_rows_layout(r, a, s->m, B, rows, false);
        r->grad_step = (size_t)min64(before + s->chunk, T) * C;
        r->dk = arena_take(a, (size_t)B * r->grad_step);
        r->dv = arena_take(a, (size_t)B * r->grad_step);
    }
    if (s->kv_full) kv_halves_layout(&s->kv, a, s->m, B, leads);
}

void sweep_layout(Sweep *s, SweepPlan *plan)
{
    Arena a = {.base = s->memory};
    size_t mark = 0;
    int64_t T = s->o.length, segments = ceil_div(T, s->segment);
    int64_t kept = min64(s->history, (segments - 1) * s->segment); /* before any segment, at most */
    int64_t rows = min64(kept + s->segment, T);
    layout_activations(s, &a, rows);
    plan->activations = bytes_since(&a, &mark);
    layout_adapted(s, &a);
    plan->adapted = bytes_since(&a, &mark);
    layout_windows(s, &a, kept, rows);
    plan->windows = bytes_since(&a, &mark);
    layout_states(s, &a, segments);
    plan->states = bytes_since(&a, &mark);
    plan->chunks = ceil_div(T, s->chunk);
    plan->segments = segments;
    plan->segment_chunks = s->segment / s->chunk;
    plan->copies = 0;
    if (s->copies)
        plan->copies =
            model_copies_bytes(s->m) + bf16_copy_bytes(s->m->be, s->fast_size + s->inner_g_size);
    plan->total = a.used * sizeof(real) + plan->copies;
    plan->remake = s->remake;
    plan->remake_most = ARRAY_LEN(remakes) * lead_layers(s->m);
    plan->again = flops_again(s);
    s->elements = a.used;
}

/* Keys and values of the whole sequence, or of a rolling window with copies at segment starts:
 * whichever is smaller. */
static bool prefer_full(const Sweep *s)
{
    int64_t T = s->o.length, segments = ceil_div(T, s->segment);
    if (history_rows(s->m) < 0 || segments == 1) return true;
    int64_t rolling = s->history + s->segment;
    for (int64_t i = 0; s->o.gradient && i < segments - 1; i++)
        rolling += min64(s->history, i * s->segment);
    return rolling >= T;
}

/* Geometry for `chunks` chunks per segment. */
static void set_segment(Sweep *s, int64_t chunks)
{
    int64_t T = s->o.length, all = ceil_div(T, s->chunk) * s->chunk;
    s->segment = min64(chunks * s->chunk, all);
    int64_t most = s->m->be->machine->span_rows / s->o.batch, rows = most > 1 ? most : 1;
    s->span = (int)min64(rows > s->chunk ? rows / s->chunk * s->chunk : rows, s->segment);
    s->spans = (int)ceil_div(s->segment, s->span);
    s->stride = 1;
    while (s->stride * s->stride < s->segment / s->chunk) s->stride++;
    s->history = history_rows(s->m) < 0 ? T : history_rows(s->m);
    s->kv_full = prefer_full(s);
}

static void alloc_tables(Sweep *s)
{
    int64_t segments = ceil_div(s->o.length, s->segment);
    free(s->acts);
    free(s->state_fast);
    free(s->state_kv);
    size_t blocks = s->o.gradient ? (size_t)s->spans * (size_t)lead_layers(s->m) : 0;
    s->acts = calloc(blocks + 1, sizeof *s->acts);
    s->state_fast = calloc((size_t)segments, sizeof *s->state_fast);
    s->state_kv = calloc((size_t)segments, sizeof *s->state_kv);
    mem_need(s->acts && s->state_fast && s->state_kv, "a sweep");
}

static void try_segment(Sweep *s, int64_t chunks, int remake)
{
    s->remake = remake;
    set_segment(s, chunks);
    alloc_tables(s);
    sweep_layout(s, &s->plan);
}

size_t sweep_head_bf16(const ModelConfig *c)
{
    return (size_t)c->output_size * (size_t)c->hidden_size * 2;
}

/* Bytes that a sweep with a gradient may take if it can: training.activation_mb. By default, on the
 * host, as much as the outer optimizer takes, products' copies included, so that the sweep of a
 * long sequence does not dwarf the model, nor a small model starve its sweep. On a GPU, most of
 * what the optimizer leaves: nobody else wants it. */
static size_t sweep_budget(const Model *m)
{
    size_t least = (size_t)560 << 20, outer = 4 * m->table.size * sizeof(real);
    size_t most = outer > least ? outer : least, room = backend_memory_room(m->be) / 8 * 7;
    int64_t given = m->cfg.training.activation_mb;
    if (given > 0) return (size_t)given << 20;
    if (room > 0) return room > outer + least ? room - outer : least;
    return m->cfg.model.compute_dtype == COMPUTE_BF16 ? most - sweep_head_bf16(&m->cfg.model)
                                                      : most;
}

/* Segments of this many chunks, and the least made again that fits the budget; false: nothing. */
static bool fit_segment(Sweep *s, int64_t chunks, size_t budget)
{
    int least = 0, most = ARRAY_LEN(remakes) * lead_layers(s->m);
    try_segment(s, chunks, most);
    if (s->plan.total > budget) return false;
    while (least < most) {
        int middle = (least + most) / 2;
        try_segment(s, chunks, middle);
        if (s->plan.total <= budget)
            most = middle;
        else
            least = middle + 1;
    }
    try_segment(s, chunks, most);
    return true;
}

/* As little is done again as the budget allows. Leading blocks make more and more of their
 * activations again, or segments get shorter, or both; where nothing fits, the smallest. */
static void choose_segment(Sweep *s)
{
    int64_t unit = s->m->cfg.training.inner_remat_freq, chunks = ceil_div(s->o.length, s->chunk);
    int64_t best = chunks;
    int remake = 0;
    double again = INFINITY;
    size_t least = SIZE_MAX, budget = sweep_budget(s->m);
    for (;; chunks = ceil_div(ceil_div(chunks, 2), unit) * unit) {
        bool fits = fit_segment(s, chunks, budget);
        if (fits ? s->plan.again < again : s->plan.total < least && again == INFINITY) {
            best = chunks;
            remake = s->remake;
            least = s->plan.total;
            if (fits) again = s->plan.again;
        }
        if (chunks <= unit) break;
    }
    try_segment(s, best, remake);
}

static Sweep *sweep_shape(Model *m, const SweepOptions *o)
{
    Sweep *s = calloc(1, sizeof *s);
    mem_need(s, "a sweep");
    s->m = m;
    s->o = *o;
    s->learn = o->learn && m->inner.size > 0;
    s->chunk = (int)min64(m->cfg.model.mini_batch_size, o->length);
    s->kv.n_layers = (int)m->cfg.model.num_hidden_layers;
    s->kv.layer = calloc((size_t)s->kv.n_layers, sizeof *s->kv.layer);
    int tails = (int)m->cfg.model.num_hidden_layers - lead_layers(m);
    s->tail.acts = calloc((size_t)(tails ? tails : 1), sizeof *s->tail.acts);
    s->lead.acts = calloc((size_t)lead_layers(m) + 1, sizeof *s->lead.acts);
    mem_need(s->kv.layer && s->tail.acts && s->lead.acts, "a sweep");
    s->rope_start = -1;
    s->copies = m->be->machine->own_memory && m->be->bf16;
    int64_t spans = m->be->machine->span_rows / ((int64_t)o->batch * s->chunk),
            all = ceil_div(o->length, s->chunk);
    if (o->gradient) s->forward_flops = sweep_floor_flops(m, o->length, false, s->learn);
    if (o->gradient && o->segment_chunks > 0)
        try_segment(s, min64(o->segment_chunks, all), o->remake);
    else if (o->gradient)
        choose_segment(s);
    else
        try_segment(s, min64(all, spans > 1 ? spans : 1), 0);
    return s;
}

/* What products read in bfloat16 more than once. The host's memory has room for the head alone. */
static void keep_copies(Sweep *s)
{
    Model *m = s->m;
    /* emulated products round their operands themselves */
    if (!s->copies && !backend_bf16_emulated(m->be)) s->head = head_unadapted(m, &s->head_size);
    if (s->head) bf16_copy_keep(m->be, s->head, s->head_size);
    if (!s->copies) return;
    model_copies_keep(m);
    bf16_copy_keep(m->be, s->fast, s->fast_size);
    bf16_copy_keep(m->be, s->inner_g, s->inner_g_size);
}

static void drop_copies(Sweep *s)
{
    if (s->head) bf16_copy_drop(s->m->be, s->head);
    if (!s->copies || !s->memory) return;
    model_copies_drop(s->m);
    bf16_copy_drop(s->m->be, s->fast);
    bf16_copy_drop(s->m->be, s->inner_g);
}

/* The passes, rehearsed: what scratch they take follows from their operations alone. */
static size_t scratch_of(Sweep *s)
{
    Backend *be = s->m->be;
    Model shape = *s->m, *given = s->m;
    SweepRun r = {.chunk_weight = 1};
    struct Profile *profile = be->profile;
    if (!backend_rehearses(be)) return 0;
    be->profile = NULL;
    backend_rehearse_begin(be);
    s->m = &shape;
    if (!shape.params) shape.params = backend_alloc(be, shape.table.size);
    if (s->o.gradient) r.gradient = backend_alloc(be, shape.table.size);
    s->memory = backend_alloc(be, s->elements);
    sweep_layout(s, &s->plan);
    keep_copies(s);
    sweep_passes(s, &r);
    drop_copies(s);
    s->memory = NULL;
    s->head = NULL;
    s->m = given;
    size_t bytes = backend_rehearse_end(be);
    be->profile = profile;
    return bytes;
}

SweepPlan sweep_plan(const Model *m, const SweepOptions *o)
{
    Sweep *s = sweep_shape((Model *)m, o);
    s->plan.scratch = scratch_of(s);
    SweepPlan plan = s->plan;
    sweep_free(s);
    return plan;
}

int sweep_create(Sweep **out, Model *m, const SweepOptions *o, Err *err)
{
    if (o->batch < 1 || o->length < 1)
        return err_set(err,
                       "a sweep needs at least one sequence of one token (batch %d, length %lld)",
                       o->batch, (long long)o->length);
    Sweep *s = sweep_shape(m, o);
    s->memory = backend_alloc(m->be, s->elements);
    if (backend_wait(m->be, err) < 0) {
        sweep_free(s);
        return -1;
    }
    sweep_layout(s, &s->plan);
    size_t rows = (size_t)o->batch * (size_t)o->length;
    s->staged = malloc(2 * rows * sizeof *s->staged);
    s->reported = malloc(rows * sizeof *s->reported);
    s->losses = malloc((size_t)o->batch * sizeof *s->losses);
    s->chunk_loss = calloc((size_t)o->batch * (size_t)s->plan.chunks, sizeof *s->chunk_loss);
    mem_need(s->staged && s->reported && s->losses && s->chunk_loss, "a sweep");
    keep_copies(s);
    if (backend_wait(m->be, err) < 0) {
        sweep_free(s);
        return -1;
    }
    *out = s;
    return 0;
}

void sweep_free(Sweep *s)
{
    if (!s) return;
    sweep_records_free(s);
    drop_copies(s);
    if (s->memory) backend_free(s->m->be, s->memory, s->elements);
    free(s->acts);
    free(s->lead.acts);
    free(s->tail.acts);
    free(s->kv.layer);
    free(s->state_fast);
    free(s->state_kv);
    free(s->staged);
    free(s->reported);
    free(s->losses);
    free(s->chunk_loss);
    free(s);
}

/* ------------------------------------------------------------------------------ the floor */

/* Mean number of keys that a query sees, and of those in its own chunk. */
static double mean_keys(int64_t T, int64_t window, int64_t local)
{
    double sum = 0;
    for (int64_t i = 0; i < T; i++) {
        int64_t n = i + 1;
        if (local > 0) n = min64(n, i % local + 1);
        if (window > 0) n = min64(n, window);
        sum += (double)n;
    }
    return sum / (double)T;
}

/* design: docs/speed.md. A attention projections, M and P the MLPs, H head, S scores. */
double sweep_floor_flops(const Model *m, int64_t length, bool gradient, bool learn)
{
    const ModelConfig *c = &m->cfg.model;
    double D = (double)c->hidden_size, L = lead_layers(m), s = (double)c->num_hidden_layers - L;
    double A = 8 * D * D, M = 6 * D * (double)c->intermediate_size;
    double H = 2 * D * (double)c->output_size, P = m->table.entry[P_PRIME_W1].present ? M : 0;
    Reach lead = lead_reach(m), tail = tail_reach(m);
    double S_lead = 4 * D * mean_keys(length, lead.window, lead.local);
    double S = 4 * D * mean_keys(length, tail.window, tail.local);
    double own = 4 * D * mean_keys(length, tail.window, c->mini_batch_size);
    double primes_in_lead = s > 0 ? 0 : (double)c->suffix_len * P;
    double blocks = L * (A + M + S_lead) + primes_in_lead;
    if (s == 0 || !learn || m->inner.size == 0)
        return (gradient ? 3 : 1) * (blocks + s * (A + M + P + S) + H);
    if (!gradient)
        return blocks + A + S + s * (2 * (M + P) + P) - P + (s - 1) * (2 * (A + S) + own) + 2 * H;
    return 3 * (blocks + A + S) + s * (6 * (M + P) + 3 * P) + (s - 1) * (6 * (A + S) + 3 * own) +
           6 * H;
}
