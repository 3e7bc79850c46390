/* The block: see block.h. Every sub-layer is a forward and, below it, the same lines upside down.
 */
#include "model/block.h"

Param weight_of(const Weights *w, ParamId id, int layer)
{
    const ParamEntry *e = &w->m->table.entry[id];
    ptrdiff_t at = w->fast ? inner_offset(&w->m->inner, id, layer) : -1;
    if (at >= 0)
        return (Param){w->fast + at, w->tangent ? w->tangent + at : NULL, w->m->inner.size,
                       w->shift};
    return (Param){.v =
                       w->m->params + e->offset + (size_t)(layer - e->first_layer) * e->layer_size};
}

Param grad_of(const Grads *g, ParamId id, int layer)
{
    const ParamEntry *e = &g->m->table.entry[id];
    ptrdiff_t at = g->use_inner ? inner_offset(&g->m->inner, id, layer) : -1;
    if (at >= 0)
        return (Param){.v = g->inner ? g->inner + at : NULL,
                       .t = g->inner_t ? g->inner_t + at : NULL,
                       .step = g->m->inner.size};
    size_t offset = e->offset + (size_t)(layer - e->first_layer) * e->layer_size;
    return (Param){.t = g->outer ? g->outer + offset : NULL};
}

/* ------------------------------------------------------------------------------ small steps */

/* Slots of a gradient follow those of the gradient that it comes from. */
static Dual like(Dual storage, Dual dy)
{
    return (Dual){dy.v ? storage.v : NULL, dy.t ? storage.t : NULL};
}

static const ModelConfig *config_of(const BlockPass *p)
{
    return &p->w->m->cfg.model;
}
static Backend *backend_of(const BlockPass *p)
{
    return p->w->m->be;
}

static size_t hidden_elements(const BlockPass *p)
{
    return (size_t)p->span->B * (size_t)p->span->M * (size_t)config_of(p)->hidden_size;
}

/* x (rows of `width`) is written next, for products of this group only. */
static void operand(const BlockPass *p, Dual x, int64_t width)
{
    size_t rows = (size_t)p->span->B * (size_t)p->span->M;
    product_operand(backend_of(p), x, p->span->M, rows * (size_t)width);
}

/* plus + norm(x) into `to`. */
static Dual norm(const BlockPass *p, Dual to, Dual plus, Dual x, ParamId id)
{
    const ModelConfig *c = config_of(p);
    Param w = weight_of(p->w, id, p->layer);
    Dual y = dual_when(to, plus.t || x.t || w.t);
    backend_of(p)->ops->rmsnorm_forward(backend_of(p), y, plus, x, w, p->span->B, p->span->M,
                                        (int)c->hidden_size, c->rms_norm_eps);
    return y;
}

static void norm_back(const BlockPass *p, Dual dx, bool add, Dual dy, Dual x, ParamId id)
{
    const ModelConfig *c = config_of(p);
    backend_of(p)->ops->rmsnorm_backward(backend_of(p), dx, add, grad_of(p->g, id, p->layer), dy, x,
                                         weight_of(p->w, id, p->layer), p->span->B, p->span->M,
                                         (int)c->hidden_size, c->rms_norm_eps);
}

/* As enter, for products to do it. */
static Input input_of(const BlockPass *p, Dual x, ParamId pre)
{
    Input in = {.x = x, .eps = config_of(p)->rms_norm_eps};
    if (!config_of(p)->pre_norm) return in;
    in.norm = weight_of(p->w, pre, p->layer);
    in.normed = dual_when(p->scratch->c[0], x.t || in.norm.t);
    return in;
}

/* A product with a weight into `to`. */
static Linear linear_of(const BlockPass *p, Dual to, const Input *in, ParamId id, int N)
{
    Param w = weight_of(p->w, id, p->layer);
    return (Linear){dual_when(to, in->x.t || in->norm.t || w.t), w, N};
}

static void linears(const BlockPass *p, const Linear *l, int n, const Input *in, Dual gated, int K)
{
    linears_forward(backend_of(p), l, n, in, gated, p->span->B, p->span->M, K);
}

