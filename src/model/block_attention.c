/* The block's first sub-layer: see block.h. */
#include "model/block_steps.h"

static Window window_of(const BlockPass *p, const BlockActs *acts)
{
    const Span *s = p->span;
    return (Window){.k = p->kv->k,
                    .v = p->kv->v,
                    .k16 = p->kv->k16,
                    .v16 = p->kv->v16,
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
    return (Strided){x.v, x.t, span_step(p), span_step(p), NULL, NULL};
}

/* Where the span's rows begin among all keys, or values, of the window; of sequences at places: the
 * arrays. */
static size_t own_row(const BlockPass *p)
{
    const Span *s = p->span;
    return s->places ? 0 : (size_t)s->first * (size_t)config_of(p)->hidden_size;
}
static real *own_rows(const BlockPass *p, real *window)
{
    return window + own_row(p);
}
static uint16_t *own_halves(const BlockPass *p, uint16_t *window)
{
    return window ? window + own_row(p) : NULL;
}

/* Keys into their places in the window, and the tangent that they have into `t`. */
static void keys(const BlockPass *p, Dual raw, real *t)
{
    Strided to = {own_rows(p, p->kv->k),    t, p->kv->step, span_step(p), p->span->places,
                  own_halves(p, p->kv->k16)};
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
    uint16_t *half = own_halves(p, p->kv->v16);
    if (s->places) {
        be->ops->place_rows(be, to, half, s->places, rows, s->B, C);
        return;
    }
    if (rows != to) be->ops->copy_rows(be, to, p->kv->step, rows, span_step(p), s->B, s->M, C);
    if (half) backend_round(be, half, to, span_step(p), s->B, p->kv->step);
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

Dual block_attention(const BlockPass *p, BlockActs *acts, Dual x)
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

void block_attention_back(const BlockPass *p, BlockActs *acts, Dual dx, Dual below, Dual x)
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

void block_window_again(const BlockPass *p, BlockActs *acts)
{
    keys(p, acts->act[A_K_RAW], NULL);
    values(p, acts->act[A_V].v);
}

void block_attention_again(const BlockPass *p, BlockActs *acts, Dual x)
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
