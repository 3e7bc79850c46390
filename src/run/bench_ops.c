/* Each operation alone: products, attention, and the chains that only move memory. Counted are the
 * multiply-adds and the bytes that it cannot do without. */
#include "run/bench_ops.h"

#include <stdlib.h>

#include "base/mem.h"    // defines: time_now
#include "base/rng.h"    // defines: rng_seed, rng_uniform
#include "model/block.h" // defines: Arena, arena_take
#include "run/bench_peak.h"

enum { HEAD_ROWS = 256, C_ARRAYS = 8, F_ARRAYS = 10, KV_ARRAYS = 4, P_ARRAYS = 4 };

/* A model's shapes and arrays of them, filled with random numbers. */
typedef struct Shape {
    Backend *be;
    int M, C, H, D, F, V, R; /* chunk, hidden, heads, head size, ffn, vocabulary, head's rows */
    int W;                   /* keys that a query sees */
    size_t P;                /* inner weights */
    real *c[C_ARRAYS];       /* (M, C) */
    real *f[F_ARRAYS];       /* (M, F) */
    real *kv[KV_ARRAYS];     /* (W + M, C) */
    real *p[P_ARRAYS];       /* (P) */
    real *w, *dw;            /* (C, F) */
    real *head, *dhead;      /* (C, V) */
    Dual z;                  /* (R, V) */
    real *norm, *seed, *nll, *rope;
    Dual lse;
    int32_t *tokens;          /* (M) */
    double *sum, *lr, *scale; /* (1) */
    size_t elements;
} Shape;

typedef struct Cost {
    double flops, bytes;
} Cost;

/* One call of an operation and what it cannot do without. */
typedef struct Row {
    const char *name;
    Cost (*run)(Shape *s);
    Cost (*chain)(Shape *s, bool dual); /* or this */
    bool dual;
} Row;

static Cost products(double rows, double columns, double inner)
{
    return (Cost){2 * rows * columns * inner,
                  (rows * columns + rows * inner + inner * columns) * sizeof(real)};
}

static Cost moved(double elements)
{
    return (Cost){0, elements * sizeof(real)};
}

/* ------------------------------------------------------------------------------ products */

static Cost run_linear(Shape *s)
{
    gemm(s->be, N_, N_, s->M, s->F, s->C, 1, s->c[0], s->C, s->w, s->F, 0, s->f[0], s->F);
    return products(s->M, s->F, s->C);
}

static Cost run_linear_back(Shape *s)
{
    gemm(s->be, N_, T_, s->M, s->C, s->F, 1, s->f[0], s->F, s->w, s->F, 0, s->c[0], s->C);
    return products(s->M, s->C, s->F);
}

static Cost run_linear_weight(Shape *s)
{
    gemm(s->be, T_, N_, s->C, s->F, s->M, 1, s->c[0], s->C, s->f[0], s->F, 1, s->dw, s->F);
    return products(s->C, s->F, s->M);
}

static Cost run_head(Shape *s)
{
    gemm(s->be, N_, T_, s->R, s->V, s->C, 1, s->c[0], s->C, s->head, s->C, 0, s->z.v, s->V);
    return products(s->R, s->V, s->C);
}

static Cost run_head_back(Shape *s)
{
    gemm(s->be, N_, N_, s->R, s->C, s->V, 1, s->z.v, s->V, s->head, s->C, 0, s->c[0], s->C);
    return products(s->R, s->C, s->V);
}

static Cost run_head_weight(Shape *s)
{
    gemm(s->be, T_, N_, s->V, s->C, s->R, 1, s->z.v, s->V, s->c[0], s->C, 1, s->dhead, s->C);
    return products(s->V, s->C, s->R);
}

static Cost run_head_token(Shape *s)
{
    weight_product(s->be, s->z.v, s->c[0], s->head, true, 1, s->C, s->V, false);
    return moved((double)s->V * s->C);
}

static Cost run_linear_token(Shape *s)
{
    weight_product(s->be, s->f[0], s->c[0], s->w, false, 1, s->C, s->F, false);
    return moved((double)s->C * s->F);
}

/* ------------------------------------------------------------------------------ attention */

/* Every query sees W keys; those of its own chunk are the ones that have tangents. */
static Cost scores(const Shape *s, double all, double own)
{
    double M = s->M, keys = s->W, own_keys = (M + 1) / 2 < keys ? (M + 1) / 2 : keys;
    return (Cost){4 * M * s->C * (all * keys + own * own_keys), 0};
}

