/* sweep_run against a second implementation of the model, written here from its definition: one
 * token after the other, one number after the other, inner gradients by finite differences. Over
 * the table of meta_case.h; sequence 0 of each batch. Float64. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include <cmocka.h>

#include "meta_case.h"

enum { MAX_LAYERS = 3, MAX_T = 24, MAX_CHUNKS = 24, MAX_F = 16 };

/* The model as it stands at some token: weights as trained and as adapted, keys and values so far.
 */
typedef struct Naive {
    const Model *m;
    const int32_t *tokens;
    const real *trained;
    real *adapted; /* all parameters, inner ones replaced */
    double k[MAX_LAYERS][MAX_T][HIDDEN], v[MAX_LAYERS][MAX_T][HIDDEN];
} Naive;

static bool is_suffix(const Naive *n, int layer)
{
    const ModelConfig *c = &n->m->cfg.model;
    return n->m->cfg.training.train_mode == TRAIN_META &&
           layer >= c->num_hidden_layers - c->suffix_len;
}

static const real *weight(const Naive *n, ParamId id, int layer)
{
    const ParamEntry *e = &n->m->table.entry[id];
    bool adapts = e->n_layers == 0 || is_suffix(n, layer);
    return (adapts ? n->adapted : n->trained) + e->offset +
           (size_t)(layer - e->first_layer) * (e->n_layers ? e->layer_size : 0);
}

static void times(double *y, const double *x, const real *w, int rows, int cols)
{
    for (int j = 0; j < cols; j++) {
        y[j] = 0;
        for (int i = 0; i < rows; i++) y[j] += x[i] * w[i * cols + j];
    }
}

static void normalize(const Naive *n, double *x, const real *w, int size)
{
    double sum = 0;
    for (int i = 0; i < size; i++) sum += x[i] * x[i];
    double r = 1 / sqrt(sum / size + n->m->cfg.model.rms_norm_eps);
    for (int i = 0; i < size; i++) x[i] *= r * w[i];
}

static void head_norm_and_turn(const Naive *n, double *x, const real *w, int t)
{
    const ModelConfig *c = &n->m->cfg.model;
    int D = HIDDEN / HEADS;
    for (int h = 0; h < HEADS; h++) {
        double *head = x + h * D;
        if (c->qk_norm) normalize(n, head, w, D);
        for (int i = 0; i < D; i += 2) {
            double angle = t * pow(c->rope_theta, -(double)i / D), x0 = head[i], x1 = head[i + 1];
            head[i] = x0 * cos(angle) - x1 * sin(angle);
            head[i + 1] = x0 * sin(angle) + x1 * cos(angle);
        }
    }
}

static bool sees(const Naive *n, int layer, int query, int key)
{
    const ModelConfig *c = &n->m->cfg.model;
    bool whole = n->m->cfg.training.train_mode == TRAIN_META && !is_suffix(n, layer);
    bool same_chunk = query / c->mini_batch_size == key / c->mini_batch_size;
    bool near = query - key < c->sliding_window_size;
    if (key > query) return false;
    if (c->seq_modeling_block == SEQ_SELF_ATTENTION) return whole || same_chunk;
    if (c->seq_modeling_block == SEQ_SWA_FULL) return near && (whole || same_chunk);
    return near;
}

static void attend(const Naive *n, double *out, const double *q, int layer, int t)
{
    int D = HIDDEN / HEADS;
    for (int h = 0; h < HEADS; h++) {
        double sum = 0, y[HIDDEN] = {0};
        for (int j = 0; j <= t; j++) {
            double score = 0;
            if (!sees(n, layer, t, j)) continue;
            for (int i = h * D; i < (h + 1) * D; i++) score += q[i] * n->k[layer][j][i];
            double e = exp(score / sqrt(D));
            sum += e;
            for (int i = 0; i < D; i++) y[i] += e * n->v[layer][j][h * D + i];
        }
        for (int i = 0; i < D; i++) out[h * D + i] = y[i] / sum;
    }
}

static void attention(Naive *n, double *y, const double *x, int layer, int t)
{
    double q[HIDDEN], out[HIDDEN];
    times(q, x, weight(n, P_WQ, layer), HIDDEN, HIDDEN);
    times(n->k[layer][t], x, weight(n, P_WK, layer), HIDDEN, HIDDEN);
    times(n->v[layer][t], x, weight(n, P_WV, layer), HIDDEN, HIDDEN);
    head_norm_and_turn(n, q, weight(n, P_Q_NORM, layer), t);
    head_norm_and_turn(n, n->k[layer][t], weight(n, P_K_NORM, layer), t);
    attend(n, out, q, layer, t);
    times(y, out, weight(n, P_WO, layer), HIDDEN, HIDDEN);
}

