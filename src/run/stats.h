/* The little statistics that reports need: means with their uncertainty, and order statistics. */
#ifndef TTT_RUN_STATS_H
#define TTT_RUN_STATS_H

#include <stdint.h>

/* A mean with its 95 % interval by Student's t. With n = 0 all are NaN, with n = 1 all but the
 * mean: one value says nothing about how values vary. */
typedef struct Stat {
    int64_t n;
    double mean;
    double se;     /* standard error of the mean: s / sqrt(n), s with n - 1 */
    double lo, hi; /* mean -+ t(0.975, n - 1) standard errors */
} Stat;

/* Of n values x[0], x[stride], ...; NaN values are left out and not counted. */
Stat stat_of(const double *x, int64_t n, int64_t stride);
/* Of the differences a - b, pair by pair; a pair with a NaN is left out. */
Stat stat_of_difference(const double *a, const double *b, int64_t n, int64_t stride);

/* The value that Student's t with df degrees of freedom stays below with probability 0.975. df: any
 * number from 1 up, need not be whole; relative error below 1e-6. */
double student_t975(double df);

/* The q-quantile, 0 <= q <= 1, linear between the two nearest values; NaN when n = 0. Sorts x. */
double quantile(double *x, int64_t n, double q);
double median(double *x, int64_t n); /* sorts x */

#endif