static Window window_of(const Shape *s, bool dual)
{
    return (Window){.k = s->kv[0],
                    .v = s->kv[1],
                    .step = (size_t)(s->W + s->M) * (size_t)s->C,
                    .kt = dual ? s->c[4] : NULL,
                    .vt = dual ? s->c[5] : NULL,
                    .first = s->W,
                    .position = s->W,
                    .window = s->W};
}

static Cost attention(Shape *s, bool dual)
{
    Window w = window_of(s, dual);
    Dual q = {s->c[0], dual ? s->c[1] : NULL}, o = {s->c[2], dual ? s->c[3] : NULL};
    s->be->ops->attention_forward(s->be, o, s->lse, q, &w, 1, s->M, s->H, s->D);
    return scores(s, dual ? 2 : 1, dual ? 1 : 0);
}

static Cost attention_back(Shape *s, bool dual)
{
    Window w = window_of(s, dual);
    WindowGrad g = {.dk = s->kv[2], .dv = s->kv[3], .step = w.step};
    if (dual) g.own_dk = s->f[0], g.own_dv = s->f[1];
    Dual q = {s->c[0], dual ? s->c[1] : NULL}, d_o = {dual ? s->c[2] : NULL, s->c[3]};
    Dual dq = {dual ? s->c[6] : NULL, s->c[7]};
    Dual o = {s->f[2], dual ? s->f[3] : NULL};
    s->be->ops->attention_backward(s->be, dq, &g, d_o, o, s->lse, q, &w, 1, s->M, s->H, s->D);
    return scores(s, dual ? 4 : 2, dual ? 2 : 0);
}

/* One query: bound by keys and values. */
static Cost run_attention_token(Shape *s)
{
    Window w = window_of(s, false);
    Dual q = {s->c[0], NULL}, o = {s->c[2], NULL};
    s->be->ops->attention_forward(s->be, o, s->lse, q, &w, 1, 1, s->H, s->D);
    return moved(2.0 * s->W * s->C);
}

/* ------------------------------------------------------------------------------ chains */

static Dual dual_of(real *v, real *t, bool dual)
{
    return (Dual){v, dual ? t : NULL};
}

static Cost rmsnorm(Shape *s, bool dual)
{
    Param w = {.v = s->norm};
    s->be->ops->rmsnorm_forward(s->be, dual_of(s->c[2], s->c[3], dual), (Dual){0},
                                dual_of(s->c[0], s->c[1], dual), w, 1, s->M, s->C, 1e-6);
    return moved((dual ? 4.0 : 2.0) * s->M * s->C);
}

static Cost rmsnorm_added(Shape *s, bool dual)
{
    Param w = {.v = s->norm};
    s->be->ops->rmsnorm_forward(s->be, dual_of(s->c[2], s->c[3], dual),
                                dual_of(s->c[4], s->c[5], dual), dual_of(s->c[0], s->c[1], dual), w,
                                1, s->M, s->C, 1e-6);
    return moved((dual ? 6.0 : 3.0) * s->M * s->C);
}

static Cost rmsnorm_back(Shape *s, bool dual)
{
    Param w = {.v = s->norm}, none = {0};
    Dual dx = {dual ? s->c[6] : NULL, s->c[7]}, dy = {dual ? s->c[2] : NULL, s->c[3]};
    s->be->ops->rmsnorm_backward(s->be, dx, false, none, dy, dual_of(s->c[0], s->c[1], dual), w, 1,
                                 s->M, s->C, 1e-6);
    return moved((dual ? 6.0 : 3.0) * s->M * s->C);
}

static Cost swiglu(Shape *s, bool dual)
{
    size_t n = (size_t)s->M * (size_t)s->F;
    s->be->ops->swiglu_forward(s->be, dual_of(s->f[4], s->f[5], dual),
                               dual_of(s->f[0], s->f[1], dual), dual_of(s->f[2], s->f[3], dual), n);
    return moved((dual ? 6.0 : 3.0) * (double)n);
}