static void mlp(const Naive *n, double *y, const double *x, ParamId w1, ParamId w2, ParamId w3,
                int layer)
{
    double a[MAX_F], b[MAX_F];
    int F = (int)n->m->cfg.model.intermediate_size;
    times(a, x, weight(n, w1, layer), HIDDEN, F);
    times(b, x, weight(n, w3, layer), HIDDEN, F);
    for (int i = 0; i < F; i++) a[i] *= b[i] / (1 + exp(-a[i]));
    times(y, a, weight(n, w2, layer), F, HIDDEN);
}

typedef enum Part { ATTENTION, PRIME, MLP } Part;

static void sub_layer(Naive *n, double *x, Part part, ParamId pre, ParamId post, int layer, int t)
{
    const ModelConfig *c = &n->m->cfg.model;
    double in[HIDDEN], y[HIDDEN];
    memcpy(in, x, sizeof in);
    if (c->pre_norm) normalize(n, in, weight(n, pre, layer), HIDDEN);
    if (part == ATTENTION)
        attention(n, y, in, layer, t);
    else if (part == PRIME)
        mlp(n, y, in, P_PRIME_W1, P_PRIME_W2, P_PRIME_W3, layer);
    else
        mlp(n, y, in, P_W1, P_W2, P_W3, layer);
    if (c->post_norm) normalize(n, y, weight(n, post, layer), HIDDEN);
    for (int i = 0; i < HIDDEN; i++) x[i] += y[i];
}

/* NLL of the token after t; all tokens before t have gone through. */
static double token_nll(Naive *n, int t)
{
    const ModelConfig *c = &n->m->cfg.model;
    double x[HIDDEN], z[VOCAB], sum = 0;
    for (int i = 0; i < HIDDEN; i++)
        x[i] = n->trained[n->m->table.entry[P_WTE].offset + (size_t)(n->tokens[t] * HIDDEN + i)];
    for (int l = 0; l < c->num_hidden_layers; l++) {
        sub_layer(n, x, ATTENTION, P_SEQ_NORM, P_SEQ_POST_NORM, l, t);
        if (c->prime && l >= c->num_hidden_layers - c->suffix_len)
            sub_layer(n, x, PRIME, P_PRIME_NORM, P_PRIME_POST_NORM, l, t);
        sub_layer(n, x, MLP, P_FFN_NORM, P_FFN_POST_NORM, l, t);
    }
    normalize(n, x, weight(n, P_LN_F, 0), HIDDEN);
    const real *w = weight(n, c->tie_word_embeddings ? P_WTE : P_LM_HEAD, 0);
    for (int j = 0; j < VOCAB; j++) {
        z[j] = 0;
        for (int i = 0; i < HIDDEN; i++)
            z[j] += x[i] * (c->tie_word_embeddings ? w[j * HIDDEN + i] : w[i * VOCAB + j]);
        sum += exp(z[j]);
    }
    return log(sum) - z[n->tokens[t + 1]];
}

static double chunk_loss(Naive *n, double *nll, int from, int to)
{
    double sum = 0;
    int count = 0;
    for (int t = from; t < to; t++) {
        nll[t] = token_nll(n, t);
        if (n->tokens[t + 1] == BOS) continue;
        sum += nll[t];
        count++;
    }
    return count ? sum / count : 0;
}

/* What sweep_run reports of sequence 0. */
typedef struct Record {
    size_t P;
    real *gradient[MAX_CHUNKS], *weights[MAX_CHUNKS];
    double nll[3 * MAX_T], loss[3 * MAX_CHUNKS], gnorm[3 * MAX_CHUNKS];
} Record;

static real *copied(const real *x, size_t n)
{
    real *p = malloc((n ? n : 1) * sizeof *p);
    CHECK(p, "out of memory");
    memcpy(p, x, n * sizeof *p);
    return p;
}

static void on_inner_step(void *context, int64_t chunk, const real *gradient, const real *weights)
{
    Record *r = context;
    r->gradient[chunk] = copied(gradient, r->P);
    r->weights[chunk] = copied(weights, r->P);
}

static int failures;

static void expect_below(const MetaCase *c, const char *what, int chunk, double error, double limit)
{
    if (error <= limit) return;
    failures++;
    fprintf(stderr, "%s: %s, chunk %d: error %.3g above %.3g\n", c->name, what, chunk, error,
            limit);
}

/* Adapted weights += h direction, slice by slice. */
static void move(Naive *n, const real *direction, const InnerSlice *s, double h)
{
    for (size_t i = 0; i < s->size; i++)
        n->adapted[s->param_offset + i] += h * direction[s->inner_offset + i];
}

