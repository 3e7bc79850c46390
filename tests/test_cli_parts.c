/* The parts of the inference commands that can be wrong without any model: options, text on its way
 * out, the loss curve. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/mem.h"
#include "base/utf8.h"
#include "cli/loss_curve.h"
#include "cli/options.h"
#include "cli/text_out.h"

/* --- options ------------------------------------------------------------------------------------
 */

typedef struct Parsed {
    bool flag;
    const char *text;
    TextList list;
    int64_t number;
    double real_number;
    int operands;
} Parsed;

static Parsed parse(int argc, const char *const *given)
{
    char *argv[16] = {"test"};
    for (int i = 0; i < argc; i++) argv[i + 1] = (char *)given[i];
    Parsed p = {.number = 5, .real_number = 0.5};
    const Option table[] = {
        {"flag", OPTION_FLAG, &p.flag, 0, 0},        {"text", OPTION_TEXT, &p.text, 0, 0},
        {"list", OPTION_LIST, &p.list, 0, 0},        {"number", OPTION_INT, &p.number, -3, 100},
        {"real", OPTION_REAL, &p.real_number, 0, 1},
    };
    p.operands = options_parse(argc + 1, argv, table, ARRAY_LEN(table));
    for (int i = 1; i <= p.operands; i++) assert_int_equal(argv[i][0], i == 1 ? 'a' : '-');
    return p;
}

#define PARSE(...) parse(ARRAY_LEN(((const char *[]){__VA_ARGS__})), (const char *[]){__VA_ARGS__})

static void options_are_taken_from_anywhere(void **state)
{
    (void)state;
    Parsed p = PARSE("--flag", "a", "--text", "-", "-", "--list=x=y", "--number=-3", "--list", "--",
                     "--real", "1e-1", "--", "--flag");
    assert_int_equal(p.operands, 3);
    assert_true(p.flag);
    assert_string_equal(p.text, "-");
    assert_int_equal(p.list.n, 2);
    assert_string_equal(p.list.item[0], "x=y");
    assert_string_equal(p.list.item[1], "--");
    assert_int_equal(p.number, -3);
    assert_true(p.real_number == 0.1);
    p = PARSE("a");
    assert_true(p.operands == 1 && p.number == 5 && !p.flag && !p.text);
}

/* The parts between commas; --parts given again replaces them. */
static int parts_parse(const char *text, TextList *out)
{
    char value[256], option[] = "--parts", *argv[] = {"test", option, value};
    const Option table[] = {{"parts", OPTION_PARTS, out, 0, 0}};
    snprintf(value, sizeof value, "%s", text);
    int operands = options_parse(ARRAY_LEN(argv), argv, table, ARRAY_LEN(table));
    if (operands == 0 && out->n > 1) assert_string_equal(out->item[1], "b");
    return operands;
}

static void options_are_cut_at_commas(void **state)
{
    (void)state;
    TextList list = {0};
    char many[2 * TEXT_LIST_MAX + 2] = "";
    assert_int_equal(parts_parse("a,b,c", &list), 0);
    assert_int_equal(list.n, 3);
    assert_int_equal(parts_parse("a", &list), 0);
    assert_int_equal(list.n, 1);
    for (int i = 0; i < TEXT_LIST_MAX; i++) strcat(many, i ? ",b" : "b");
    assert_int_equal(parts_parse(many, &list), 0);
    assert_int_equal(list.n, TEXT_LIST_MAX);
    assert_int_equal(parts_parse(strcat(many, ",b"), &list), -1);
    static const char *const bad[] = {"", ",", "a,", ",b", "a,,b"};
    for (int i = 0; i < ARRAY_LEN(bad); i++) assert_int_equal(parts_parse(bad[i], &list), -1);
}

static void bad_options_are_refused(void **state)
{
    (void)state;
    static const char *const bad[][2] = {
        {"--numbr", "1"},
        {"--number", ""},
        {"--number", "1x"},
        {"--number", "101"},
        {"--number", "-4"},
        {"--number", "1e2"},
        {"--real", "nan"},
        {"--real", "1.01"},
        {"--real", "inf"},
        {"--real", "0.5 "},
        {"--text", ""},
        {"--text=", "a"},
        {"--flag=1", "a"},
        {"-f", "a"},
        {"--fla", "a"},
        {"--flagg", "a"},
        {"--number", "99999999999999999999"},
        {"a", "--text"},
        {"a", "--list="},
    };
    for (int i = 0; i < ARRAY_LEN(bad); i++)
        if (parse(2, bad[i]).operands != -1) fail_msg("%s %s was taken", bad[i][0], bad[i][1]);
}

/* --- text on its way out ------------------------------------------------------------------------
 */

/* Pushes the text in pieces of n bytes; what came out, and after how many pushes the first byte. */
static bool push_all(const char *text, size_t n, const TextList *stops, char *out, size_t size)
{
    TextOut o;
    char *written = NULL;
    size_t length = 0;
    FILE *to = open_memstream(&written, &length);
    text_out_init(&o, to, stops);
    bool stopped = false;
    size_t all = strlen(text);
    for (size_t i = 0; i < all && !stopped; i += n)
        stopped = text_out_push(&o, text + i, all - i < n ? all - i : n);
    text_out_end(&o);
    fclose(to);
    assert_int_equal(o.written, length);
    snprintf(out, size, "%s", written);
    free(written);
    return stopped;
}