static Cost swiglu_back(Shape *s, bool dual)
{
    size_t n = (size_t)s->M * (size_t)s->F;
    Dual da = {dual ? s->f[6] : NULL, s->f[7]}, db = {dual ? s->f[8] : NULL, s->f[9]};
    Dual dy = {dual ? s->f[4] : NULL, s->f[5]};
    s->be->ops->swiglu_backward(s->be, da, db, dy, dual_of(s->f[0], s->f[1], dual),
                                dual_of(s->f[2], s->f[3], dual), n);
    return moved((dual ? 10.0 : 5.0) * (double)n);
}

static Cost turn(Shape *s, real *norm, bool dual)
{
    size_t step = (size_t)s->M * (size_t)s->C;
    Strided y = {s->c[2], dual ? s->c[3] : NULL, step, step, NULL, NULL};
    Rope r = {s->rope, 0, 1e-6};
    s->be->ops->rope_forward(s->be, &y, dual_of(s->c[0], s->c[1], dual), (Param){.v = norm}, &r, 1,
                             s->M, s->H, s->D);
    return moved((dual ? 4.0 : 2.0) * (double)step);
}

static Cost rope(Shape *s, bool dual)
{
    return turn(s, NULL, dual);
}
static Cost rope_norm(Shape *s, bool dual)
{
    return turn(s, s->norm, dual);
}

static Cost rope_back(Shape *s, bool dual)
{
    size_t step = (size_t)s->M * (size_t)s->C;
    Param w = {.v = s->norm}, none = {0};
    Dual dx = {dual ? s->c[6] : NULL, s->c[7]};
    Strided dy = {dual ? s->c[2] : NULL, s->c[3], step, step, NULL, NULL};
    Rope r = {s->rope, 0, 1e-6};
    s->be->ops->rope_backward(s->be, dx, none, &dy, dual_of(s->c[0], s->c[1], dual), w, &r, 1, s->M,
                              s->H, s->D);
    return moved((dual ? 6.0 : 3.0) * (double)step);
}

static Cost run_cross_entropy(Shape *s)
{
    Dual z = {s->z.v, NULL}, none = {0};
    s->be->ops->cross_entropy(s->be, s->nll, z, none, s->tokens, s->R, s->V);
    return moved((double)s->R * s->V);
}

static Cost run_cross_entropy_gradient(Shape *s)
{
    Dual z = {s->z.v, NULL}, seed = {s->seed, NULL};
    s->be->ops->cross_entropy(s->be, s->nll, z, seed, s->tokens, s->R, s->V);
    return moved(2.0 * s->R * s->V);
}

static Cost run_cross_entropy_dual(Shape *s)
{
    Dual seed = {s->seed, s->seed};
    s->be->ops->cross_entropy(s->be, s->nll, s->z, seed, s->tokens, s->R, s->V);
    return moved(4.0 * s->R * s->V);
}

static Cost run_log_sum_exp(Shape *s)
{
    s->be->ops->log_sum_exp(s->be, s->sum, s->z.v, s->V);
    return moved(s->V);
}

static Cost run_embed(Shape *s)
{
    s->be->ops->embed_forward(s->be, s->c[0], s->tokens, s->head, s->M, s->C);
    return moved(2.0 * s->M * s->C);
}

static Cost run_embed_back(Shape *s)
{
    s->be->ops->embed_backward(s->be, s->dhead, s->tokens, s->c[0], s->M, s->C);
    return moved(3.0 * s->M * s->C);
}

static Cost run_add(Shape *s)
{
    size_t n = (size_t)s->M * (size_t)s->C;
    s->be->ops->add(s->be, s->c[2], s->c[0], s->c[1], n);
    return moved(3.0 * (double)n);
}

static Cost run_copy_rows(Shape *s)
{
    size_t step = (size_t)s->M * (size_t)s->C;
    s->be->ops->copy_rows(s->be, s->c[1], step, s->c[0], step, 1, s->M, s->C);
    return moved(2.0 * (double)step);
}

static Cost run_inner_sgd(Shape *s)
{
    s->be->ops->inner_sgd_forward(s->be, s->p[0], s->seed, s->p[1], s->p[2], 1, s->P, s->lr, 1,
                                  NULL);
    return moved(3.0 * (double)s->P);
}

static Cost run_inner_sgd_back(Shape *s)
{
    s->be->ops->inner_sgd_backward(s->be, s->p[0], s->p[1], s->p[2], s->norm, 1, s->P, s->lr, 1);
    return moved(3.0 * (double)s->P);
}