static Dual linear(const BlockPass *p, Dual to, Dual x, ParamId id, int K, int N)
{
    Input in = {.x = x};
    Linear l = linear_of(p, to, &in, id, N);
    linears(p, &l, 1, &in, (Dual){0}, K);
    return l.y;
}

static LinearGrad linear_grad_of(const BlockPass *p, Dual dy, ParamId id, int N)
{
    return (LinearGrad){dy, weight_of(p->w, id, p->layer), grad_of(p->g, id, p->layer), N};
}

static void linears_back(const BlockPass *p, Dual dx, const LinearGrad *l, int n, Dual x, int K)
{
    linears_backward(backend_of(p), dx, false, l, n, x, p->span->B, p->span->M, K);
}

static void linear_back(const BlockPass *p, Dual dx, Dual dy, Dual x, ParamId id, int K, int N)
{
    LinearGrad l = linear_grad_of(p, dy, id, N);
    linears_back(p, dx, &l, 1, x, K);
}

/* x + post(f) into `to`; the mirror image returns the gradient of f. */
static Dual residual(const BlockPass *p, Dual to, Dual x, Dual f, ParamId post)
{
    if (config_of(p)->post_norm) return norm(p, to, x, f, post);
    Dual y = dual_when(to, x.t || f.t);
    dual_add(backend_of(p), y, x, f, hidden_elements(p));
    return y;
}

static Dual residual_back(const BlockPass *p, Dual dx, Dual f, ParamId post)
{
    if (!config_of(p)->post_norm) return dx;
    Dual df = like(p->scratch->c[1], dx);
    operand(p, df, config_of(p)->hidden_size);
    norm_back(p, df, false, dx, f, post);
    return df;
}

/* The sub-layer's input gradient dn through its pre-norm, added to the residual's dx. */
static void enter_back(const BlockPass *p, Dual dx, Dual dn, Dual x, ParamId pre)
{
    if (config_of(p)->pre_norm) {
        norm_back(p, dx, true, dn, x, pre);
        return;
    }
    Backend *be = backend_of(p);
    if (dx.v) be->ops->add(be, dx.v, dx.v, dn.v, hidden_elements(p));
    if (dx.t) be->ops->add(be, dx.t, dx.t, dn.t, hidden_elements(p));
}

/* What the sub-layer's first products, in one group, read. */
static Dual enter(const BlockPass *p, Dual x, ParamId pre)
{
    if (!config_of(p)->pre_norm) return x;
    bool tangent = x.t || weight_of(p->w, pre, p->layer).t;
    operand(p, dual_when(p->scratch->c[0], tangent), config_of(p)->hidden_size);
    return norm(p, p->scratch->c[0], (Dual){0}, x, pre);
}

/* ------------------------------------------------------------------------------ attention */

static Window window_of(const BlockPass *p, const BlockActs *acts)
{
    const Span *s = p->span;
    return (Window){.k = p->kv->k,
                    .v = p->kv->v,
                    .step = p->kv->step,
                    .kt = acts->act[A_K].t,
                    .vt = acts->act[A_V].t,
                    .first = s->first,
                    .position = s->position,
                    .window = s->window,
                    .local = s->local,
                    .places = s->places};
}

static size_t span_step(const BlockPass *p)
{
    return (size_t)p->span->M * (size_t)config_of(p)->hidden_size;
}

static Param head_norm(const BlockPass *p, ParamId id)
{
    return config_of(p)->qk_norm ? weight_of(p->w, id, p->layer) : (Param){0};
}

static int head_size(const BlockPass *p)
{
    return (int)(config_of(p)->hidden_size / config_of(p)->num_attention_heads);
}

/* Each head's row of sequences at places is of a position of its own. */
static Rope rope_of(const BlockPass *p)
{
    return (Rope){p->span->rope, p->span->places ? (size_t)head_size(p) : 0,
                  config_of(p)->rms_norm_eps};
}

