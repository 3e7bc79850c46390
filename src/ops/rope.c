/* Rotary positions: within each head the pair (x0, x1) of channels (2i, 2i+1) is turned by
 *     a = position * theta^(-2i/D):   y0 = x0 cos a - x1 sin a,   y1 = x0 sin a + x1 cos a.
 * Linear, so a tangent is rotated like a value; orthogonal, so a gradient is turned back by -a.
 * Only differences of positions matter to attention; angles are reduced in double, so that a stream
 * of ten million tokens is as accurate as one of ten. */
#include <math.h>

#include "ops/kernel.h"

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

void KERNEL(rope_rotate)(Backend *be, real *y, size_t y_step, const real *x, size_t x_step,
                         const real *table, int B, int M, int H, int D, int sign)
{
    (void)be;
    real s = (real)sign;
    size_t C = (size_t)H * (size_t)D;
#pragma omp parallel for collapse(2) schedule(static) if ((size_t)B * (size_t)M * C > 1 << 14)
    for (int b = 0; b < B; b++)
        for (int m = 0; m < M; m++) {
            const real *in = x + (size_t)b * x_step + (size_t)m * C;
            const real *cs = table + (size_t)m * (size_t)D;
            real *out = y + (size_t)b * y_step + (size_t)m * C;
            for (int h = 0; h < H; h++)
                for (int i = 0; i < D; i += 2) {
                    real x0 = in[h * D + i], x1 = in[h * D + i + 1];
                    real c = cs[i], d = s * cs[i + 1];
                    out[h * D + i] = x0 * c - x1 * d;
                    out[h * D + i + 1] = x0 * d + x1 * c;
                }
        }
}
