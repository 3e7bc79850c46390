/* The kernels of the CUDA backend beside the CPU's, on the same random inputs: what the tests of
 * test_cuda_*.c share. Without a GPU they run in the emulator. */
#ifndef TTT_TESTS_CUDA_PEER_H
#define TTT_TESTS_CUDA_PEER_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include <cmocka.h>

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/rng.h"
#include "case_step.h"
#include "cuda_device.h"
#include "ops/ops.h"

enum { CPU, GPU, MACHINES };

static Backend *machine[MACHINES];
static Rng rng;

/* The same values on both machines; .p is NULL for an array that is absent. */
typedef struct Array {
    real *block[MACHINES], *p[MACHINES];
    size_t n, room;
} Array;

enum { MOST_ARRAYS = 40, MARGIN = 8 }; /* elements before and after, which must stay */

static Array held[MOST_ARRAYS];
static int n_held;

static inline int drawn(int n) /* 0..n-1 */
{
    return (int)(rng_uniform(&rng) * n);
}

static inline bool coin(void)
{
    return drawn(2) == 1;
}

static inline void both_wait(void)
{
    Err err;
    for (int i = 0; i < MACHINES; i++)
        if (backend_wait(machine[i], &err) < 0) fail_msg("%s", err.text);
}

/* offset: elements that it begins behind a multiple of 16 bytes. */
static inline Array array(size_t n, int offset)
{
    Array a = {.n = n, .room = n + 2 * MARGIN};
    for (int i = 0; i < MACHINES; i++) {
        a.block[i] = backend_alloc_shared(machine[i], a.room);
        a.p[i] = a.block[i] + MARGIN + offset;
    }
    for (size_t i = 0; i < a.room; i++) a.block[CPU][i] = a.block[GPU][i] = (real)rng_normal(&rng);
    assert_true(n_held < MOST_ARRAYS);
    return held[n_held++] = a;
}

static inline Array maybe(bool there, size_t n, int offset)
{
    return there ? array(n, offset) : (Array){.n = 0};
}

static inline int32_t *ids(const Array *a, int i)
{
    return (int32_t *)a->p[i];
}

static inline Array array_of_ids(size_t n, int below)
{
    Array a = array(reals_for(n * sizeof(int32_t)), 0);
    for (size_t i = 0; i < n; i++) ids(&a, CPU)[i] = ids(&a, GPU)[i] = drawn(below);
    return a;
}

static inline Dual dual(const Array *v, const Array *t, int i)
{
    return (Dual){v->p[i], t->p[i]};
}

static inline void free_arrays(void)
{
    for (int k = 0; k < n_held; k++)
        for (int i = 0; i < MACHINES; i++) backend_free(machine[i], held[k].block[i], held[k].room);
    n_held = 0;
}

/* All arrays, whole: what was not to be written must stay as it was, too. */
static inline void expect_same(const char *what, double limit)
{
    int wrong = 0;
    both_wait();
    for (int k = 0; k < n_held; k++) {
        const Array *a = &held[k];
        double worst = 0, scale = 1;
        for (size_t i = 0; i < a->room; i++) {
            double x = (double)a->block[CPU][i], y = (double)a->block[GPU][i], d = fabs(x - y);
            if (isnan(x) && isnan(y)) continue;
            if (x == y) continue;
            if (fabs(x) > scale) scale = fabs(x);
            if (!(d <= worst)) worst = isfinite(d) ? d : INFINITY;
        }
        if (worst > limit * scale) {
            print_error("%s: array %d of %zu: error %.3g of %.3g\n", what, k, a->n, worst, scale);
            wrong++;
        }
    }
    free_arrays();
    assert_int_equal(wrong, 0);
}

static const double CLOSE = sizeof(real) == 4 ? 2e-5 : 1e-13;

static inline void on_both(void (*call)(int i, const void *arguments), const void *arguments)
{
    for (int i = 0; i < MACHINES; i++) call(i, arguments);
}

/* The GPU that TTT_TEST_DEVICE names, or the emulator. */
static inline void open_machines(void)
{
    Err err;
    const char *device = test_device(REAL_NAME);
    const char *const devices[MACHINES] = {"cpu", device};
    for (int i = 0; i < MACHINES; i++) {
        BackendOptions options = {.threads = 2, .device = devices[i], .bf16 = sizeof(real) == 4};
        if (backend_open(&machine[i], &options, &err) < 0) fail_msg("%s", err.text);
    }
    rng_seed(&rng, 17, 0);
}
#endif
