/* What test_api.c and test_memory.c share: three small models, a text, and helpers that fail the
 * test with the library's own words. */
#ifndef TTT_TESTS_API_FIXTURE_H
#define TTT_TESTS_API_FIXTURE_H

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/file.h"
#include "base/rng.h"
#include "paths.h"
#include "tiny_model.h"
#include "ttt.h"

enum { N = 150, VOCAB = 258, CHUNK = 7, BOS = 256 };

static const ttt_model_options one_thread = {.threads = 1};

typedef struct Fixture {
    char dir[256];
    ttt_model *meta, *other, *plain;
    int32_t tokens[N];
} Fixture;

static void path_in(const Fixture *f, const char *name, char out[PATH_MAX])
{
    Err err;
    assert_int_equal(path_join(out, PATH_MAX, f->dir, name, &err), 0);
}

static ttt_model *model_make(const Fixture *f, const char *name, int seed, const char *mode)
{
    Err err;
    char path[PATH_MAX], why[TTT_ERROR_MAX];
    ttt_model *m;
    path_in(f, name, path);
    if (tiny_model_write(path, seed, mode, &err) < 0) fail_msg("%s", err.text);
    if (ttt_model_open(&m, path, &one_thread, why) < 0) fail_msg("%s", why);
    return m;
}

static int setup(void **state)
{
    Fixture *f = calloc(1, sizeof *f);
    assert_int_equal(temp_folder(f->dir, sizeof f->dir), 0);
    f->meta = model_make(f, "meta", 1, "meta");
    f->other = model_make(f, "other", 2, "meta");
    f->plain = model_make(f, "plain", 1, "pretrain");
    Rng rng;
    rng_seed(&rng, 5, 0);
    f->tokens[0] = BOS;
    for (int i = 1; i < N; i++) /* a text that repeats, with a second document in it */
        f->tokens[i] = i == 60 ? BOS : i < 40 ? (int32_t)rng_below(&rng, 256) : f->tokens[i - 30];
    *state = f;
    return 0;
}

static int teardown(void **state)
{
    Fixture *f = *state;
    Err err;
    ttt_model_close(f->meta);
    ttt_model_close(f->other);
    ttt_model_close(f->plain);
    assert_int_equal(dir_remove(f->dir, &err), 0);
    free(f);
    return 0;
}

static ttt_reader *reader_make(ttt_model *m, const ttt_reader_options *options)
{
    ttt_reader *r;
    char why[TTT_ERROR_MAX];
    if (ttt_reader_new(&r, m, options, why) < 0) fail_msg("%s", why);
    return r;
}

static void feed(ttt_reader *r, const int32_t *tokens, size_t n, double *nll)
{
    if (ttt_feed(r, tokens, n, nll) < 0) fail_msg("%s", ttt_error(r));
}

static void feed_in_pieces(ttt_reader *r, const int32_t *tokens, size_t n, size_t piece,
                           double *nll)
{
    for (size_t i = 0; i < n; i += piece)
        feed(r, tokens + i, n - i < piece ? n - i : piece, nll ? nll + i : NULL);
}

static ttt_reader_info describe(const ttt_reader *r)
{
    ttt_reader_info info;
    ttt_reader_describe(r, &info);
    return info;
}

#endif
