/* The loss over a text of unknown length in constant memory: equal stretches of it, whose length
 * doubles when they run out. */
#ifndef TTT_CLI_LOSS_CURVE_H
#define TTT_CLI_LOSS_CURVE_H

#include <stdint.h>

enum { CURVE_STRETCHES = 2048 };

typedef struct LossCurve {
    int64_t n;     /* values added */
    int64_t width; /* values per stretch; 0 stands for 1 */
    double sum[CURVE_STRETCHES];
    double recent; /* mean over about the last 2048 values */
} LossCurve;

/* A curve starts zeroed. */
void curve_add(LossCurve *c, double nll);
double curve_sum(const LossCurve *c);
/* Mean from `from` to `to`, shares of all values (0 to 1), to the nearest stretch but at least one;
 * NaN without values. */
double curve_mean(const LossCurve *c, double from, double to);

#endif
