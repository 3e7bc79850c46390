/* Signals while products run: a thousand handlers a second, and the heap stays whole. */
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/time.h>

#include <cmocka.h>

#include "backend/backend.h"

enum { M = 32, N = 32, K = 256, ENOUGH = 2000 };

static volatile sig_atomic_t handled;

static void count(int signal_number)
{
    (void)signal_number;
    handled = handled + 1;
}

static void timer_set(long microseconds)
{
    struct itimerval t = {.it_interval.tv_usec = microseconds, .it_value.tv_usec = microseconds};
    assert_int_equal(setitimer(ITIMER_REAL, &t, NULL), 0);
}

static void products(Backend *be)
{
    real *a = backend_alloc(be, K * M), *b = backend_alloc(be, K * N);
    real *want = backend_alloc(be, M * N), *have = backend_alloc(be, M * N);
    for (int i = 0; i < K * M; i++) a[i] = (real)(i % 7 - 3);
    for (int i = 0; i < K * N; i++) b[i] = (real)(i % 5 - 2);
    gemm(be, T_, N_, M, N, K, 1, a, M, b, N, 0, want, N);
    handled = 0;
    timer_set(100);
    while (handled < ENOUGH) {
        gemm(be, T_, N_, M, N, K, 1, a, M, b, N, 0, have, N);
        assert_memory_equal(have, want, M * N * sizeof *want);
        free(malloc(4096 + (size_t)handled)); /* looks at the heap */
    }
    timer_set(0);
    backend_free(be, a, K * M);
    backend_free(be, b, K * N);
    backend_free(be, want, M * N);
    backend_free(be, have, M * N);
}

static void handlers_run_beside_products(void **state)
{
    (void)state;
    struct sigaction action = {.sa_handler = count, .sa_flags = (int)SA_RESTART | SA_ONSTACK};
    assert_int_equal(sigaction(SIGALRM, &action, NULL), 0);
    for (int threads = 1; threads <= 2; threads++) {
        Backend *be = NULL;
        Err err;
        BackendOptions options = {.threads = threads};
        assert_int_equal(backend_open(&be, &options, &err), 0);
        products(be);
        backend_close(be);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(handlers_run_beside_products)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
