/* Means with intervals, paired differences, quantiles. Student's quantile is found from its
 * definition rather than from a table, so that any number of degrees of freedom is served. */
#include "run/stats.h"

#include <math.h>
#include <stdlib.h>

#include "base/err.h"

enum { PANELS = 256, BISECTIONS = 60 };

static const double PI = 3.14159265358979323846;
static const double NORMAL_975 = 1.959963984540054;

/* Integral of cos^(df-1) over [0, angle], by Simpson's rule. */
static double cosine_power_integral(double angle, double df)
{
    double h = angle / (2 * PANELS);
    double sum = 1.0 + pow(cos(angle), df - 1.0);
    for (int i = 1; i < 2 * PANELS; i++) sum += (i % 2 ? 4.0 : 2.0) * pow(cos(h * i), df - 1.0);
    return sum * h / 3.0;
}

/* With t = sqrt(df) tan(angle), P(|T| < t) is the integral above over its value at pi/2. */
double student_t975(double df)
{
    CHECK(df >= 1.0, "student_t975 needs at least one degree of freedom, not %g", df);
    if (df > 1e5) return NORMAL_975 + (pow(NORMAL_975, 3) + NORMAL_975) / (4.0 * df);
    int sign;
    double whole =
        sqrt(PI) / 2.0 * exp(lgamma_r(df / 2.0, &sign) - lgamma_r((df + 1.0) / 2.0, &sign));
    double low = 0.0, high = PI / 2.0;
    for (int i = 0; i < BISECTIONS; i++) {
        double middle = (low + high) / 2.0;
        if (cosine_power_integral(middle, df) < 0.95 * whole)
            low = middle;
        else
            high = middle;
    }
    return sqrt(df) * tan(low);
}

static Stat stat_finish(int64_t n, double sum, double squares)
{
    Stat s = {.n = n, .mean = NAN, .se = NAN, .lo = NAN, .hi = NAN};
    if (n > 0) s.mean = sum / (double)n;
    if (n < 2) return s;
    s.se = sqrt(squares / (double)(n - 1) / (double)n);
    double half = student_t975((double)(n - 1)) * s.se;
    s.lo = s.mean - half;
    s.hi = s.mean + half;
    return s;
}

/* Value i, or the difference when there is a second array. */
static double value_at(const double *a, const double *b, int64_t i)
{
    return b ? a[i] - b[i] : a[i];
}

/* Two passes: squares are summed about the mean, so that a large mean costs no digits. */
static Stat stat_of_values(const double *a, const double *b, int64_t n, int64_t stride)
{
    int64_t used = 0;
    double sum = 0.0, squares = 0.0;
    for (int64_t i = 0; i < n; i++) {
        double x = value_at(a, b, i * stride);
        if (isnan(x)) continue;
        sum += x;
        used++;
    }
    for (int64_t i = 0; i < n; i++) {
        double x = value_at(a, b, i * stride) - sum / (double)(used > 0 ? used : 1);
        if (!isnan(x)) squares += x * x;
    }
    return stat_finish(used, sum, squares);
}

Stat stat_of(const double *x, int64_t n, int64_t stride)
{
    return stat_of_values(x, NULL, n, stride);
}

Stat stat_of_difference(const double *a, const double *b, int64_t n, int64_t stride)
{
    return stat_of_values(a, b, n, stride);
}

static int compare_doubles(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

double quantile(double *x, int64_t n, double q)
{
    if (n <= 0) return NAN;
    qsort(x, (size_t)n, sizeof *x, compare_doubles);
    double place = q * (double)(n - 1);
    int64_t below = (int64_t)floor(place);
    if (below >= n - 1) return x[n - 1];
    return x[below] + (place - (double)below) * (x[below + 1] - x[below]);
}

double median(double *x, int64_t n)
{
    return quantile(x, n, 0.5);
}
