/* Means, intervals, paired differences, quantiles; against printed tables and by hand. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/err.h"
#include "run/stats.h"

static void near(double got, double expected, double tolerance)
{
    if (!(fabs(got - expected) <= tolerance)) fail_msg("%.12g is not %.12g", got, expected);
}

/* Tables print three decimals; df = 1 and 2 have closed forms, checked further. */
static void test_student(void **state)
{
    (void)state;
    static const struct {
        double df, t;
    } table[] = {{1, 12.706},  {2, 4.303},    {3, 3.182},   {4, 2.776},   {5, 2.571},
                 {6, 2.447},   {7, 2.365},    {8, 2.306},   {9, 2.262},   {10, 2.228},
                 {12, 2.179},  {15, 2.131},   {20, 2.086},  {24, 2.064},  {29, 2.045},
                 {30, 2.042},  {40, 2.021},   {59, 2.001},  {60, 2.000},  {99, 1.984},
                 {120, 1.980}, {1000, 1.962}, {1e6, 1.960}, {1e12, 1.960}};
    for (int i = 0; i < ARRAY_LEN(table); i++) near(student_t975(table[i].df), table[i].t, 0.0006);
    double pi = acos(-1.0);
    near(student_t975(1), tan(pi * 0.475), 1e-5);
    near(student_t975(2), 0.95 * sqrt(2.0 / (1.0 - 0.95 * 0.95)), 1e-7);
}

/* The two ways of computing it meet, and it falls as df grows. */
static void test_student_smooth(void **state)
{
    (void)state;
    near(student_t975(99999.0), student_t975(100001.0), 1e-8);
    double before = student_t975(1.0);
    for (double df = 1.5; df < 1e7; df *= 1.5) {
        double t = student_t975(df);
        assert_true(t < before);
        before = t;
    }
    near(before, 1.959963985, 1e-5);
}

static void test_mean(void **state)
{
    (void)state;
    const double x[] = {1, 2, 3, 4, 10};
    Stat s = stat_of(x, 5, 1);
    assert_int_equal(s.n, 5);
    near(s.mean, 4.0, 1e-12);
    near(s.se, sqrt(12.5 / 5), 1e-12);
    near(s.hi - s.mean, 2.7764451 * sqrt(12.5 / 5), 1e-6);
    near(s.mean - s.lo, s.hi - s.mean, 1e-12);
}

static void test_few(void **state)
{
    (void)state;
    const double x[] = {7.0, NAN};
    Stat none = stat_of(x, 0, 1), one = stat_of(x, 2, 1), missing = stat_of(x + 1, 1, 1);
    assert_int_equal(none.n, 0);
    assert_true(isnan(none.mean) && isnan(none.lo));
    assert_int_equal(one.n, 1);
    near(one.mean, 7.0, 0.0);
    assert_true(isnan(one.se) && isnan(one.lo) && isnan(one.hi));
    assert_int_equal(missing.n, 0);
    assert_true(isnan(missing.mean));
}

/* A stride picks a column, and values that are missing do not count. */
static void test_stride(void **state)
{
    (void)state;
    const double x[] = {1, 100, 2, NAN, 3, 300};
    near(stat_of(x, 3, 2).mean, 2.0, 1e-12);
    Stat s = stat_of(x + 1, 3, 2);
    assert_int_equal(s.n, 2);
    near(s.mean, 200.0, 1e-12);
}

static void test_offset(void **state)
{
    (void)state;
    const double x[] = {1e9 + 1, 1e9 + 2, 1e9 + 3};
    near(stat_of(x, 3, 1).se, 1.0 / sqrt(3.0), 1e-9);
}

/* Documents differ far more than the two columns do: only the paired interval sees it. */
static void test_difference(void **state)
{
    (void)state;
    double a[4] = {1.1, 5.2, 9.1, 20.2}, b[4] = {1.0, 5.0, 9.0, 20.0};
    Stat s = stat_of_difference(a, b, 4, 1), alone = stat_of(a, 4, 1);
    near(s.mean, 0.15, 1e-12);
    near(s.se, sqrt(4 * 0.0025 / 3 / 4), 1e-12);
    assert_true(s.lo > 0 && alone.lo < 0);
    a[1] = NAN;
    assert_int_equal(stat_of_difference(a, b, 4, 1).n, 3);
    assert_int_equal(stat_of_difference(b, a, 4, 1).n, 3);
}

static void test_quantiles(void **state)
{
    (void)state;
    double x[] = {5, 1, 4, 2, 3}, even[] = {4, 1, 3, 2};
    near(median(x, 5), 3.0, 0.0);
    near(median(even, 4), 2.5, 0.0);
    near(quantile(x, 5, 0.0), 1.0, 0.0);
    near(quantile(x, 5, 1.0), 5.0, 0.0);
    near(quantile(x, 5, 0.9), 4.6, 1e-12);
    near(quantile(x, 1, 0.3), 1.0, 0.0);
    assert_true(isnan(median(x, 0)));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_student),    cmocka_unit_test(test_student_smooth),
        cmocka_unit_test(test_mean),       cmocka_unit_test(test_few),
        cmocka_unit_test(test_stride),     cmocka_unit_test(test_offset),
        cmocka_unit_test(test_difference), cmocka_unit_test(test_quantiles),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
