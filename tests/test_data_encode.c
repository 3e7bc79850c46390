/* From files to a dataset folder: the walk, the split, the tokens, and `ttt data` itself. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/file.h"
#include "data/dataset_check.h"
#include "data/encode.h"
#include "data/split.h"
#include "data/token_source.h"
#include "paths.h"

typedef struct Fixture {
    char dir[256];
    char in[300], out[300], list[300];
} Fixture;

static void put(const char *dir, const char *name, const void *data, size_t size)
{
    char path[700];
    Err err;
    snprintf(path, sizeof path, "%s/%s", dir, name);
    assert_int_equal(file_write_atomic(path, data, size, &err), 0);
}

/* A tree of 9 documents and of things that are none. */
static int setup(void **state)
{
    Fixture *f = calloc(1, sizeof *f);
    Err err;
    char path[600], big[1000];
    assert_int_equal(temp_folder(f->dir, sizeof f->dir), 0);
    snprintf(f->in, sizeof f->in, "%s/in", f->dir);
    snprintf(f->out, sizeof f->out, "%s/out", f->dir);
    snprintf(f->list, sizeof f->list, "%s/list", f->dir);
    snprintf(path, sizeof path, "%s/sub/deep", f->in);
    assert_int_equal(dir_make(path, &err), 0);
    for (size_t i = 0; i < sizeof big; i++) big[i] = (char)(i * 7);
    put(f->in, "a b.txt", "spaces", 6);
    put(f->in, "\xc3\xa9.txt", "UTF-8", 5);
    put(f->in, "new\nline.txt", "newline", 7);
    put(f->in, "bad\xff.py", "not UTF-8", 9);
    put(f->in, "sub/x.txt", big, 300);
    put(f->in, "sub/y.txt", big, 301);
    put(f->in, "sub/deep/z.py", big, sizeof big);
    put(f->in, "sub/deep/same1", "twins", 5);
    put(f->in, "sub/deep/same2", "twins", 5);
    put(f->in, "empty.txt", "", 0);
    put(f->in, ".hidden", "h", 1);
    snprintf(path, sizeof path, "%s/sub/loop", f->in);
    assert_int_equal(symlink("..", path), 0);
    *state = f;
    return 0;
}

static int teardown(void **state)
{
    Fixture *f = *state;
    Err err;
    assert_int_equal(dir_remove(f->dir, &err), 0);
    free(f);
    return 0;
}

static EncodeOptions options_of(const Fixture *f, const char *const *paths, int n_paths)
{
    return (EncodeOptions){.paths = paths,
                           .n_paths = n_paths,
                           .out_dir = f->out,
                           .tokenizer = "bytes",
                           .val_fraction = 0.3,
                           .min_bytes = 1,
                           .quiet = true};
}

static int check_split(const char *dir, const char *split, Err *err)
{
    CheckReport report;
    return dataset_check(&report, dir, split, &(CheckOptions){.quiet = true}, err);
}

static void assert_mentions(const Err *err, const char *part)
{
    if (strstr(err->text, part) == NULL) fail_msg("'%s' does not mention '%s'", err->text, part);
}

static void assert_encode_fails(const EncodeOptions *options, const char *part)
{
    EncodeReport report;
    Err err;
    assert_int_equal(dataset_encode(options, &report, &err), -1);
    assert_mentions(&err, part);
}

/* Nothing but the input (and the list) is left in the folder. */
static void assert_nothing_left(const Fixture *f)
{
    char command[400];
    snprintf(command, sizeof command, "test \"$(ls -A '%s' | grep -vx list)\" = in", f->dir);
    assert_int_equal(system(command), 0);
}

/* Checks that document i of the source is BOS and the bytes of its file. */
static void check_document(const Fixture *f, const TokenSource *source, int64_t i)
{
    Err err;
    char path[700], *text;
    size_t size;
    int32_t ids[1100];
    Document doc = doc_info(source, i);
    const char *name = strncmp(doc.name, "bad", 3) == 0 ? "bad\xff.py" : doc.name;
    snprintf(path, sizeof path, "%s/%s", f->in, name);
    assert_int_equal(file_read(path, &text, &size, 1 << 20, &err), 0);
    assert_int_equal(doc.length, size + 1);
    assert_int_equal(token_source_read(source, doc.start, doc.length, ids, &err), 0);
    assert_int_equal(ids[0], 256);
    for (size_t k = 0; k < size; k++) assert_int_equal(ids[k + 1], (unsigned char)text[k]);
    free(text);
}