static void stop_strings_end_the_text(void **state)
{
    (void)state;
    static const struct {
        const char *text, *expected;
        bool stopped;
    } cases[] = {
        {"one END two", "one ", true},
        {"one EN two", "one EN two", false},
        {"EEND", "E", true},
        {"one EN", "one EN", false},
        {"a\n\nb", "a", true},
        {"ababac!", "", true},
        {"xababx ababac", "xababx ", true},
        {"", "", false},
    };
    const TextList stops = {3, {"END", "\n\n", "ababac"}}, none = {0};
    char out[64];
    for (int i = 0; i < ARRAY_LEN(cases); i++) {
        for (size_t n = 1; n < 14; n++) {
            assert_true(push_all(cases[i].text, n, &stops, out, sizeof out) == cases[i].stopped);
            assert_string_equal(out, cases[i].expected);
        }
        assert_false(push_all(cases[i].text, 1, &none, out, sizeof out));
        assert_string_equal(out, cases[i].text);
    }
}

static void characters_come_out_whole(void **state)
{
    (void)state;
    const TextList none = {0};
    TextOut o;
    FILE *to = tmpfile();
    assert_non_null(to);
    text_out_init(&o, to, &none);
    static const struct {
        const char *byte;
        size_t written;
    } steps[] = {
        {"a", 1},     {"\xc3", 1}, {"\xa9", 3},  {"\xe2", 3},  {"\x82", 3},
        {"\xac", 6},  {"\xf0", 6}, {"\x9f", 6},  {"\x98", 6},  {"\x80", 10},
        {"\xc3", 10}, {"b", 12},   {"\x80", 13}, {"\xff", 14}, /* the beginning of nothing */
        {"c", 15},
    };
    for (int i = 0; i < ARRAY_LEN(steps); i++) {
        assert_false(text_out_push(&o, steps[i].byte, 1));
        assert_int_equal(o.written, steps[i].written);
    }
    text_out_push(&o, "\xe2\x82", 2);
    text_out_end(&o);
    assert_int_equal(o.written, 17); /* an unfinished one is not lost */
    fclose(to);
}

static void what_is_no_utf8_is_replaced(void **state)
{
    (void)state;
    static const struct {
        const char *in, *out;
    } cases[] = {
        {"caf\xc3\xa9 \xe2\x82\xac \xf0\x9f\x98\x80", "caf\xc3\xa9 \xe2\x82\xac \xf0\x9f\x98\x80"},
        {"\xff.", "\xef\xbf\xbd."},
        {"\xc3", "\xef\xbf\xbd"},
        {"\xc0\x80", "\xef\xbf\xbd\xef\xbf\xbd"},                 /* overlong */
        {"\xed\xa0\x80", "\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd"}, /* surrogate */
        {"\xe2\x82x", "\xef\xbf\xbd\xef\xbf\xbdx"},
        {"", ""},
    };
    for (int i = 0; i < ARRAY_LEN(cases); i++) {
        size_t size;
        char *out = utf8_repair(cases[i].in, strlen(cases[i].in), &size);
        assert_int_equal(size, strlen(cases[i].out));
        assert_memory_equal(out, cases[i].out, size);
        mem_free(out);
    }
}

/* --- the loss curve -----------------------------------------------------------------------------
 */

static void a_curve_of_any_length_has_its_means(void **state)
{
    (void)state;
    static const int64_t lengths[] = {1, 7, 10, 1000, 2048, 2049, 5000, 1000003};
    for (int i = 0; i < ARRAY_LEN(lengths); i++) {
        LossCurve *c = mem_alloc(sizeof *c);
        int64_t n = lengths[i];
        double sum = 0;
        for (int64_t k = 0; k < n; k++) { /* falls evenly from 10 to 0 */
            double nll = 10 * (1 - ((double)k + 0.5) / (double)n);
            curve_add(c, nll);
            sum += nll;
        }
        assert_int_equal(c->n, n);
        assert_true(fabs(curve_sum(c) - sum) < 1e-6 * sum);
        assert_true(fabs(curve_mean(c, 0, 1) - 5) < 1e-6);
        if (n >= 1000) {
            assert_true(fabs(curve_mean(c, 0, 0.1) - 9.5) < 0.02);
            assert_true(fabs(curve_mean(c, 0.9, 1) - 0.5) < 0.02);
        }
        mem_free(c);
    }
    LossCurve *empty = mem_alloc(sizeof *empty);
    assert_true(isnan(curve_mean(empty, 0, 1)));
    mem_free(empty);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(options_are_taken_from_anywhere),
        cmocka_unit_test(options_are_cut_at_commas),
        cmocka_unit_test(bad_options_are_refused),
        cmocka_unit_test(stop_strings_end_the_text),
        cmocka_unit_test(characters_come_out_whole),
        cmocka_unit_test(what_is_no_utf8_is_replaced),
        cmocka_unit_test(a_curve_of_any_length_has_its_means),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