/* Raw projections normed (or not) and turned by their positions; the mirror image turns back. */
static void turn(const BlockPass *p, Strided to, Dual raw, ParamId id)
{
    Rope rope = rope_of(p);
    backend_of(p)->ops->rope_forward(backend_of(p), &to, raw, head_norm(p, id), &rope, p->span->B,
                                     p->span->M, (int)config_of(p)->num_attention_heads,
                                     head_size(p));
}

static void turn_back(const BlockPass *p, Dual dx, Strided dy, Dual raw, ParamId id)
{
    Rope rope = rope_of(p);
    Param dw = config_of(p)->qk_norm ? grad_of(p->g, id, p->layer) : (Param){0};
    operand(p, dx, config_of(p)->hidden_size);
    backend_of(p)->ops->rope_backward(backend_of(p), dx, dw, &dy, raw, head_norm(p, id), &rope,
                                      p->span->B, p->span->M,
                                      (int)config_of(p)->num_attention_heads, head_size(p));
}

static Strided dense(const BlockPass *p, Dual x)
{
    return (Strided){x.v, x.t, span_step(p), span_step(p), NULL};
}

/* The span's rows among all keys, or values, of the window; of sequences at places: the arrays. */
static real *own_rows(const BlockPass *p, real *window)
{
    const Span *s = p->span;
    return s->places ? window : window + (size_t)s->first * (size_t)config_of(p)->hidden_size;
}

/* Keys into their places in the window, and the tangent that they have into `t`. */
static void keys(const BlockPass *p, Dual raw, real *t)
{
    Strided to = {own_rows(p, p->kv->k), t, p->kv->step, span_step(p), p->span->places};
    turn(p, to, raw, P_K_NORM);
}

/* Where products leave values: if they can, in the window. */
static real *values_room(const BlockPass *p, const BlockActs *acts)
{
    if (acts->room[A_V].v) return acts->room[A_V].v;
    bool apart = p->span->B > 1 || p->span->places;
    return apart ? p->scratch->c[1].v : own_rows(p, p->kv->v);
}

static void values(const BlockPass *p, const real *rows)
{
    const Span *s = p->span;
    int C = (int)config_of(p)->hidden_size;
    Backend *be = backend_of(p);
    real *to = own_rows(p, p->kv->v);
    if (s->places)
        be->ops->place_rows(be, to, s->places, rows, s->B, C);
    else if (rows != to)
        be->ops->copy_rows(be, to, p->kv->step, rows, span_step(p), s->B, s->M, C);
}

/* What a pass leaves of its rows' keys and values: in the window, and their tangents besides. */
static void keys_and_values(const BlockPass *p, BlockActs *acts)
{
    Dual raw = acts->act[A_K_RAW];
    acts->act[A_K].t = raw.t || head_norm(p, P_K_NORM).t ? acts->room[A_K].t : NULL;
    keys(p, raw, acts->act[A_K].t);
    values(p, acts->act[A_V].v);
}

static Dual queries(const BlockPass *p, BlockActs *acts)
{
    Dual raw = acts->act[A_Q_RAW];
    Dual q = dual_when(acts->room[A_Q], raw.t || head_norm(p, P_Q_NORM).t);
    turn(p, dense(p, q), raw, P_Q_NORM);
    return acts->act[A_Q] = q;
}

static void projections(const BlockPass *p, BlockActs *acts, Dual x)
{
    int C = (int)config_of(p)->hidden_size;
    Input in = input_of(p, x, P_SEQ_NORM);
    Dual v = {values_room(p, acts), acts->room[A_V].t};
    Linear l[] = {linear_of(p, acts->room[A_Q_RAW], &in, P_WQ, C),
                  linear_of(p, acts->room[A_K_RAW], &in, P_WK, C), linear_of(p, v, &in, P_WV, C)};
    linears(p, l, ARRAY_LEN(l), &in, (Dual){0}, C);
    acts->act[A_Q_RAW] = l[0].y;
    acts->act[A_K_RAW] = l[1].y;
    acts->act[A_V] = l[2].y;
}