static void check_gradient(const MetaCase *c, Naive *n, const real *g, int chunk, int from, int to)
{
    static const double weights[5] = {1.0 / 12, -8.0 / 12, 0, 8.0 / 12, -1.0 / 12};
    const InnerTable *inner = &n->m->inner;
    real *direction = copied(g, inner->size);
    double nll[MAX_T];
    Rng rng;
    rng_seed(&rng, 4, (uint64_t)chunk);
    for (size_t i = 0; i < inner->size; i++) direction[i] = rng_normal(&rng);
    for (int i = 0; i < inner->n; i++) {
        const InnerSlice *s = &inner->slice[i];
        double want = 0, have = 0, norm = 0, h = 5e-5;
        for (int k = -2; s->live && k <= 2; k++) {
            if (k == 0) continue;
            move(n, direction, s, k * h);
            want += weights[k + 2] / h * chunk_loss(n, nll, from, to);
            move(n, direction, s, -k * h);
        }
        for (size_t j = s->inner_offset; s->live && j < s->inner_offset + s->size; j++) {
            have += g[j] * direction[j];
            norm += g[j] * g[j];
        }
        expect_below(c, s->path, chunk, fabs(want - have) / (sqrt(norm) + 1e-2), 1e-6);
    }
    free(direction);
}

/* The step from the weights in force to the recorded ones; takes it. */
static void check_step(const MetaCase *c, Naive *n, const Record *r, int chunk)
{
    const InnerTable *inner = &n->m->inner;
    const real *g = r->gradient[chunk];
    double norm = 0, worst = 0;
    for (size_t i = 0; i < inner->size; i++) norm += g[i] * g[i];
    norm = sqrt(norm);
    double factor = c->clip > 0 && norm >= c->clip ? c->clip / norm : 1;
    for (int i = 0; i < inner->n; i++) {
        const InnerSlice *s = &inner->slice[i];
        for (size_t j = 0; s->live && j < s->size; j++) {
            real *w = &n->adapted[s->param_offset + j];
            *w -= case_lr(c) * factor * g[s->inner_offset + j];
            worst = fmax(worst, fabs(*w - r->weights[chunk][s->inner_offset + j]));
        }
    }
    expect_below(c, "inner_gnorm", chunk, fabs(norm - r->gnorm[chunk]), 1e-12);
    expect_below(c, "weights after the step", chunk, worst, 1e-12);
}

static void check_case(Backend *be, const MetaCase *c)
{
    Config cfg;
    Naive n = {0};
    Record r = {0};
    double nll[MAX_T];
    case_config(c, &cfg);
    Model *m = case_model(be, &cfg);
    int32_t *tokens = case_tokens(c);
    Sweep *s = case_sweep(c, m, false, true);
    SweepReport report = {r.nll, r.loss, r.gnorm, on_inner_step, &r};
    r.P = m->inner.size;
    sweep_run(s, tokens, case_lr(c), NULL, 0, &report);
    n.m = m;
    n.tokens = tokens;
    n.trained = m->params;
    n.adapted = copied(m->params, m->table.size);
    int T = case_length(c), M = (int)cfg.model.mini_batch_size;
    for (int from = 0; from < T; from += M) {
        int to = from + M < T ? from + M : T, chunk = from / M;
        double loss = chunk_loss(&n, nll, from, to);
        expect_below(c, "chunk loss", chunk, fabs(loss - r.loss[chunk]), 1e-12);
        for (int t = from; t < to; t++)
            expect_below(c, "nll", chunk, fabs(nll[t] - r.nll[t]), 1e-11);
        if (!r.P) continue;
        check_gradient(c, &n, r.gradient[chunk], chunk, from, to);
        chunk_loss(&n, nll, from, to); /* the cache as the unmoved weights leave it */
        check_step(c, &n, &r, chunk);
        free(r.gradient[chunk]);
        free(r.weights[chunk]);
    }
    free(n.adapted);
    free(tokens);
    sweep_free(s);
    model_free(m);
}

static void test_reference(void **state)
{
    failures = 0;
    for (int i = 0; i < ARRAY_LEN(meta_cases); i++) check_case(*state, &meta_cases[i]);
    assert_int_equal(failures, 0);
}

int main(void)
{
    struct CMUnitTest tests[] = {cmocka_unit_test(test_reference)};
    Backend *be = NULL;
    Err err;
    BackendOptions options = {.threads = 1};
    CHECK(backend_open(&be, &options, &err) == 0, "%s", err.text);
    tests[0].initial_state = be;
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    backend_close(be);
    return failed;
}