static Cost run_adamw(Shape *s)
{
    const AdamWStep step = {.lr = 1e-6,
                            .b1 = 0.9,
                            .b2 = 0.95,
                            .eps = 1e-8,
                            .correction1 = 1,
                            .correction2 = 1,
                            .scale = s->scale};
    s->be->ops->adamw(s->be, s->p[0], s->p[1], s->p[2], s->p[3], s->P, &step);
    return moved(7.0 * (double)s->P);
}

static Cost run_sum_squares(Shape *s)
{
    s->be->ops->sum_squares(s->be, s->sum, s->p[3], s->P);
    return moved((double)s->P);
}

static const Row rows[] = {
    {"product, forward", .run = run_linear},
    {"product, input gradient", .run = run_linear_back},
    {"product, weight gradient", .run = run_linear_weight},
    {"head", .run = run_head},
    {"head, input gradient", .run = run_head_back},
    {"head, weight gradient", .run = run_head_weight},
    {"product, one token", .run = run_linear_token},
    {"head, one token", .run = run_head_token},
    {"attention", .chain = attention},
    {"attention, one token", .run = run_attention_token},
    {"attention, dual", .chain = attention, .dual = true},
    {"attention gradient", .chain = attention_back},
    {"attention gradient, dual", .chain = attention_back, .dual = true},
    {"rmsnorm", .chain = rmsnorm},
    {"rmsnorm, dual", .chain = rmsnorm, .dual = true},
    {"rmsnorm and sum", .chain = rmsnorm_added},
    {"rmsnorm and sum, dual", .chain = rmsnorm_added, .dual = true},
    {"rmsnorm gradient", .chain = rmsnorm_back},
    {"rmsnorm gradient, dual", .chain = rmsnorm_back, .dual = true},
    {"rope", .chain = rope},
    {"rope, dual", .chain = rope, .dual = true},
    {"norm and rope", .chain = rope_norm},
    {"norm and rope, dual", .chain = rope_norm, .dual = true},
    {"norm and rope gradient", .chain = rope_back},
    {"norm and rope gradient, dual", .chain = rope_back, .dual = true},
    {"swiglu", .chain = swiglu},
    {"swiglu, dual", .chain = swiglu, .dual = true},
    {"swiglu gradient", .chain = swiglu_back},
    {"swiglu gradient, dual", .chain = swiglu_back, .dual = true},
    {"cross entropy", .run = run_cross_entropy},
    {"cross entropy, gradient", .run = run_cross_entropy_gradient},
    {"cross entropy, dual", .run = run_cross_entropy_dual},
    {"log sum exp, one token", .run = run_log_sum_exp},
    {"embed", .run = run_embed},
    {"embed gradient", .run = run_embed_back},
    {"add", .run = run_add},
    {"copy rows", .run = run_copy_rows},
    {"inner step", .run = run_inner_sgd},
    {"inner step, transposed", .run = run_inner_sgd_back},
    {"adamw", .run = run_adamw},
    {"sum of squares", .run = run_sum_squares},
};

_Static_assert(sizeof rows / sizeof rows[0] <= BENCH_OPS_MAX, "results have room for all rows");

/* ------------------------------------------------------------------------------ measuring */

static void take_all(Arena *a, real **array, int n, size_t elements)
{
    for (int i = 0; i < n; i++) array[i] = arena_take(a, elements);
}

static void shape_layout(Shape *s, real *memory)
{
    Arena a = {.base = memory};
    size_t M = (size_t)s->M, C = (size_t)s->C, V = (size_t)s->V, R = (size_t)s->R;
    take_all(&a, s->c, C_ARRAYS, M * C);
    take_all(&a, s->f, F_ARRAYS, M * (size_t)(s->F > s->C ? s->F : s->C));
    take_all(&a, s->kv, KV_ARRAYS, ((size_t)s->W + M) * C);
    take_all(&a, s->p, P_ARRAYS, s->P);
    s->w = arena_take(&a, C * (size_t)s->F);
    s->dw = arena_take(&a, C * (size_t)s->F);
    s->head = arena_take(&a, C * V);
    s->dhead = arena_take(&a, C * V);
    s->z = (Dual){arena_take(&a, R * V), arena_take(&a, R * V)};
    s->norm = arena_take(&a, C);
    s->lse = arena_take_dual(&a, M * (size_t)s->H, true);
    s->seed = arena_take(&a, M);
    s->nll = arena_take(&a, M);
    s->rope = arena_take(&a, M * (size_t)s->D);
    s->tokens = arena_take_ids(&a, M);
    s->sum = arena_take_doubles(&a, 1);
    s->lr = arena_take_doubles(&a, 1);
    s->scale = arena_take_doubles(&a, 1);
    s->elements = a.used;
}