static void encode_round_trip(void **state)
{
    const Fixture *f = *state;
    const char *paths[] = {f->in};
    EncodeOptions options = options_of(f, paths, 1);
    EncodeReport report;
    Err err;
    TokenSource *source;
    assert_int_equal(dataset_encode(&options, &report, &err), 0);
    assert_int_equal(report.skipped_empty, 1);
    assert_int_equal(report.skipped_hidden, 1);
    assert_int_equal(report.skipped_links, 1);
    assert_int_equal(report.bytes, 6 + 5 + 7 + 9 + 300 + 301 + 1000 + 5 + 5);
    int64_t documents = 0, tokens = 0, twins[2] = {0};
    for (int s = 0; s < SPLIT_COUNT; s++) {
        assert_int_equal(check_split(f->out, split_name(s), &err), 0);
        assert_int_equal(token_source_open(&source, f->out, split_name(s), &err), 0);
        assert_true(doc_count(source) > 0);
        documents += doc_count(source);
        tokens += token_source_length(source);
        for (int64_t i = 0; i < doc_count(source); i++) {
            check_document(f, source, i);
            twins[s] += strncmp(doc_info(source, i).name, "sub/deep/same", 13) == 0;
        }
        token_source_close(source);
    }
    assert_int_equal(documents, 9);
    assert_int_equal(tokens, report.bytes + 9);
    assert_true(twins[0] == 2 || twins[1] == 2);
}

static void encode_filters(void **state)
{
    const Fixture *f = *state;
    char hidden[400];
    snprintf(hidden, sizeof hidden, "%s/.hidden", f->in);
    const char *paths[] = {f->in, hidden}, *extensions[] = {"py", ".none", "e1"};
    EncodeOptions options = options_of(f, paths, 2);
    options.extensions = extensions;
    options.n_extensions = ARRAY_LEN(extensions); /* with or without the dot; same1 has none */
    EncodeReport report;
    Err err;
    assert_int_equal(dataset_encode(&options, &report, &err), 0);
    assert_int_equal(report.bytes, 9 + 1000 + 1);
    options.force = true;
    options.min_bytes = 10;
    assert_int_equal(dataset_encode(&options, &report, &err), 0);
    assert_int_equal(report.bytes, 1000);
    assert_int_equal(report.skipped_small, 2);
    assert_int_equal(report.info.splits[SPLIT_VAL].documents, 0); /* one document: train */
    options.n_extensions = 0;
    options.min_bytes = 1;
    options.max_files = 2;
    assert_int_equal(dataset_encode(&options, &report, &err), 0);
    assert_int_equal(report.bytes, 6 + 9); /* "a b.txt", "bad\xff.py": byte order */
}

static void encode_by_list(void **state)
{
    const Fixture *f = *state;
    const char *paths[] = {f->in};
    EncodeOptions options = options_of(f, paths, 1);
    options.val_list = f->list;
    EncodeReport report;
    Err err;
    put(f->dir, "list", "a b.txt\n\nsub/deep/same1\n", 24);
    assert_int_equal(dataset_encode(&options, &report, &err), 0);
    assert_int_equal(report.info.splits[SPLIT_VAL].documents, 2);
    assert_int_equal(report.info.splits[SPLIT_VAL].tokens, 6 + 5 + 2);
    assert_int_equal(report.shared, 1);
    options.force = true;
    put(f->dir, "list", "sub/deep/\r\n", 11);
    assert_int_equal(dataset_encode(&options, &report, &err), 0);
    assert_int_equal(report.info.splits[SPLIT_VAL].documents, 3);
    put(f->dir, "list", "sub\nno such\n", 12);
    assert_encode_fails(&options, "list:2: no document 'no such'");
    assert_int_equal(check_split(f->out, "val", &err), 0); /* the old one still stands */
}

