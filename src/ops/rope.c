/* Rotary positions: within each head the pair (x0, x1) of channels (2i, 2i+1) is turned by
 *     a = position * theta^(-2i/D):   y0 = x0 cos a - x1 sin a,   y1 = x0 sin a + x1 cos a.
 * Linear, so a tangent is rotated like a value; orthogonal, so a gradient is turned back by -a.
 * Only differences of positions matter to attention; angles are reduced in double, so that a stream
 * of ten million tokens is as accurate as one of ten.
 *
 * Where heads are normed (rmsnorm.c), a head is turned as soon as it is, and on the way back turned
 * back before: y = turn(norm(x)),  dx = norm_back(turn_back(dy)). */
#include "ops/norm_rows.h"

static void turn(real *cs, int64_t position, double frequency)
{
    double angle = (double)position * frequency;
    cs[0] = (real)cos(angle);
    cs[1] = (real)sin(angle);
}

void KERNEL(rope_table)(Backend *be, real *table, int64_t position, int M, int D, double theta)
{
    (void)be;
    int half = D / 2;
#pragma omp parallel for schedule(static) if (M * half > 4096)
    for (int i = 0; i < half; i++) {
        double frequency = pow(theta, -2.0 * i / D);
        for (int m = 0; m < M; m++)
            turn(table + 2 * ((size_t)m * (size_t)half + (size_t)i), position + m, frequency);
    }
}

void KERNEL(rope_table_at)(Backend *be, real *table, const int64_t *positions, int n, int D,
                           double theta)
{
    (void)be;
    for (int i = 0; i < D / 2; i++) {
        double frequency = pow(theta, -2.0 * i / D);
        for (int row = 0; row < n; row++)
            turn(table + (size_t)row * (size_t)D + 2 * (size_t)i, positions[row], frequency);
    }
}

static real *value_row(const Strided *y, int b, int m, int C)
{
    const Places *at = y->places;
    if (!at) return strided_row(y->v, y->v_step, b, m, C);
    return y->v + at->shift[b] + (size_t)at->first[b] * (size_t)C;
}

static void norm_heads(Dual y, Dual x, Dual w, int H, int D, double eps)
{
    for (int c = 0; c < H * D; c += D) {
        real r = inverse_rms(x.v + c, D, eps);
        if (y.t) norm_tangent_row(y.t + c, NULL, x.v + c, x.t ? x.t + c : NULL, w.v, w.t, D, r);
        norm_row(y.v + c, NULL, x.v + c, w.v, D, r);
    }
}

/* A row of heads turned, or, without a table, as it is; y may be x. */
static void put_heads(real *y, const real *x, const real *cs, int H, int D)
{
    if (cs)
        turn_heads(y, x, cs, H, D, 1);
    else if (y != x)
        memcpy(y, x, (size_t)H * (size_t)D * sizeof *y);
}

void KERNEL(rope_forward)(Backend *be, const Strided *y, Dual x, Param w, const Rope *rope, int B,
                          int M, int H, int D)
{
    (void)be;
    CHECK(!y->half, "windows in bfloat16 are for GPUs");
    int C = H * D;
#pragma omp parallel for collapse(2)                                                               \
    schedule(static) if ((size_t)B * (size_t)M * (size_t)C > 1 << 14)
    for (int b = 0; b < B; b++)
        for (int m = 0; m < M; m++) {
            size_t at = ((size_t)b * (size_t)M + (size_t)m) * (size_t)C;
            Dual to = {value_row(y, b, m, C), strided_row(y->t, y->t_step, b, m, C)};
            Dual from = {x.v + at, x.t ? x.t + at : NULL};
            if (w.v) {
                Dual weight = {param_of(w, b), w.t ? w.t + (size_t)b * w.step : NULL};
                norm_heads(to, from, weight, H, D, rope->eps);
                from = to;
            }
            const real *cs = rope->table;
            if (cs) cs += (size_t)b * rope->step + (size_t)m * (size_t)D;
            put_heads(to.v, from.v, cs, H, D);
            if (to.t && from.t)
                put_heads(to.t, from.t, cs, H, D);
            else if (to.t)
                memset(to.t, 0, (size_t)C * sizeof *to.t);
        }
}

void KERNEL(rope_backward)(Backend *be, Dual dx, Param dw, const Strided *dy, Dual x, Param w,
                           const Rope *rope, int B, int M, int H, int D)
{
    Strided from = *dy;
    if (!from.v && !x.t && !w.t) { /* as plain_in_tangent_slot */
        from = (Strided){.v = from.t, .v_step = from.t_step};
        dx = (Dual){.v = dx.t};
        dw = (Param){.v = dw.t, .step = dw.step};
    }
    TurnedRows turned = {&from, rope, M, H};
    norm_backward(be, (NormRows){.dx = dx,
                                 .dy = dx,
                                 .x = x,
                                 .dw = dw,
                                 .w = w,
                                 .B = B,
                                 .R = M * H,
                                 .C = D,
                                 .eps = rope->eps,
                                 .turned = &turned});
}