static Dual attention_part(const BlockPass *p, BlockActs *acts, Dual x)
{
    const ModelConfig *c = config_of(p);
    int C = (int)c->hidden_size, H = (int)c->num_attention_heads;
    Backend *be = backend_of(p);
    projections(p, acts, x);
    keys_and_values(p, acts);
    Dual q = queries(p, acts);
    Window w = window_of(p, acts);
    acts->act[A_ATTENDED] = dual_when(acts->room[A_ATTENDED], q.t || w.kt || w.vt);
    be->ops->attention_forward(be, acts->act[A_ATTENDED], acts->lse, acts->act[A_Q], &w, p->span->B,
                               p->span->M, H, C / H);
    acts->act[A_PROJECTED] = linear(p, acts->room[A_PROJECTED], acts->act[A_ATTENDED], P_WO, C, C);
    return residual(p, acts->room[A_MID], x, acts->act[A_PROJECTED], P_SEQ_POST_NORM);
}

/* Row `first` of the window in the buffers that all later queries have added to. */
static real *own_gradient(const BlockPass *p, real *buffer)
{
    return buffer +
           (size_t)(p->span->first - p->kv->grad_shift) * (size_t)config_of(p)->hidden_size;
}

/* dk: gradient of the span's own rotated keys in the value slot, and storage in the tangent slot;
 * of the raw ones on return. */
static void keys_back(const BlockPass *p, Dual dk, Dual raw)
{
    Strided own = dense(p, dk);
    if (dk.t) own.t = own_gradient(p, p->kv->dk);
    own.t_step = p->kv->grad_step;
    turn_back(p, dk, own, raw, P_K_NORM);
}

/* Likewise of values; the rows of one sequence can be read where they are. */
static Dual values_back(const BlockPass *p, Dual dv)
{
    const Span *s = p->span;
    Backend *be = backend_of(p);
    if (!dv.t) return dv;
    real *own = own_gradient(p, p->kv->dv);
    if (s->B == 1) return (Dual){dv.v, own};
    be->ops->copy_rows(be, dv.t, span_step(p), own, p->kv->grad_step, s->B, s->M,
                       (int)config_of(p)->hidden_size);
    return dv;
}

static void attention_part_back(const BlockPass *p, BlockActs *acts, Dual dx, Dual below, Dual x)
{
    const ModelConfig *c = config_of(p);
    int C = (int)c->hidden_size, H = (int)c->num_attention_heads;
    Backend *be = backend_of(p);
    BlockScratch *s = p->scratch;
    gemm_group_begin(be);
    Dual d_proj = residual_back(p, dx, acts->act[A_PROJECTED], P_SEQ_POST_NORM);
    Dual d_att = like(s->c[2], dx), dq = like(s->c[3], dx);
    Dual dk = like(s->c[4], dx), dv = like(s->c[5], dx);
    linear_back(p, d_att, d_proj, acts->act[A_ATTENDED], P_WO, C, C);
    Window w = window_of(p, acts);
    WindowGrad g = {p->kv->dk, p->kv->dv, p->kv->grad_step, p->kv->grad_shift, dk.v, dv.v};
    be->ops->attention_backward(be, dq, &g, d_att, acts->act[A_ATTENDED], acts->lse, acts->act[A_Q],
                                &w, p->span->B, p->span->M, H, C / H);
    turn_back(p, dq, dense(p, dq), acts->act[A_Q_RAW], P_Q_NORM);
    keys_back(p, dk, acts->act[A_K_RAW]);
    dv = values_back(p, dv);
    Dual n = enter(p, x, P_SEQ_NORM), dn = like(s->c[2], dx);
    LinearGrad l[] = {linear_grad_of(p, dq, P_WQ, C), linear_grad_of(p, dk, P_WK, C),
                      linear_grad_of(p, dv, P_WV, C)};
    linears_back(p, dn, l, ARRAY_LEN(l), n, C);
    gemm_group_end(be);
    enter_back(p, below, dn, x, P_SEQ_NORM);
}

/* ------------------------------------------------------------------------------ MLPs */