static Shape shape_of(Backend *be, const ModelConfig *c)
{
    Shape s = {.be = be,
               .M = (int)c->mini_batch_size,
               .C = (int)c->hidden_size,
               .H = (int)c->num_attention_heads,
               .F = (int)c->intermediate_size,
               .V = (int)c->output_size,
               .W = (int)c->sliding_window_size};
    s.D = s.C / s.H;
    s.R = s.M < HEAD_ROWS ? s.M : HEAD_ROWS;
    s.P = (size_t)(c->suffix_len > 0 ? c->suffix_len : 1) * 3 * (size_t)s.C * (size_t)s.F;
    return s;
}

/* Positive, so that second moments are; small, so that sums of many stay small. */
static void shape_fill(Shape *s, real *memory, double theta)
{
    const double lr = 1e-3, scale = 1;
    real piece[1 << 13];
    Rng rng;
    rng_seed(&rng, 1, 0);
    for (size_t done = 0, n; done < s->elements; done += n) {
        n = s->elements - done < ARRAY_LEN(piece) ? s->elements - done : ARRAY_LEN(piece);
        for (size_t i = 0; i < n; i++) piece[i] = (real)(0.1 * rng_uniform(&rng));
        backend_upload(s->be, memory + done, piece, n);
    }
    for (int i = 0; i < s->M; i++) {
        int32_t token = (int32_t)rng_below(&rng, (uint64_t)s->V);
        backend_upload_ids(s->be, s->tokens + i, &token, 1);
    }
    backend_upload_doubles(s->be, s->lr, &lr, 1);
    backend_upload_doubles(s->be, s->scale, &scale, 1);
    s->be->ops->rope_table(s->be, s->rope, 0, s->M, s->D, theta);
}

static Cost row_run(const Row *row, Shape *s)
{
    return row->chain ? row->chain(s, row->dual) : row->run(s);
}

/* The fastest of at least some calls, after one that is not counted. */
static int row_time(OpResult *r, Shape *s, const Row *row, const OpsResult *peaks, Err *err)
{
    enum { LEAST_CALLS = 5 };
    const double least_seconds = 0.05;
    double best = 0, total = 0;
    Cost cost = row_run(row, s);
    TRY(backend_wait(s->be, err));
    for (int i = 0; i < LEAST_CALLS || total < least_seconds; i++) {
        double began = time_now();
        row_run(row, s);
        TRY(backend_wait(s->be, err));
        double seconds = time_now() - began;
        if (i == 0 || seconds < best) best = seconds;
        total += seconds;
    }
    *r = (OpResult){.name = row->name,
                    .seconds = best,
                    .gflops = cost.flops / best / 1e9,
                    .gbs = cost.bytes / best / 1e9};
    r->share = cost.flops > 0 ? r->gflops / peaks->peak_gflops : r->gbs / peaks->peak_gbs;
    return 0;
}

int bench_ops_run(OpsResult *out, Backend *be, const Config *cfg, Err *err)
{
    Shape s = shape_of(be, &cfg->model);
    shape_layout(&s, NULL);
    size_t bytes = s.elements * sizeof(real), left = backend_memory_left(be);
    if (bytes > left)
        return err_set(err,
                       "operands of model '%s' need %.0f MB and only %.0f MB are free; take a "
                       "smaller --shape",
                       cfg->model.name, (double)bytes / 1e6, (double)left / 1e6);
    *out = (OpsResult){.peak_gflops = bench_peak_of(be),
                       .peak_gbs = bench_peak_memory(be, PEAK_TRIAD),
                       .n = ARRAY_LEN(rows)};
    snprintf(out->shape, sizeof out->shape, "%s", cfg->model.name);
    real *memory = backend_alloc(be, s.elements);
    TRY(backend_wait(be, err));
    shape_layout(&s, memory);
    shape_fill(&s, memory, cfg->model.rope_theta);
    int status = 0;
    for (int i = 0; i < out->n && status == 0; i++)
        status = row_time(&out->op[i], &s, &rows[i], out, err);
    backend_free(be, memory, s.elements);
    return status;
}