static void encode_refuses(void **state)
{
    const Fixture *f = *state;
    char empty[400], missing[400];
    Err err;
    snprintf(empty, sizeof empty, "%s/empty.txt", f->in);
    snprintf(missing, sizeof missing, "%s/missing", f->in);
    const char *paths[] = {f->in}, *empties[] = {empty}, *missings[] = {f->in, missing};
    EncodeOptions options = options_of(f, missings, 2);
    assert_encode_fails(&options, "missing");
    options = options_of(f, empties, 1);
    assert_encode_fails(&options, "no text");
    options = options_of(f, paths, 1);
    options.tokenizer = "other";
    assert_encode_fails(&options, "other");
    options = options_of(f, paths, 1);
    options.out_dir = f->in;
    options.force = true;
    assert_encode_fails(&options, "holds more than a dataset");
    volatile sig_atomic_t stop = 1;
    options = options_of(f, paths, 1);
    options.stop = &stop;
    assert_encode_fails(&options, "interrupted");
    assert_nothing_left(f);
    options.stop = NULL;
    EncodeReport report;
    assert_int_equal(dataset_encode(&options, &report, &err), 0);
    assert_encode_fails(&options, "--force");
    options.force = true;
    options.paths = empties;
    assert_encode_fails(&options, "no text");
    assert_int_equal(check_split(f->out, "train", &err), 0);
}

/* A write that fails, here by the limit of file sizes, leaves nothing. */
static void encode_out_of_space(void **state)
{
    const Fixture *f = *state;
    const char *paths[] = {f->in};
    EncodeOptions options = options_of(f, paths, 1);
    struct rlimit old, small;
    assert_int_equal(getrlimit(RLIMIT_FSIZE, &old), 0);
    small = (struct rlimit){.rlim_cur = 512, .rlim_max = old.rlim_max};
    signal(SIGXFSZ, SIG_IGN);
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &small), 0);
    EncodeReport report;
    Err err;
    int status = dataset_encode(&options, &report, &err);
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &old), 0);
    assert_int_equal(status, -1);
    assert_mentions(&err, "train/c/0");
    assert_nothing_left(f);
}

/* --- the split -------------------------------------------------------------------------------- */

static double held_part(const SplitItem *items, int n)
{
    double held = 0, total = 0;
    for (int i = 0; i < n; i++) {
        total += (double)items[i].size;
        if (items[i].val) held += (double)items[i].size;
    }
    return held / total;
}

static void split_is_fair(void **state)
{
    (void)state;
    enum { N = 200 };
    SplitItem items[N], turned[N];
    Err err;
    for (int i = 0; i < N; i++) {
        items[i] = (SplitItem){.size = 100 + i * 37 % 1000};
        items[i].digest[0] = (unsigned char)i;
    }
    for (int tenth = 0; tenth < 10; tenth++) {
        assert_int_equal(split_by_fraction(items, N, tenth / 10.0, 3, &err), 0);
        assert_true(held_part(items, N) > tenth / 10.0 - 0.005);
        assert_true(held_part(items, N) < tenth / 10.0 + 0.005);
    }
    assert_int_equal(split_by_fraction(items, N, 0.2, 3, &err), 0);
    for (int i = 0; i < N; i++) turned[i] = items[N - 1 - i];
    assert_int_equal(split_by_fraction(turned, N, 0.2, 3, &err), 0);
    for (int i = 0; i < N; i++) assert_int_equal(turned[i].val, items[N - 1 - i].val);
    int moved = 0;
    assert_int_equal(split_by_fraction(turned, N, 0.2, 4, &err), 0);
    for (int i = 0; i < N; i++) moved += turned[i].val != items[N - 1 - i].val;
    assert_true(moved > N / 10);
}