/* The two MLPs differ in names only. */
typedef struct MlpNames {
    ParamId pre, w1, w2, w3, post;
    Act x, h1, h3, f, out;
} MlpNames;

static const MlpNames prime_mlp = {P_PRIME_NORM,      P_PRIME_W1,  P_PRIME_W2, P_PRIME_W3,
                                   P_PRIME_POST_NORM, A_MID,       A_PRIME_H1, A_PRIME_H3,
                                   A_PRIME_OUT,       A_POST_PRIME};
static const MlpNames plain_mlp = {P_FFN_NORM,   P_W1, P_W2, P_W3, P_FFN_POST_NORM,
                                   A_POST_PRIME, A_H1, A_H3, A_F,  A_OUT};

static Dual hidden_of(const BlockPass *p, Dual h1, Dual h3)
{
    return dual_when(p->scratch->f[0], h1.t || h3.t);
}

/* h1, h3 and, if it is wanted, what mlp_hidden makes of them. */
static Dual mlp_inputs(const BlockPass *p, BlockActs *acts, const MlpNames *m, Dual x, bool hidden)
{
    int C = (int)config_of(p)->hidden_size, F = (int)config_of(p)->intermediate_size;
    Input in = input_of(p, x, m->pre);
    Linear l[] = {linear_of(p, acts->room[m->h1], &in, m->w1, F),
                  linear_of(p, acts->room[m->h3], &in, m->w3, F)};
    Dual gated = hidden ? hidden_of(p, l[0].y, l[1].y) : (Dual){0};
    operand(p, gated, F);
    linears(p, l, ARRAY_LEN(l), &in, gated, C);
    acts->act[m->h1] = l[0].y;
    acts->act[m->h3] = l[1].y;
    return gated;
}

static Dual mlp_hidden(const BlockPass *p, const BlockActs *acts, const MlpNames *m)
{
    Backend *be = backend_of(p);
    Dual h1 = acts->act[m->h1], h3 = acts->act[m->h3], hidden = hidden_of(p, h1, h3);
    operand(p, hidden, config_of(p)->intermediate_size);
    size_t rows = (size_t)p->span->B * (size_t)p->span->M;
    be->ops->swiglu_forward(be, hidden, h1, h3, rows * (size_t)config_of(p)->intermediate_size);
    return hidden;
}

static void mlp_output(const BlockPass *p, BlockActs *acts, const MlpNames *m, Dual hidden)
{
    int C = (int)config_of(p)->hidden_size, F = (int)config_of(p)->intermediate_size;
    acts->act[m->f] = linear(p, acts->room[m->f], hidden, m->w2, F, C);
}

static Dual mlp_part(const BlockPass *p, BlockActs *acts, const MlpNames *m, Dual x)
{
    gemm_group_begin(backend_of(p));
    mlp_output(p, acts, m, mlp_inputs(p, acts, m, x, true));
    gemm_group_end(backend_of(p));
    return residual(p, acts->room[m->out], x, acts->act[m->f], m->post);
}

static void mlp_part_back(const BlockPass *p, BlockActs *acts, const MlpNames *m, Dual dx,
                          Dual below, Dual x)
{
    int C = (int)config_of(p)->hidden_size, F = (int)config_of(p)->intermediate_size;
    Backend *be = backend_of(p);
    BlockScratch *s = p->scratch;
    size_t wide = (size_t)p->span->B * (size_t)p->span->M * (size_t)F;
    gemm_group_begin(be);
    Dual h1 = acts->act[m->h1], h3 = acts->act[m->h3], hidden = mlp_hidden(p, acts, m);
    Dual df = residual_back(p, dx, acts->act[m->f], m->post);
    Dual dh1 = like(s->f[1], dx), dh3 = like(s->f[2], dx);
    linear_back(p, dh3, df, hidden, m->w2, F, C);
    operand(p, dh1, F);
    operand(p, dh3, F);
    be->ops->swiglu_backward(be, dh1, dh3, dh3, h1, h3, wide);
    Dual n = enter(p, x, m->pre), dn = like(s->c[2], dx);
    Param pre = grad_of(p->g, m->pre, p->layer);
    if (!below.v && !pre.v && !weight_of(p->w, m->pre, p->layer).t) dn.v = NULL;
    LinearGrad l[] = {linear_grad_of(p, dh1, m->w1, F), linear_grad_of(p, dh3, m->w3, F)};
    linears_back(p, dn, l, ARRAY_LEN(l), n, C);
    gemm_group_end(be);
    enter_back(p, below, dn, x, m->pre);
}

