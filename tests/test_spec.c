/* Which dotted paths a list of globs selects. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "model/config.h"

static SpecList spec_of(const char *const *globs)
{
    SpecList spec = {0};
    while (spec.n < 3 && globs[spec.n]) {
        snprintf(spec.glob[spec.n], CFG_TEXT, "%s", globs[spec.n]);
        spec.n++;
    }
    return spec;
}

static const struct {
    const char *globs[3], *path;
    bool selected;
} cases[] = {
    {{"**"}, "a", true},
    {{"**"}, "a.b.c", true},
    {{NULL}, "a", false},
    {{"a"}, "a", true},
    {{"a"}, "a.b.c", true}, /* a node selects what is below it */
    {{"a"}, "ab", false},
    {{"a.b"}, "a", false},
    {{"a.b"}, "a.bc", false},
    {{"b"}, "a.b", false},
    {{"*"}, "a", true},
    {{"*.c"}, "a.b.c", false},
    {{"*.*.c"}, "a.b.c", true},
    {{"a.*"}, "a", false},
    {{"a.*"}, "a.b.c", true},
    {{"a.**"}, "a", true},
    {{"a.**"}, "a.b.c.d", true},
    {{"a.**"}, "b", false},
    {{"**.c"}, "c", true},
    {{"**.c"}, "a.b.c", true},
    {{"**.c"}, "a.b.c.d", true},
    {{"**.c"}, "a.b.cd", false},
    {{"a.**.c"}, "a.c", true},
    {{"a.**.c"}, "a.b.b.c", true},
    {{"a.**.c.**"}, "a.b.c.d.e", true},
    {{"a.**.c"}, "a.b.d", false},
    {{"**.b.**.d"}, "a.b.c.b.c.d", true},
    {{"**.b.d"}, "a.b.c.b.d", true},
    {{"**.**.a"}, "a", true},
    {{"w*"}, "w1", true},
    {{"w*"}, "w", true},
    {{"w*"}, "v1", false},
    {{"a.w*.x"}, "a.w12.x", true},
    {{"a.w*.x"}, "a.w.y.x", false}, /* one '*' stays within its part */
    {{"*_norm"}, "seq_norm.weight", true},
    {{"f*d_*"}, "feed_forward_prime", true},
    {{"f*d_*e"}, "feed_forward_primes", false},
    {{"a**b"}, "axxb", true},
    {{"**", "exclude a.b"}, "a.b.c", false},
    {{"**", "exclude a.b"}, "a.c", true},
    {{"exclude a.b", "**"}, "a.b", true}, /* the last match decides */
    {{"**", "exclude a", "a.b"}, "a.b", true},
    {{"**", "exclude a", "a.b"}, "a.c", false},
    {{"exclude a"}, "b", false},
    {{"**", "exclude  **.w2"}, "x.w2.weight", false},
    {{""}, "a", false},
    {{"."}, "a", false},
    {{"a."}, "a", true},
};

static void globs_select_paths(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        SpecList spec = spec_of(cases[i].globs);
        if (spec_selects(&spec, cases[i].path) != cases[i].selected) {
            fail_msg("%s: %s", cases[i].globs[0] ? cases[i].globs[0] : "", cases[i].path);
        }
    }
}

static void published_spec_selects_the_prime_mlps(void **state)
{
    (void)state;
    static const char *const prime[] = {"language_model.**.suffix_blocks.feed_forward_prime.**",
                                        NULL};
    SpecList spec = spec_of(prime);
    assert_true(
        spec_selects(&spec, "language_model.model.h.suffix_blocks.feed_forward_prime.w1.weight"));
    assert_false(spec_selects(&spec, "language_model.model.h.suffix_blocks.ffn_prime_norm.weight"));
    assert_false(
        spec_selects(&spec, "language_model.model.h.suffix_blocks.feed_forward.w1.weight"));
    assert_false(
        spec_selects(&spec, "language_model.model.h.prefix_blocks.feed_forward_prime.w1.weight"));
}

static void many_stars_take_no_time(void **state)
{
    (void)state;
    SpecList spec = {.n = 2};
    char path[512] = "";
    for (int i = 0; i < 60; i++) strcat(spec.glob[0], "**.*.");
    strcpy(spec.glob[0] + 240, "z");
    memset(spec.glob[1], '*', CFG_TEXT - 2);
    for (int i = 1; i < CFG_TEXT - 2; i += 2) spec.glob[1][i] = 'a';
    for (int i = 0; i < 100; i++) strcat(path, "aaaa.");
    assert_false(spec_selects(&spec, path));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(globs_select_paths),
        cmocka_unit_test(published_spec_selects_the_prime_mlps),
        cmocka_unit_test(many_stars_take_no_time),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