static void split_few_documents(void **state)
{
    (void)state;
    Err err;
    SplitItem items[3] = {{.size = 50}, {.size = 40}, {.size = 60}};
    for (int i = 0; i < 3; i++) items[i].digest[0] = (unsigned char)i;
    assert_int_equal(split_by_fraction(items, 3, 0.01, 0, &err), 0);
    assert_true(!items[0].val && items[1].val && !items[2].val);
    assert_int_equal(split_by_fraction(items, 3, 0.999, 0, &err), 0);
    assert_int_equal(items[0].val + items[1].val + items[2].val, 2);
    assert_int_equal(split_by_fraction(items, 3, 0, 0, &err), 0);
    assert_int_equal(items[0].val + items[1].val + items[2].val, 0);
    assert_int_equal(split_by_fraction(items, 1, 0.9, 0, &err), 0);
    assert_false(items[0].val);
    assert_int_equal(split_by_fraction(items, 0, 0.5, 0, &err), 0);
}

/* --- the command ------------------------------------------------------------------------------ */

/* Runs a shell line with $TTT, $IN and $OUT set; returns its exit status. */
static int shell(const Fixture *f, const char *line)
{
    setenv("IN", f->in, 1);
    setenv("OUT", f->out, 1);
    int status = system(line);
    return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

static void command_line(void **state)
{
    const Fixture *f = *state;
    const char *build = getenv("TTT_BUILD_DIR");
    char ttt[512];
    if (build == NULL) skip();
    snprintf(ttt, sizeof ttt, "%s/ttt", build);
    setenv("TTT", ttt, 1);
    static const struct {
        const char *line;
        int status;
    } cases[] = {
        {"$TTT data encode $IN --out $OUT --val-fraction 0 --ext txt --json 2>/dev/null"
         " | grep -q '\"tokens\": 624'",
         0},
        {"$TTT data info $OUT --check | grep -q 'train  *624  *5 '", 0},
        {"$TTT data info $OUT --json | grep -q '\"documents\": 5'", 0},
        {"test \"$($TTT data cat $OUT --range 0:2)\" = \"$(printf '256\\n115')\"", 0},
        {"test \"$($TTT data cat $OUT --range :9 --text)\" = spacesn", 0},
        {"$TTT data docs $OUT | grep -q '^1.new.nline.txt.8$'", 0},
        {"test $($TTT data docs $OUT --json | grep -c name) = 5", 0},
        {"$TTT data cat $OUT --range 620:625 2>/dev/null", 1},
        {"$TTT data info $IN 2>/dev/null", 1},
        {"$TTT data encode $IN --out $OUT 2>/dev/null", 1},
        {"$TTT data encode $IN --out /dev/null/x 2>/dev/null", 1},
        {"$TTT data info $OUT >/dev/full 2>/dev/null", 1},
        {"$TTT data encode $IN 2>/dev/null", 2},
        {"$TTT data encode $IN --out $OUT --val-fraction 1 2>/dev/null", 2},
        {"$TTT data encode $IN --out $OUT --val-fracton 0.5 2>&1 | grep -q -- --val-fraction", 0},
        {"$TTT data cat $OUT --range 5 2>/dev/null", 2},
        {"$TTT data 2>/dev/null", 2},
        {"$TTT data chek $OUT 2>&1 | grep -q 'did you mean check'", 0},
        {"$TTT data check --help | grep -q '^usage: ttt data'", 0},
        {"$TTT data repack $OUT --out $OUT.2 --endian middle 2>/dev/null", 2},
        {"$TTT data encode $IN --out $OUT --ext .py,,.txt 2>/dev/null", 2},
        {"$TTT data encode $IN --out $OUT --force --val-files $IN/empty.txt 2>&1"
         " | grep -q 'val is empty'",
         0},
    };
    for (int i = 0; i < ARRAY_LEN(cases); i++) {
        int status = shell(f, cases[i].line);
        if (status != cases[i].status) fail_msg("exit %d: %s", status, cases[i].line);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(encode_round_trip, setup, teardown),
        cmocka_unit_test_setup_teardown(encode_filters, setup, teardown),
        cmocka_unit_test_setup_teardown(encode_by_list, setup, teardown),
        cmocka_unit_test_setup_teardown(encode_refuses, setup, teardown),
        cmocka_unit_test_setup_teardown(encode_out_of_space, setup, teardown),
        cmocka_unit_test(split_is_fair),
        cmocka_unit_test(split_few_documents),
        cmocka_unit_test_setup_teardown(command_line, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