/* ------------------------------------------------------------------------------ the block */

Dual block_forward(const BlockPass *p, BlockActs *acts, Dual x)
{
    acts->act[A_X] = x;
    x = acts->act[A_MID] = attention_part(p, acts, x);
    if (block_has_prime(p->w->m, p->layer)) x = mlp_part(p, acts, &prime_mlp, x);
    acts->act[A_POST_PRIME] = x;
    return acts->act[A_OUT] = mlp_part(p, acts, &plain_mlp, x);
}

/* dx below a sub-layer: at and under the first inner one, only the tangent slot is followed. */
static Dual below_part(Dual dx, int part, int stop)
{
    return part <= stop ? (Dual){.t = dx.t} : dx;
}

Dual block_backward(const BlockPass *p, BlockActs *acts, Dual dx, int stop)
{
    Dual below = below_part(dx, PART_MLP, stop);
    gradient_group_begin(backend_of(p));
    mlp_part_back(p, acts, &plain_mlp, dx, below, acts->act[A_POST_PRIME]);
    dx = below;
    if (block_has_prime(p->w->m, p->layer)) {
        below = below_part(dx, PART_PRIME, stop);
        if (dx.v || dx.t) mlp_part_back(p, acts, &prime_mlp, dx, below, acts->act[A_MID]);
        dx = below;
    }
    below = below_part(dx, PART_ATTENTION, stop);
    if (dx.v || dx.t) attention_part_back(p, acts, dx, below, acts->act[A_X]);
    gradient_group_end(backend_of(p));
    return below;
}

/* ------------------------------------------------------------------------------ once more */

void block_window_again(const BlockPass *p, BlockActs *acts)
{
    keys(p, acts->act[A_K_RAW], NULL);
    values(p, acts->act[A_V].v);
}

static void attention_again(const BlockPass *p, BlockActs *acts, Dual x)
{
    int C = (int)config_of(p)->hidden_size;
    if (acts->again & act_bit(A_Q_RAW))
        linear(p, acts->room[A_Q_RAW], enter(p, x, P_SEQ_NORM), P_WQ, C, C);
    if (acts->again & act_bit(A_Q)) queries(p, acts);
    bool sum = acts->again & act_bit(A_MID);
    if ((acts->again & act_bit(A_PROJECTED)) && (sum || config_of(p)->post_norm))
        linear(p, acts->room[A_PROJECTED], acts->act[A_ATTENDED], P_WO, C, C);
    if (sum) residual(p, acts->room[A_MID], x, acts->act[A_PROJECTED], P_SEQ_POST_NORM);
}

static void mlp_again(const BlockPass *p, BlockActs *acts, const MlpNames *m, Dual x)
{
    bool sum = acts->again & act_bit(m->out);
    if (acts->again & act_bit(m->h1)) mlp_inputs(p, acts, m, x, false);
    if ((acts->again & act_bit(m->f)) && (sum || config_of(p)->post_norm))
        mlp_output(p, acts, m, mlp_hidden(p, acts, m));
    if (sum) residual(p, acts->room[m->out], x, acts->act[m->f], m->post);
}

void block_again(const BlockPass *p, BlockActs *acts, Dual x)
{
    acts->act[A_X] = x;
    attention_again(p, acts, x);
    if (block_has_prime(p->w->m, p->layer)) mlp_again(p, acts, &prime_mlp, acts->act[A_MID]);
    mlp_again(p, acts, &plain_mlp, acts->act[A_POST_PRIME]);
}
