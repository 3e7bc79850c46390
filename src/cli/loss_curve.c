/* The loss over a text whose length is known only at its end. */
#include "cli/loss_curve.h"

#include <math.h>
#include <string.h>

static const double horizon = 2048;

static void halve(LossCurve *c)
{
    for (int i = 0; i < CURVE_STRETCHES / 2; i++) c->sum[i] = c->sum[2 * i] + c->sum[2 * i + 1];
    memset(c->sum + CURVE_STRETCHES / 2, 0, sizeof c->sum / 2);
    c->width *= 2;
}

void curve_add(LossCurve *c, double nll)
{
    if (c->width == 0) c->width = 1;
    if (c->n == c->width * CURVE_STRETCHES) halve(c);
    c->sum[c->n / c->width] += nll;
    c->n++;
    double weight = 1 / fmin((double)c->n, horizon);
    c->recent += weight * (nll - c->recent);
}

double curve_sum(const LossCurve *c)
{
    double sum = 0;
    for (int i = 0; i < CURVE_STRETCHES; i++) sum += c->sum[i];
    return sum;
}

double curve_mean(const LossCurve *c, double from, double to)
{
    if (c->n == 0) return (double)NAN;
    int64_t stretches = (c->n + c->width - 1) / c->width;
    int64_t first = llround(from * (double)stretches), last = llround(to * (double)stretches);
    if (first >= stretches) first = stretches - 1;
    if (last <= first) last = first + 1;
    double sum = 0;
    for (int64_t i = first; i < last; i++) sum += c->sum[i];
    int64_t end = last * c->width < c->n ? last * c->width : c->n;
    return sum / (double)(end - first * c->width);
}
